"""Defends: the official Python client drives this server by `base_url` and a key alone, every call of it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI, omit
from PIL import Image

from hibari import media
from server_process import Server

# The client marks its videos as deprecated, because the service that it was made for has closed.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


# The client (3.57) cannot send the references that its own types allow: it takes them for files, and refuses them. As
# further fields of the body they go through; in the form they are `video[id]` and `input_reference[image_url]`.
LEFT_OUT: Any = omit


def saved(client: OpenAI, video_id: str, path: Path) -> Path:
    path.write_bytes(client.videos.download_content(video_id).content)
    return path


def test_create_and_poll_and_all_three_variants(client: OpenAI, tmp_path: Path) -> None:
    video = client.videos.create_and_poll(prompt="a cat", model="sora-2", seconds="4", size="1280x720")
    assert video.status == "completed", video.error
    assert (video.model, video.seconds, video.size, video.progress) == ("sora-2", "4", "1280x720", 100)
    assert video.completed_at is not None
    frames = list(media.decode_frames(saved(client, video.id, tmp_path / "a.mp4")))
    assert (len(frames), frames[0].shape) == (96, (720, 1280, 3))
    kinds: dict[Literal["thumbnail", "spritesheet"], str] = {"thumbnail": "WEBP", "spritesheet": "JPEG"}
    for variant, kind in kinds.items():
        content = client.videos.download_content(video.id, variant=variant).content
        with Image.open(BytesIO(content)) as image:
            assert image.format == kind
    with client.videos.with_streaming_response.download_content(video.id) as streamed:
        assert sum(len(chunk) for chunk in streamed.iter_bytes()) == (tmp_path / "a.mp4").stat().st_size


def test_every_way_to_make_a_video_of_a_video(client: OpenAI, tmp_path: Path) -> None:
    one = client.videos.create_and_poll(prompt="a cat", model="testcard", seconds="4")
    remixed = client.videos.remix(one.id, prompt="a dog")
    assert remixed.remixed_from_video_id == one.id
    extended = client.videos.extend(
        prompt="it goes on", seconds="4", video=LEFT_OUT, extra_body={"video": {"id": one.id}}
    )
    assert extended.seconds == "8"
    edited = client.videos.edit(prompt="in the snow", video=LEFT_OUT, extra_body={"video": {"id": one.id}})
    content = saved(client, one.id, tmp_path / "a.mp4").read_bytes()
    sent = client.videos.extend(prompt="it goes on", seconds="4", video=("a.mp4", content))
    assert sent.seconds == "8"
    changed = client.videos.edit(prompt="in the snow", video=content)
    for video in (remixed, extended, edited, sent, changed):
        polled = client.videos.poll(video.id)
        assert polled.status == "completed", polled.error


def test_a_picture_as_file_and_as_url(client: OpenAI) -> None:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    sent = client.videos.create(prompt="a cat", input_reference=("a.png", buffer.getvalue()), seconds="4")
    url = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
    told = client.videos.create(prompt="a cat", extra_body={"input_reference": {"image_url": url}})
    for video in (sent, told):
        assert client.videos.poll(video.id).status == "completed"


def test_list_pages_and_delete(client: OpenAI) -> None:
    ids = [client.videos.create(prompt=f"cat {number}").id for number in range(5)]
    listed = [video.id for video in client.videos.list(limit=2)]
    assert listed[:5] == ids[::-1]
    oldest = client.videos.list(limit=1, order="asc").data[0]
    assert oldest.id not in ids
    gone = client.videos.delete(ids[0])
    assert (gone.deleted, gone.id, gone.object) == (True, ids[0], "video.deleted")
    with pytest.raises(openai.NotFoundError) as caught:
        client.videos.retrieve(ids[0])
    assert caught.value.code == "not_found"
    for video_id in ids[1:]:
        client.videos.delete(video_id)


def test_characters(client: OpenAI, tmp_path: Path) -> None:
    one = client.videos.create_and_poll(prompt="a cat", seconds="4")
    content = saved(client, one.id, tmp_path / "a.mp4").read_bytes()
    made = client.videos.create_character(name="Mo", video=content)
    assert made.id
    assert client.videos.get_character(made.id).model_dump() == made.model_dump()
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(prompt="a cat", extra_body={"characters": [{"id": made.id}]})
    assert caught.value.code == "characters_unsupported"


def test_what_is_ours_comes_through_the_client(client: OpenAI) -> None:
    video = client.videos.create(
        prompt="a cat", extra_body={"seed": 7, "steps": 3, "n": 2, "negative_prompt": "rain"}
    )
    assert video.model_extra
    details = video.model_extra["hibari"]
    assert (details["seed"], details["steps"], len(details["variations"])) == (7, 3, 2)
    raw = client.videos.with_raw_response.retrieve(video.id)
    assert 200 <= int(raw.headers["openai-poll-after-ms"]) <= 10_000
    assert raw.parse().id == video.id


def test_errors_are_the_clients_own_classes(client: OpenAI, server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.videos.create(prompt="a cat", seconds="61")  # pyright: ignore[reportArgumentType]
    assert (caught.value.code, caught.value.param) == ("invalid_value", "seconds")
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve("video_none")
    with (
        OpenAI(base_url=server.url, api_key="hb_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.videos.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id
    unfinished = client.videos.create(prompt="a cat", extra_body={"steps": 200, "seconds": "20"})
    with pytest.raises(openai.ConflictError) as conflict:
        client.videos.download_content(unfinished.id)
    assert conflict.value.code == "video_not_ready"
    client.videos.delete(unfinished.id)


def test_models(client: OpenAI) -> None:
    assert {"testcard", "sora-2"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("sora-2").owned_by == "hibari"


def test_the_asynchronous_client(server: Server, key: str) -> None:
    async def drive() -> None:
        async with AsyncOpenAI(base_url=server.url, api_key=key, max_retries=0) as client:
            videos = await asyncio.gather(
                *(client.videos.create_and_poll(prompt=f"cat {number}", seconds="4") for number in range(3))
            )
            assert {video.status for video in videos} == {"completed"}
            content = await client.videos.download_content(videos[0].id, variant="thumbnail")
            assert content.content[:4] == b"RIFF"
            assert len([video async for video in client.videos.list(limit=2)]) >= 3

    asyncio.run(drive())
