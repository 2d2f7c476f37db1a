"""`python -m hibari` is the command `hibari`."""

from __future__ import annotations

import sys

from hibari.cli import main

if __name__ == "__main__":
    sys.exit(main())
