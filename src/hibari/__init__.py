"""Hibari: a sentence becomes a video, on your own machine.

import hibari
clip = hibari.generate("a red balloon rises over the sea at sunset", seed=1)
clip.frames  # uint8 [frames, height, width, 3]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hibari.client import AsyncClient as AsyncClient
    from hibari.client import Client as Client
    from hibari.contracts import Clip as Clip
    from hibari.tools import StoryCard as StoryCard
    from hibari.tools import generate as generate
    from hibari.tools import stream as stream

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Clip", "StoryCard", "__version__", "generate", "stream"]


def __getattr__(name: str) -> Any:
    """Each is imported when it is asked for: the server and `--help` read this package without torch."""
    if name == "Clip":
        from hibari.contracts import Clip

        return Clip
    if name in {"AsyncClient", "Client"}:
        from hibari import client

        return getattr(client, name)
    if name in {"StoryCard", "generate", "stream"}:
        from hibari import tools

        return getattr(tools, name)
    raise AttributeError(f"module 'hibari' has no attribute {name!r}")
