"""Asks the API what its own OpenAPI page allows, 50 times an operation, and compares every answer with the page.

The same test as in the suite, which asks a few times only, with cases that differ from run to run. A failure prints the
request that provokes it. The exit code is pytest's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TEST = Path(__file__).parents[1] / "tests" / "unit" / "test_api_schema.py"

if __name__ == "__main__":
    sys.exit(pytest.main([str(TEST), "-q", "-s", "--hypothesis-profile=doors", *sys.argv[1:]]))
