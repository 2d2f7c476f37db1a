"""Defends: the environment is read in one place, wrong values are named, and nothing else reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hibari
from hibari.contracts import InvalidRequest
from hibari.settings import Settings


def test_defaults() -> None:
    settings = Settings.from_environment({"HOME": "/home/someone"})
    assert (settings.model, settings.device) == ("mini", "auto")
    assert settings.threads >= 1


def test_everything_can_be_set() -> None:
    settings = Settings.from_environment(
        {
            "HIBARI_MODEL": "testcard",
            "HIBARI_THREADS": "3",
            "HIBARI_DEVICE": "cpu",
            "HIBARI_CACHE": "/var/cache/video",
            "HIBARI_MEMORY_MB": "512",
        }
    )
    assert settings == Settings("testcard", 3, "cpu", Path("/var/cache/video"), 512 * 2**20)


def test_the_cache_is_the_users_own() -> None:
    assert Settings.from_environment({"HOME": "/home/someone"}).cache == Path("/home/someone/.cache/hibari")
    assert Settings.from_environment({"XDG_CACHE_HOME": "/fast"}).cache == Path("/fast/hibari")


def test_nothing_is_the_same_as_not_set() -> None:
    names = ("HIBARI_MODEL", "HIBARI_THREADS", "HIBARI_DEVICE", "HIBARI_CACHE", "HIBARI_MEMORY_MB")
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HIBARI_THREADS", "0"),
        ("HIBARI_THREADS", "many"),
        ("HIBARI_THREADS", "1.5"),
        ("HIBARI_THREADS", "99999"),
        ("HIBARI_DEVICE", "tpu"),
        ("HIBARI_DEVICE", "CPU"),
        ("HIBARI_MEMORY_MB", "0"),
        ("HIBARI_MEMORY_MB", "4 GB"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is '{value}'; must be") as caught:
        Settings.from_environment({name: value})
    assert caught.value.field == name


def test_nobody_else_reads_the_environment() -> None:
    package = Path(hibari.__file__).parent
    readers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)", path.read_text(encoding="utf-8"))
    }
    assert readers == {"settings.py"}
