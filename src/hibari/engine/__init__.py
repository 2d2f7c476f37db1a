"""Runs requests through models, step by step.

`Engine` is the way in for a server, `generate` for one request. Below them lie `plan` (which windows, which steps),
`state` (where a run stands, and can be saved) and `loop` (one update of one or several runs, a pure function).
"""

from hibari.engine.engine import Engine
from hibari.engine.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Paused,
    Queued,
    Resumed,
    Sampled,
    Started,
    StepDone,
)
from hibari.engine.generation import Generated, Order, generate, generate_all
from hibari.engine.preview import preview_image
from hibari.engine.start import Start
from hibari.engine.text_cache import TextCache

__all__ = [
    "Cancelled",
    "Engine",
    "Event",
    "Failed",
    "Finished",
    "FramesDecoded",
    "Generated",
    "Order",
    "Paused",
    "Queued",
    "Resumed",
    "Sampled",
    "Start",
    "Started",
    "StepDone",
    "TextCache",
    "generate",
    "generate_all",
    "preview_image",
]
