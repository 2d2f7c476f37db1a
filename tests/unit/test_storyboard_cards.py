"""Defends: a storyboard's clips are in the video where they were put, its gaps are transitions of that length, and its
previews show a frame of each card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from api_server import client_for, clip, finish_next, parts_for, settings_for

from hibari import catalog, tools
from hibari.assignment import moments_of, preview_name
from hibari.contracts import Card, GenerationRequest, InvalidRequest
from hibari.engine.loop import card_weights
from hibari.engine.preview import shown_frames

SPEC = catalog.spec("testcard")


def test_each_gap_is_a_transition_of_its_own_length() -> None:
    cards = [Card(0, "a"), Card(2, "b", 2.0), Card(4, "c", 0.0)]
    request = GenerationRequest.resolve(SPEC, "", seed=0, seconds=6, cards=cards, transition_s=9)
    weight = card_weights(SPEC, request)
    assert torch.allclose(weight.sum(0), torch.ones(weight.shape[1]))
    middle_s = (torch.arange(weight.shape[1]) * 4 - 1.5).clamp(min=0) / SPEC.fps
    for at_s, of_frame in zip(middle_s.tolist(), weight.T.tolist(), strict=True):
        if at_s < 1:
            assert of_frame == [1, 0, 0]
        elif at_s < 3:
            assert of_frame[1] == pytest.approx((at_s - 1) / 2)
        else:
            assert of_frame == ([0, 1, 0] if at_s < 4 else [0, 0, 1])
    plain = GenerationRequest.resolve(SPEC, "", seed=0, seconds=6, cards=cards[:1])
    assert plain.cards == (Card(0, "a"),)
    with pytest.raises(InvalidRequest, match="card 2 has a transition of -1 s"):
        GenerationRequest.resolve(SPEC, "", seed=0, seconds=6, cards=[Card(0, "a"), Card(1, "b", -1)])


def test_a_preview_shows_each_card_that_is_being_made() -> None:
    cards = [Card(0, "a"), Card(2, "b"), Card(4, "c")]
    request = GenerationRequest.resolve(SPEC, "", seed=0, seconds=6, cards=cards)
    frames, moments = shown_frames(SPEC, request, 0, range(13))
    assert frames == [2, 6, 10]
    assert moments == (1, 3, 5)
    assert shown_frames(SPEC, request, 8, range(4)) == ([2], (5,))
    one = GenerationRequest.resolve(SPEC, "a", seed=0, seconds=6)
    assert shown_frames(SPEC, one, 0, range(13)) == ([6], ())
    assert moments_of(f"video_a/1/previews/3-4/{preview_name(moments)}") == [1, 3, 5]
    assert moments_of(f"video_a/1/previews/3-4/{preview_name(())}") == []


def test_a_clip_is_where_it_was_put(tmp_path: Path) -> None:
    request = GenerationRequest.resolve(SPEC, "a", seed=1)
    path = tmp_path / "a.mp4"
    clip(path, request, frames=16)
    model = catalog.load("testcard", device=torch.device("cpu"))
    cards = [
        tools.StoryCard(0, "a cat"),
        tools.StoryCard(1, clip=path, seconds=1),
        tools.StoryCard(3, "a dog", transition_s=0.5),
    ]
    wish = tools.Wish(cards=cards, options={"seconds": 4.0, "seed": 1, "size": (160, 96)})
    job = tools.plan_job(model, wish)
    assert job.start is not None
    assert [index for index, known in enumerate(job.start.given_F) if known] == [2, 3]
    assert [card.transition_s for card in job.request.cards] == [None, 0.5]
    first = tools.plan_job(
        model,
        tools.Wish("a cat", cards=[tools.StoryCard(0, clip=path)], options={"seconds": 4.0, "seed": 1}),
    )
    assert first.start is not None
    assert [index for index, known in enumerate(first.start.given_F) if known] == [0, 1, 2, 3]

    made = tools.make(model, [job])[0].stream
    shown = np.stack(list(made.frames))
    # Frame 5 is the first that latent frame 2 holds. The clip's greys rise by 10 a frame, and the test card keeps one
    # picture a latent frame.
    greys = shown[5:13].mean(axis=(1, 2, 3)).reshape(2, 4)
    assert (greys[0] < 31).all(), greys
    assert ((greys[1] > 39) & (greys[1] < 71)).all(), greys

    with pytest.raises(InvalidRequest, match="fills the whole clip"):
        tools.plan_job(
            model,
            tools.Wish("a", cards=[tools.StoryCard(0, clip=path)], options={"seconds": 0.625, "seed": 1}),
        )


def test_the_api_takes_one_kind_a_card_and_knows_where_it_came_from(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path))
    client = client_for(parts)
    try:
        source = client.post("/v1/videos", json={"prompt": "a cat", "seconds": "2"}).json()["id"]
        finish_next(parts)
        prompt = {"at_s": 0, "prompt": "a dog"}
        two = {"at_s": 1, "prompt": "a", "video": {"id": source}}
        answer = client.post("/v1/videos", json={"cards": [prompt, two]})
        assert answer.status_code == 400
        assert "card 2 must have a prompt, an image_url or a video" in answer.text
        cards = [prompt, {"at_s": 1, "video": {"id": source}, "seconds": 9}, {"at_s": 3, "prompt": "b"}]
        answer = client.post("/v1/videos", json={"cards": cards, "seconds": "4"})
        assert answer.status_code == 200, answer.text
        made = answer.json()["hibari"]
        assert made["sources"] == [source]
        assert [(card["video"], card["seconds"]) for card in made["recipe"]["cards"]] == [
            (None, None),
            (source, 2),
            (None, None),
        ]
        answer = client.post("/v1/videos", json={"cards": cards[:2], "seconds": "2"})
        assert "the clips fill the whole video of 2 s" in answer.json()["error"]["message"]
        answer = client.post("/v1/videos", json={"cards": [{"at_s": 0, "video": {"id": "video_0"}}]})
        assert answer.status_code == 404
    finally:
        parts.database.close()
