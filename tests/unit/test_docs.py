"""Defends: what README says of commands, settings and the tree is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from hibari.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_tree_of_the_readme_is_the_tree() -> None:
    block = next(part for part in README.split("```") if part.strip().startswith("src/hibari/"))
    said = set(re.findall(r"^    (\w+(?:\.py|/))", block, re.MULTILINE))
    package = ROOT / "src" / "hibari"
    rooms = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert said == rooms | modules
    for folder in re.findall(r"^(\w+)/ ", block, re.MULTILINE):
        assert (ROOT / folder).is_dir(), f"README names the folder {folder}, which is not there"


def test_every_command_and_option_of_the_pages_exists() -> None:
    command = typer.main.get_command(app)
    lines = re.findall(r"^hibari (.+)$", README, re.MULTILINE)
    assert len(lines) > 8
    for page in (ROOT / "docs").glob("*.md"):
        lines += re.findall(r"^    hibari (.+)$", page.read_text(), re.MULTILINE)
    for line in lines:
        words = line.split("#")[0].split()
        node = command
        while words and words[0] in getattr(node, "commands", {}):
            node = node.commands[words.pop(0)]  # pyright: ignore[reportAttributeAccessIssue]
        assert not hasattr(node, "commands"), f"no such command: hibari {line}"
        options = {name for parameter in node.params for name in parameter.opts}
        for option in (word for word in words if word.startswith("-")):
            assert option in options, f"hibari {line}: no option {option}"


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    read = set(re.findall(r'"(HIBARI_[A-Z_]+)"', (ROOT / "src/hibari/settings.py").read_text()))
    assert set(re.findall(r"^\| `(HIBARI_[A-Z_]+)`", README, re.MULTILINE)) == read


def test_every_file_that_a_page_links_to_is_there() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
