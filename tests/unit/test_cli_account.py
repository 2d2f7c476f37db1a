"""Defends: `hibari admin account` changes what is given and nothing else, and a key may do what it was made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hibari.cli import main


def test_limits_are_set_kept_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        assert main(["admin", *words, "--data-dir", str(tmp_path)]) == 0
        return capsys.readouterr().out

    def limits() -> list[Any]:
        (account,) = json.loads(run("account", "list", "--json"))
        return [account[name] for name in ("max_stored_bytes", "max_queued", "max_running", "stored_bytes")]

    run("key", "create", "ada")
    assert limits() == [None, None, None, 0]
    run("account", "limit", "ada", "--stored-mb", "5", "--queued", "3")
    run("account", "limit", "ada", "--running", "0")
    assert limits() == [5_000_000, 3, 0, 0]
    assert run("account", "list").split(None, 1)[1] == "0.0 MB of 5 MB, running 0, queued 3\n"
    run("account", "limit", "ada", "--reset", "--queued", "4")
    assert limits() == [None, 4, None, 0]
    assert main(["admin", "account", "limit", "bob", "--data-dir", str(tmp_path)]) == 2


def test_keys_with_fewer_scopes_than_their_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str, code: int = 0) -> str:
        assert main(["admin", "key", *words, "--data-dir", str(tmp_path)]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    run("create", "ada", "--role", "reviewer")
    wall = json.loads(run("create", "wall", "--account", "ada", "--scope", "videos:read", "--json"))
    assert (wall["account"], wall["role"], wall["scopes"]) == ("ada", "member", ["videos:read"])
    assert "possible are videos:read, videos:write" in run("create", "eve", "--scope", "admin", code=2)
    assert "must be one of admin, reviewer, member" in run("create", "eve", "--role", "king", code=2)
    run("revoke", wall["prefix"])
    keys = json.loads(run("list", "--json"))
    assert [(key["name"], key["revoked_at"] is None) for key in keys] == [("ada", True), ("wall", False)]
    assert "secret" not in keys[0]
    assert keys[0]["scopes"] == ["review", "videos:read", "videos:write"]
