"""How the process ends when Ctrl-C meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INTERRUPTED = """
import os, signal, sys
from hibari.cli import stop

stop.listen()
try:
    exec("os.kill(os.getpid(), signal.SIGINT)\\nfor _ in range(1000): pass")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_within_exec_still_ends_with_the_code_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False)
    assert done.returncode == 130
