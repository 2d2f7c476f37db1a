"""Defends: what becomes of a job in a worker, with the engine and the model `testcard`, in this process."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from api_server import client_for, clip, parts_for, picture, settings_for
from fastapi.testclient import TestClient
from PIL import Image

from hibari import catalog, media
from hibari.api import Parts
from hibari.contracts import GenerationRequest, OutputError, WeightsError
from hibari.jobs import Job, PauseScope, Policy, State, Upkeep
from hibari.media.storage import Stored
from hibari.models.protocol import Model
from hibari.worker import Worker
from hibari.worker.housekeeping import UPLOAD_KEPT_S, Housekeeping

SLOW_S = 0.15  # a step
POLICY = Policy(lease_s=2, backoff_s=0.05)


def load(name: str) -> Model:
    return catalog.load(name, device=torch.device("cpu"))


def slow(name: str) -> Model:
    """A testcard whose steps take a moment."""
    model = load(name)
    velocity = model.velocity

    def later(*arguments: Any) -> torch.Tensor:
        time.sleep(SLOW_S)
        return velocity(*arguments)

    model.velocity = later  # pyright: ignore[reportAttributeAccessIssue]
    return model


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path), POLICY)
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


@contextmanager
def working(parts: Parts, load: Callable[[str], Model] = load, **options: Any) -> Iterator[Worker]:
    worker = Worker(parts.database, parts.storage, load, policy=POLICY, **options)
    thread = Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(parts: Parts, job_id: str, happened: Callable[[Job], bool]) -> Job:
    end = time.monotonic() + 60  # a hang, and not a busy machine
    while time.monotonic() < end:
        job = parts.jobs.get(job_id)
        if happened(job):
            return job
        time.sleep(0.02)
    raise AssertionError(f"it did not happen: {parts.jobs.get(job_id)}")


def ask(client: TestClient, path: str = "", **values: Any) -> str:
    answer = client.post(f"/v1/videos{path}", json={"prompt": "a cat", "seed": 7, **values})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def done(job: Job) -> bool:
    return job.is_final


def files(parts: Parts, job_id: str) -> list[str]:
    return sorted(key.rsplit("/", 1)[1] for key in parts.storage.keys(job_id))


WHOLE = ["spritesheet.jpg", "thumbnail.webp", "video.mp4", "video.mp4.latent"]


def is_tidy(parts: Parts, job_id: str) -> bool:
    """Whether just the clip's files are left; what led to them goes a moment after the job's end."""
    end = time.monotonic() + 20
    while files(parts, job_id) != WHOLE and time.monotonic() < end:
        time.sleep(0.02)
    return files(parts, job_id) == WHOLE


def test_a_job_becomes_files(parts: Parts, client: TestClient, tmp_path: Path) -> None:
    video = ask(client, size="320x180", seconds="1.5", fps=24)
    with working(parts):
        job = until(parts, video, done)
    assert job.state is State.COMPLETED, job.error_message
    assert is_tidy(parts, video)
    address = f"/v1/videos/{video}/content"
    path = tmp_path / "a.mp4"
    path.write_bytes(client.get(address).content)
    frames = list(media.decode_frames(path))
    assert (len(frames), frames[0].shape) == (36, (180, 320, 3))
    assert media.read_recipe(path)["request"]["seed"] == 7
    for variant, size in (("thumbnail", (320, 180)), ("spritesheet", (960, 360))):
        path.write_bytes(client.get(address, params={"variant": variant}).content)
        with Image.open(path) as image:
            assert image.size == size
    shown = client.get(f"/v1/videos/{video}").json()
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    details = shown["hibari"]
    assert (details["native_size"], details["frames"], details["fps"]) == ("160x96", 36, 24)
    assert any("resized" in sentence for sentence in details["postprocess"])


def test_progress_moves_with_the_steps_and_shows_previews(parts: Parts, client: TestClient) -> None:
    video = ask(client, steps=10, seconds="1")
    seen: set[int] = set()
    previews: set[str | None] = set()

    def look(job: Job) -> bool:
        seen.add(job.progress)
        if job.preview is not None and parts.storage.find(job.preview):
            previews.add(job.preview)
        return job.is_final

    with working(parts, slow):
        until(parts, video, look)
    assert len(seen) > 4, seen
    assert previews
    assert is_tidy(parts, video), "no preview and no checkpoint is left over"


def test_every_tool(parts: Parts, client: TestClient, tmp_path: Path) -> None:
    one, two = ask(client, seconds="2"), ask(client, seconds="2", prompt="a dog")
    with working(parts):
        for video in (one, two):
            assert until(parts, video, done).state is State.COMPLETED
        a, b = {"id": one}, {"id": two}
        wishes: list[tuple[str, dict[str, Any], int]] = [
            (f"/{one}/remix", {"prompt": "a dog"}, 16),
            ("/edits", {"video": a, "strength": "subtle"}, 16),
            ("/extensions", {"video": a, "seconds": "1"}, 24),
            ("/extensions", {"video": a, "seconds": "1", "backward": True}, 24),
            ("/loops", {"video": a, "seconds": 1}, 24),
            ("/connections", {"videos": [a, b], "seconds": 1}, 40),
            ("/blends", {"videos": [a, b]}, 16),
            ("", {"seconds": "2", "cards": [{"at_s": 0, "prompt": "x"}, {"at_s": 1, "prompt": "y"}]}, 16),
        ]
        for path, wish, frames in wishes:
            job = until(parts, ask(client, path, **wish), done)
            assert job.state is State.COMPLETED, (path, job.error_message)
            assert job.result
            # Clips are joined by whole latent frames, of four frames each.
            assert abs(job.result["frames"] - frames) < 8, path

        answer = client.post(
            "/v1/videos", data={"prompt": "a", "seconds": "2"}, files={"input_reference": picture("JPEG")}
        )
        job = until(parts, answer.json()["id"], done)
        assert job.state is State.COMPLETED, job.error_message
        content = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
        answer = client.post(
            "/v1/videos/extensions", data={"prompt": "a", "seconds": "1"}, files={"video": content}
        )
        job = until(parts, answer.json()["id"], done)
        assert job.state is State.COMPLETED, job.error_message
        assert job.result
        assert (job.result["frames"], answer.json()["seconds"]) == (24, "3")


def test_a_running_job_stops_within_a_step(parts: Parts, client: TestClient) -> None:
    cancelled, deleted, other = (ask(client, steps=100, seconds="1") for _ in range(3))
    with working(parts, slow):
        for video in (cancelled, deleted, other):
            until(parts, video, lambda job: job.step > 0)
        client.post(f"/v1/videos/{cancelled}/cancel")
        client.delete(f"/v1/videos/{deleted}")
        began = time.monotonic()
        job = until(parts, cancelled, done)
        assert job.state is State.CANCELLED
        assert time.monotonic() - began < 10, "a hundred steps take 15 s"
        assert parts.jobs.get(other).state is State.RUNNING, "one abort must not abort all"
        client.post(f"/v1/videos/{other}/cancel")
        until(parts, other, done)
    assert files(parts, cancelled) == []
    assert client.get(f"/v1/videos/{deleted}").status_code == 404


def test_a_pause_gives_back_and_goes_on_where_it_was(parts: Parts, client: TestClient) -> None:
    undisturbed = ask(client, steps=12, seconds="1", deterministic=True)
    with working(parts):
        until(parts, undisturbed, done)
    video = ask(client, steps=12, seconds="1", deterministic=True)
    with working(parts, slow):
        until(parts, video, lambda job: job.step > 2)
        parts.jobs.pause(PauseScope.everything())
        job = until(parts, video, lambda job: job.state is State.QUEUED)
        assert job.checkpoint
        at = job.step
        parts.jobs.resume(PauseScope.everything())
        job = until(parts, video, done)
    assert job.state is State.COMPLETED, job.error_message
    assert job.attempt == 2
    steps = [event.data["step"] for event in parts.jobs.events(video) if event.kind == "progress"]
    assert min(steps) >= at
    one, two = (client.get(f"/v1/videos/{each}/content").content for each in (undisturbed, video))
    assert one == two
    assert is_tidy(parts, video)


def test_a_worker_that_stops_gives_back_with_the_state(parts: Parts, client: TestClient) -> None:
    video = ask(client, steps=30, seconds="1")
    with working(parts, slow):
        until(parts, video, lambda job: job.step > 2)
    job = parts.jobs.get(video)
    assert job.state is State.QUEUED
    assert job.checkpoint
    assert job.failures == job.crashes == 0
    with working(parts):
        job = until(parts, video, done)
    assert job.state is State.COMPLETED, job.error_message
    first = next(
        event for event in parts.jobs.events(video) if event.kind == "claimed" and event.data["attempt"] == 2
    )
    assert first


def test_failures_have_codes_and_concern_one_job(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Model:
        if name == "mini":
            raise WeightsError("/home/ada/models/a.safetensors is missing")
        return load(name)

    bad, good = ask(client, model="mini"), ask(client, seconds="1")
    source = ask(client, seconds="1")
    with working(parts, broken):
        for video in (bad, good, source):
            until(parts, video, done)
        job = parts.jobs.get(bad)
        assert job.error_code == "model_unavailable"
        assert (
            job.error_message
            == "the model's files are damaged, or not all there; the worker's log says which"
        )
        assert parts.jobs.get(good).state is State.COMPLETED

        parts.jobs.pause(PauseScope.everything())
        orphan = ask(client, f"/{source}/remix", prompt="a dog")
        parts.storage.remove(source)
        parts.jobs.resume(PauseScope.everything())
        assert until(parts, orphan, done).error_code == "invalid_input"

        put = parts.storage.put
        calls = iter(range(99))

        def full(key: str, content: Any) -> Any:
            if key.endswith("video.mp4") and next(calls) < 1:
                raise OutputError("the disk is full")
            return put(key, content)

        monkeypatch.setattr(parts.storage, "put", full)
        job = until(parts, ask(client, seconds="1"), done)
        assert job.state is State.COMPLETED, "the second try"
        assert (job.attempt, job.failures) == (2, 1)
        monkeypatch.setattr("hibari.worker.worker.wish_of", lambda *_: 1 / 0)
        job = until(parts, ask(client, seconds="1"), done)
        assert job.error_code == "server_error"
        assert "division" not in (job.error_message or "")


def test_a_disk_that_fills_up_fails_one_job_and_leaves_no_file(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = parts.storage.put
    bad = ask(client, seconds="1")

    def full(key: str, content: Path | bytes) -> Stored:
        if not key.startswith(bad) or not key.endswith("video.mp4.latent"):
            return put(key, content)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system cuts the write short
        try:
            return put(key, content)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(parts.storage, "put", full)
    with working(parts):
        job = until(parts, bad, done)
        good = ask(client, seconds="1")
        assert until(parts, good, done).state is State.COMPLETED
    assert (job.state, job.error_code, job.failures) == (State.FAILED, "storage_failed", POLICY.max_attempts)
    assert "File too large" in (job.error_message or "")
    folder = parts.settings.data_dir / "files"

    def left_files() -> list[Path]:
        # The worker removes previews when a video is done: folders may go while they are looked through.
        return [Path(place, name) for place, _, names in os.walk(folder) for name in names]

    end = time.monotonic() + 20
    while len(left_files()) > len(WHOLE) and time.monotonic() < end:
        time.sleep(0.02)
    left = left_files()
    assert {path.relative_to(folder).parts[0] for path in left} == {good}
    assert len(left) == len(WHOLE)
    assert parts.stored.used_bytes(job.owner) == sum(path.stat().st_size for path in left)


def test_a_video_that_outgrows_the_quota_is_not_kept(parts: Parts, client: TestClient) -> None:
    video = ask(
        client, size="64x64", seconds="1"
    )  # its latent alone is more than a video's few pixels are taken for
    expected = parts.stored.used_bytes("acct_local")
    limits = {"max_running": None, "max_queued": None, "max_stored_bytes": expected}
    parts.accounts.set_limits("acct_local", **limits)
    parts.storage.put(f"{video}/0/clip/big", b"x")  # of the video, so that it is seen to go
    with working(parts):
        job = until(parts, video, done)
        assert (job.state, job.error_code) == (State.FAILED, "quota_exceeded"), job
        assert parts.stored.used_bytes("acct_local") == 0
        end = time.monotonic() + 20
        while parts.storage.keys(video) and time.monotonic() < end:
            time.sleep(0.02)
        assert parts.storage.keys(video) == []
    again = ask(client, f"/{video}/again")
    assert parts.stored.used_bytes("acct_local") == expected
    parts.accounts.set_limits("acct_local", **{**limits, "max_stored_bytes": None})
    with working(parts):
        assert until(parts, again, done).state is State.COMPLETED
    assert parts.stored.used_bytes("acct_local") > expected


def test_what_a_dead_worker_left_of_a_finished_job_goes(parts: Parts, client: TestClient) -> None:
    """Killed after the job was completed, or never told that it was cancelled: nobody else would remove these."""
    completed, cancelled = ask(client, seconds="1"), ask(client, seconds="1")
    parts.jobs.cancel(cancelled)
    with working(parts):
        until(parts, completed, done)
    for key in (
        f"{completed}/1/checkpoints/9/state",
        f"{completed}/1/previews/9/a.webp",
        f"{cancelled}/1/clip/x",
    ):
        parts.storage.put(key, b"x")
    later = Upkeep(parts.database, lambda: time.time() + 60)
    Housekeeping(parts.jobs, later, parts.stored, parts.storage).sweep()
    assert is_tidy(parts, completed)
    assert files(parts, cancelled) == []
    assert later.to_tidy() == []


def test_housekeeping_removes_what_nobody_needs(parts: Parts, client: TestClient) -> None:
    keeper = Housekeeping(parts.jobs, parts.upkeep, parts.stored, parts.storage)
    needed = client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": picture()})
    gone = client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": picture()})
    client.delete(f"/v1/videos/{gone.json()['id']}")
    client.post(f"/v1/videos/{needed.json()['id']}/cancel")  # it can be made again
    assert len(parts.storage.keys("uploads")) == 2
    assert keeper.sweep_uploads(time.time()) == 0, "too young"
    used = parts.stored.used_bytes("acct_local")
    assert keeper.sweep_uploads(time.time() + UPLOAD_KEPT_S + 2) == 1
    assert parts.stored.used_bytes("acct_local") < used
    used = parts.stored.used_bytes("acct_local")
    parts.stored.add("acct_local", "uploads/1-a/input.png", 1000)  # and then whoever did it was killed
    assert keeper.sweep_uploads(time.time()) == 0
    assert parts.stored.used_bytes("acct_local") == used + 1000, "too young"
    assert keeper.sweep_uploads(time.time() + UPLOAD_KEPT_S + 2) == 0
    assert parts.stored.used_bytes("acct_local") == used, "what is there still counts"
    (left,) = parts.storage.keys("uploads")
    assert left in str(parts.jobs.get(needed.json()["id"]).request)
    again = f"/v1/videos/{needed.json()['id']}/again"
    assert client.post(again).status_code == 200
    parts.storage.remove(left.rsplit("/", 1)[0])
    refused = client.post(again)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "source_deleted")

    parts.storage.put(f"{gone.json()['id']}/1/clip/video.mp4", b"x")
    keeper.sweep()
    assert parts.storage.keys(gone.json()["id"]) == []
    assert parts.upkeep.to_purge() == []
