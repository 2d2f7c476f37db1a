"""Defends: a database that goes away just when a video is finished costs nobody the video. What counts is what it has
heard, and not whether its answer came."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from api_server import client_for, parts_for, settings_for

from hibari import catalog
from hibari.contracts import DatabaseError
from hibari.jobs import Claim, Claims, Job, State
from hibari.worker import Worker
from hibari.worker import worker as loop

WHOLE = ["spritesheet.jpg", "thumbnail.webp", "video.mp4", "video.mp4.latent"]


@pytest.mark.parametrize("patience_s", [loop.STOP_WITHIN_S, 0.0])
def test_a_video_is_kept_whose_end_was_heard_and_not_answered(
    patience_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`patience_s` 0: the database stays away for longer than the worker tries."""
    parts = parts_for(settings_for(tmp_path))
    video = client_for(parts).post("/v1/videos", json={"prompt": "a cat", "seconds": "1"}).json()["id"]
    complete, answers = Claims.complete, list[Job]()

    def heard(self: Claims, claim: Claim, result: Any, **options: Any) -> Job:
        first = not answers
        answers.append(complete(self, claim, result, **options) if first else parts.jobs.get(claim.job.id))
        if first:
            raise DatabaseError("the database went away")
        return complete(self, claim, result, **options)

    monkeypatch.setattr(Claims, "complete", heard)
    monkeypatch.setattr(loop, "STOP_WITHIN_S", patience_s)
    worker = Worker(
        parts.database, parts.storage, lambda name: catalog.load(name, device=torch.device("cpu"))
    )
    end, ended = worker._end, list[str]()

    def noted(held: Any, say: Any) -> None:
        end(held, say)
        ended.append(held.claim.job.id)
        worker.stop()

    monkeypatch.setattr(worker, "_end", noted)
    thread = Thread(target=worker.run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert ended == [video]
    job = parts.jobs.get(video)
    assert job.state is State.COMPLETED
    assert sorted(key.rsplit("/", 1)[1] for key in parts.storage.keys(f"{video}/1/clip")) == WHOLE
    assert len(answers) == (1 if patience_s == 0 else 2)
    parts.database.close()
