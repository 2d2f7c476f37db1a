"""The command `hibari`: thin commands over the rooms below.

torch is imported inside the commands that need it, so that the others answer at once.
"""

from hibari.cli.app import main

__all__ = ["main"]
