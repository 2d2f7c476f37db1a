"""Runs requests through a model, step by step.

`generate` is the way in. Below it lie `plan` (which windows, which steps), `state` (where a run stands, and
can be saved) and `loop` (one update, a pure function of the state).
"""

from hibari.engine.generation import Event, FramesDecoded, StepDone, generate
from hibari.engine.preview import preview_image

__all__ = ["Event", "FramesDecoded", "StepDone", "generate", "preview_image"]
