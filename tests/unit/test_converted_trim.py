"""Defends: a trim keeps exactly the frames that were asked for, and GIF and WebP are the same moments, with the
recipe inside. Real files throughout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from api_server import client_for, parts_for, settings_for
from fastapi.testclient import TestClient
from PIL import Image, ImageSequence

from hibari import catalog, media
from hibari.api import Parts, converted
from hibari.contracts import ClipStream, GenerationRequest, InputError, Recipe
from hibari.jobs import Job, Policy, State
from hibari.models.protocol import Model
from hibari.worker import Worker


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path), Policy(lease_s=2))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def work(parts: Parts, job_id: str) -> Job:
    """A worker until the job is over, which loads no model unless it must."""

    def load(name: str) -> Model:
        return catalog.load(name, device=torch.device("cpu"))

    worker = Worker(parts.database, parts.storage, load)
    thread = Thread(target=worker.run)
    thread.start()
    try:
        for _ in range(6000):
            job = parts.jobs.get(job_id)
            if job.is_final:
                return job
            thread.join(0.01)
        raise AssertionError(parts.jobs.get(job_id))
    finally:
        worker.stop()
        thread.join(20)


def ask(client: TestClient, path: str = "", **values: object) -> str:
    answer = client.post(f"/v1/videos{path}", json=values)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def fetched(client: TestClient, video_id: str, path: Path, variant: str = "video") -> Path:
    answer = client.get(f"/v1/videos/{video_id}/content?variant={variant}")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path


def edge(frames: int = 24, width: int = 96, height: int = 64, fps: int = 8) -> ClipStream:
    """A clip in which every frame has its own grey."""
    request = GenerationRequest.resolve(catalog.spec("testcard"), "a <b> “cat”", seed=1)
    pictures = (np.full((height, width, 3), 10 * index, np.uint8) for index in range(frames))
    return ClipStream(pictures, width, height, fps, frames, Recipe(request, None, {}, ("made",)))


def test_a_trim_has_exactly_the_frames_and_a_lineage(
    parts: Parts, client: TestClient, tmp_path: Path
) -> None:
    source = ask(client, prompt="a cat", seconds="2", seed=3, size="160x96")
    assert work(parts, source).state is State.COMPLETED
    trim = ask(client, f"/{source}/trim", first_frame=3, last_frame=11)
    assert work(parts, trim).state is State.COMPLETED

    video = client.get(f"/v1/videos/{trim}").json()
    details = video["hibari"]
    assert (video["seconds"], video["prompt"], video["size"]) == ("1.125", "a cat", "160x96")
    assert (details["tool"], details["frames"], details["sources"]) == ("trim", 9, [source])
    assert (details["seed"], details["recipe"]["kept"]) == (3, [3, 11])
    before = [*media.decode_frames(fetched(client, source, tmp_path / "a.mp4"))]
    after = [*media.decode_frames(fetched(client, trim, tmp_path / "b.mp4"))]
    assert len(after) == 9
    for index, frame in enumerate(after):  # the test card shows the frame's number, so a neighbour is far off
        errors = [np.abs(frame.astype(int) - one).mean() for one in before]
        assert int(np.argmin(errors)) == index + 3
        assert min(errors) < 2, "levels of 255: the second encoding can hardly be seen"
    recipe = media.read_recipe(tmp_path / "b.mp4")
    assert recipe["request"]["seed"] == 3
    assert "kept the frames 3 to 11 of 0 to 15" in recipe["postprocess"][-1]

    again = ask(client, f"/{trim}/trim", first_frame=0, last_frame=1)  # and it is a video like any other
    assert work(parts, again).state is State.COMPLETED
    longer = ask(client, "/extensions", video={"id": trim}, prompt="a cat", seconds="1")
    assert work(parts, longer).state is State.COMPLETED


@pytest.mark.parametrize(("first", "last"), [(0, 8), (3, 3), (5, 2), (8, 9)])
def test_frames_that_are_not_there_are_refused(
    parts: Parts, client: TestClient, first: int, last: int
) -> None:
    source = ask(client, prompt="a cat", seconds="1")
    assert work(parts, source).state is State.COMPLETED
    answer = client.post(f"/v1/videos/{source}/trim", json={"first_frame": first, "last_frame": last})
    assert answer.status_code == 400
    assert "the video has the frames 0 to 7" in answer.json()["error"]["message"]


def test_what_was_trimmed_away_meanwhile_is_an_end_and_not_a_hang(parts: Parts, client: TestClient) -> None:
    source = ask(client, prompt="a cat", seconds="1")
    assert work(parts, source).state is State.COMPLETED
    trim = ask(client, f"/{source}/trim", first_frame=0, last_frame=3)
    parts.storage.remove(source)
    job = work(parts, trim)
    assert (job.state, job.error_code) == (State.FAILED, "invalid_input")


def test_gif_and_webp_are_the_video_with_its_recipe(parts: Parts, client: TestClient, tmp_path: Path) -> None:
    video = ask(client, prompt="a <b> “cat”", seconds="1", size="640x360", fps=24)
    assert work(parts, video).state is State.COMPLETED
    for kind in ("gif", "webp"):
        answer = client.get(f"/v1/videos/{video}/content?variant={kind}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{kind}")
        assert answer.headers["content-length"] == str(len(answer.content))
        path = tmp_path / kind
        path.write_bytes(answer.content)
        with Image.open(path) as image:
            assert (image.format, image.size) == (kind.upper(), (480, 270))
            assert len([*ImageSequence.Iterator(image)]) == 12
        recipe = media.read_recipe(path)
        assert recipe["request"]["prompt"] == "a <b> “cat”"
        assert any("480x270" in done for done in recipe["postprocess"])
        tag = {"If-None-Match": answer.headers["etag"]}
        assert client.get(f"/v1/videos/{video}/content?variant={kind}", headers=tag).status_code == 304
        assert client.head(f"/v1/videos/{video}/content?variant={kind}").status_code == 200
        assert client.get(f"/v1/videos/{video}/content?variant={kind}").content == answer.content


def test_conversions_wait_for_each_other_and_not_without_end(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = ask(client, prompt="a cat", seconds="1")
    assert work(parts, video).state is State.COMPLETED
    monkeypatch.setattr(converted, "WAIT_S", 0.01)
    with converted._turn:
        answer = client.get(f"/v1/videos/{video}/content?variant=gif")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "10"
    assert client.get(f"/v1/videos/{video}/content?variant=gif").status_code == 200


def test_a_stored_file_that_is_no_video_is_said_without_its_path(parts: Parts, client: TestClient) -> None:
    video = ask(client, prompt="a cat", seconds="1")
    job = work(parts, video)
    assert job.result
    (parts.settings.data_dir / "files" / job.result["video"]).write_bytes(b"nothing" * 100)
    answer = client.get(f"/v1/videos/{video}/content?variant=gif")
    assert answer.status_code == 409
    assert "hibari-convert" not in answer.text


def test_a_clip_is_read_back_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    media.write_clip(edge(), path)
    read = media.read_clip(path)
    assert (read.width, read.height, read.fps, read.frame_count) == (96, 64, 8, 24)
    assert read.recipe == replace(edge().recipe, versions={})
    greys = [int(frame.mean()) for frame in media.trimmed(read, 5, 7).frames]
    assert [round(grey / 10) for grey in greys] == [5, 6, 7]
    with pytest.raises(ValueError, match="of 24"):
        media.trimmed(media.read_clip(path), 5, 24)
    small = converted.small(edge(frames=61, width=1920, height=1080, fps=30))
    assert (small.width, small.height, small.fps, small.frame_count) == (480, 270, 15, 31)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(InputError):
        media.read_clip(tmp_path / "b.png")
