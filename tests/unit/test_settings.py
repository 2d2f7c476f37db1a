"""Defends: the environment is read in one place, wrong values are named, and nothing else reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hibari
from hibari.contracts import InvalidRequest
from hibari.settings import ServerSettings, Settings


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
            "HIBARI_PRECISION": "float32",
            "HIBARI_CACHE": "/var/cache/video",
            "HIBARI_MEMORY_MB": "512",
            "HIBARI_HISTORY_MB": "256",
            "HIBARI_MODELS": "/models",
            "HIBARI_HUB": "http://hub.example:8080",
            "HIBARI_HUB_TOKEN": "a-secret",
        }
    )
    assert settings == Settings(
        model="testcard",
        threads=3,
        device="cpu",
        precision="float32",
        cache=Path("/var/cache/video"),
        memory_bytes=512 * 2**20,
        history_bytes=256 * 2**20,
        models=Path("/models"),
        hub="http://hub.example:8080",
        hub_token="a-secret",
    )
    assert "a-secret" not in repr(settings)


@pytest.mark.parametrize("url", ["ftp://hub", "hub", "https://me:secret@hub"])
def test_a_hub_is_a_url_without_secrets(url: str) -> None:
    with pytest.raises(InvalidRequest, match="HIBARI_HUB must be a URL") as caught:
        Settings.from_environment({"HIBARI_HUB": url})
    assert "secret" not in str(caught.value)


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
        ("HIBARI_HISTORY_MB", "much"),
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


def test_a_server_needs_no_settings() -> None:
    settings = ServerSettings.from_environment({"HOME": "/home/someone"})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    folder = Path("/home/someone/.local/share/hibari")
    assert settings.data_dir == folder
    assert settings.database == f"sqlite:///{folder}/hibari.db"
    assert settings.storage == f"{folder}/files"
    assert (settings.model, settings.sora_model) == ("mini", "mini")
    assert (settings.keep_s, settings.private_urls) == (None, False)
    assert (settings.quota_bytes, settings.reserve_bytes) == (None, 512 * 2**20)


def test_what_a_command_says_comes_before_the_environment() -> None:
    environment = {"HIBARI_HOST": "0.0.0.0", "HIBARI_PORT": "81", "HIBARI_DATA_DIR": "/elsewhere"}
    assert ServerSettings.from_environment(environment).port == 81
    settings = ServerSettings.from_environment(environment, host="::1", port=0, data_dir=Path("/data"))
    assert (settings.host, settings.port, settings.storage) == ("::1", 0, "/data/files")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HIBARI_PORT", "70000"),
        ("HIBARI_PORT", "-1"),
        ("HIBARI_UPLOAD_MB", "0"),
        ("HIBARI_KEEP_HOURS", "nan"),
        ("HIBARI_QUOTA_MB", "-5"),
        ("HIBARI_RESERVE_MB", "little"),
        ("HIBARI_PRIVATE_URLS", "yes"),
        ("HIBARI_LEASE_S", "1"),
    ],
)
def test_a_wrong_value_of_the_server_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is '{value}'; must be") as caught:
        ServerSettings.from_environment({name: value})
    assert caught.value.field == name
