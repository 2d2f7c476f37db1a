"""The creative tools: from pictures, clips and storyboards to the engine's terms, and back to finished clips."""

from hibari.tools.make import Made, finished, make
from hibari.tools.python import generate, jobs_of, seeds, stream, text_cache
from hibari.tools.sources import keep_latent
from hibari.tools.wish import CURVES, STRENGTHS, Job, StoryCard, Wish, plan_job

__all__ = [
    "CURVES",
    "STRENGTHS",
    "Job",
    "Made",
    "StoryCard",
    "Wish",
    "finished",
    "generate",
    "jobs_of",
    "keep_latent",
    "make",
    "plan_job",
    "seeds",
    "stream",
    "text_cache",
]
