"""Defends: a backup that is made while a worker is busy brings back a server that has lost nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hibari.client import Client
from server_process import start, until


def test_a_backup_under_load_comes_back_whole(tmp_path: Path) -> None:
    first = start(tmp_path / "first")
    backup = tmp_path / "hibari.tar"
    try:
        with Client(first.url) as client:
            finished = client.wait(client.create("a cat", seconds=1, seed=7))
            content = client.download(finished, tmp_path / "before.mp4").read_bytes()
            busy = [client.create("a dog", seconds=4, steps=200, seed=number) for number in range(3)]
            until(lambda: client.retrieve(busy[0]).details.step > 0)
            said = first.hibari("backup", str(backup))
            assert said.startswith(f"{backup} has 4 videos and ")
            client.delete(finished)  # what happens afterwards is not in it
    finally:
        first.stop()

    replace(first, folder=tmp_path / "second").hibari("restore", str(backup))
    again = start(tmp_path / "second")
    try:
        with Client(again.url) as client:
            assert [video.id for video in client.videos(order="asc")] == [
                finished.id,
                *(one.id for one in busy),
            ]
            assert client.download(finished, tmp_path / "after.mp4").read_bytes() == content
            assert {client.wait(video).status for video in busy} == {"completed"}
    finally:
        again.stop()
