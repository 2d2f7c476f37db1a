"""Defends: our own client, blocking and asynchronous, makes every call of a real server, and a lost connection costs
neither a video, nor an event, nor a byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Unpack

import httpx2
import pytest
from PIL import Image

import hibari
from cutting_proxy import CuttingProxy, cutting
from hibari import media
from hibari.client import (
    AsyncClient,
    BadRequest,
    Card,
    Client,
    Conflict,
    CreateOptions,
    ModelNotFound,
    NotFound,
    Unauthenticated,
    Unreachable,
    Variant,
    Video,
    VideoCancelled,
    VideoNotReady,
    Wanted,
)
from server_process import Server

SLOW: CreateOptions = {"steps": 60, "seconds": 4}


@pytest.fixture(scope="module")
def own(server: Server, key: str) -> Iterator[Client]:
    with hibari.Client(server.url, key) as client:
        yield client


@pytest.fixture(scope="module")
def one(own: Client) -> Video:
    return own.wait(own.create("a cat", seconds=4, model="testcard"))


@pytest.fixture
def wire(server: Server) -> Iterator[CuttingProxy]:
    with cutting(server.url) as proxy:
        yield proxy


def picture() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def test_every_way_to_make_a_video(own: Client, one: Video, tmp_path: Path) -> None:
    assert (one.status, one.seconds, one.details.frames) == ("completed", 4, 32)
    clip = own.download(one, tmp_path / "a.mp4")
    file = tmp_path / "a.png"
    file.write_bytes(picture())
    cards = [Card(0, "a cat"), Card(2, image=file), Card(3, "a dog")]
    made = {
        "picture": own.create("a cat", seconds=4, input_reference=file, seed=7, deterministic=True),
        "bytes": own.create("a cat", seconds=4, input_reference=picture(), n=2),
        "cards": own.create(cards=cards, seconds=4, transition_s=0.5),
        "edit": own.edit(one, "in the snow", strength=0.5, size="160x96"),
        "sent": own.edit(clip, "in the snow", strength="mild"),
        "extend": own.extend(one.id, "it goes on", 2),
        "back": own.extend(clip.read_bytes(), "before", 2, backward=True),
        "loop": own.loop(one),
        "connect": own.connect(one, one, seconds=1),
        "blend": own.blend(one, one, curve="linear", strength=0.7),
        "remix": own.remix(one, "a dog"),
    }
    assert made["picture"].details.seed == 7
    assert len(made["bytes"].details.variations) == 2
    assert made["remix"].remixed_from_video_id == one.id
    finished = {name: own.wait(video) for name, video in made.items()}
    seconds = {name: finished[name].seconds for name in ("extend", "back", "loop", "connect", "blend")}
    assert seconds == {"extend": 6, "back": 6, "loop": 5, "connect": 9, "blend": 4}
    assert {finished[name].details.tool for name in ("back", "loop")} == {"extend_back", "loop"}
    assert finished["edit"].size == "160x96"


def test_files_of_all_variants(own: Client, one: Video, tmp_path: Path) -> None:
    path = own.download(one, str(tmp_path / "a.mp4"))
    assert len(list(media.decode_frames(path))) == one.details.frames
    kinds: dict[Variant, str] = {"thumbnail": "WEBP", "spritesheet": "JPEG"}
    for variant, kind in kinds.items():
        with Image.open(own.download(one, tmp_path / kind, variant=variant)) as image:
            assert image.format == kind
    assert {found.name for found in tmp_path.iterdir()} == {"a.mp4", "WEBP", "JPEG"}


def test_list_delete_cancel_characters_models_health(own: Client, one: Video, tmp_path: Path) -> None:
    made = [own.create(f"cat {number}", **SLOW) for number in range(3)]
    assert [video.id for video in own.page(limit=2).items] == [made[2].id, made[1].id]
    assert own.page(limit=1, after=made[1].id).items[0].id == made[0].id
    assert [video.id for video in own.videos()][:3] == [video.id for video in reversed(made)]
    own.cancel(made[0])  # ends at once, or, if it runs already, after its step
    with pytest.raises(VideoCancelled) as cancelled:
        own.wait(made[0])
    assert (cancelled.value.code, cancelled.value.video.id) == ("cancelled", made[0].id)
    for video in made:
        own.delete(video)
    with pytest.raises(NotFound):
        own.retrieve(made[1])
    with pytest.raises(NotFound):
        list(own.with_progress(made[1]))
    mo = own.create_character("Mo", one)
    assert own.character(mo.id) == mo
    assert own.create_character("Mo", own.download(one, tmp_path / "a.mp4")).name == "Mo"
    assert {"testcard", "sora-2"} <= {model.id for model in own.models()}
    assert own.model("testcard").sizes
    assert own.health().ready


def test_videos_are_kept_in_order_and_found_again(own: Client, one: Video) -> None:
    two, three = own.create("Ein HÜND%chen", **SLOW), own.create("a boat", **SLOW)
    remix = own.remix(one, "a fox")
    sea = own.create_folder("Sea")
    with pytest.raises(Conflict):
        own.create_folder("Sea")
    changed = own.change([two, three.id], favourite=True, folder=sea)
    assert {(video.id, video.details.favourite, video.details.folder) for video in changed} == {
        (video.id, True, sea.id) for video in (two, three)
    }

    def found(**wanted: Unpack[Wanted]) -> list[str]:
        ids = [video.id for video in own.page(**wanted).items]
        assert ids == [video.id for video in own.videos(**wanted)]
        return ids

    assert found(search="hünd%") == [two.id]
    assert found(folder=sea, favourite=True) == [three.id, two.id]
    assert found(folder=sea.id, status=["queued", "in_progress", "completed"]) == [three.id, two.id]
    assert found(folder=sea.id, status="failed") == []
    assert found(kind="remix", folder="", search="fox") == [remix.id]
    assert own.change([two], folder="")[0].details.folder is None
    assert own.folders() == (replace(sea, videos=1),)
    assert own.rename_folder(sea, "Ocean").name == "Ocean"
    own.delete_folder(sea.id)
    assert own.folders() == ()
    family = own.lineage(remix)
    assert (family.videos[0].id, one.id in [video.id for video in family.videos]) == (remix.id, True)
    assert set(own.delete_many([two, three.id, remix, "video_0"])) == {two.id, three.id, remix.id}


def test_refusals_are_classes(own: Client, server: Server, key: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        own.create("a cat", model="dall-e")
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "model_not_found", "model")
    assert caught.value.request_id
    with pytest.raises(BadRequest, match="seconds"):
        own.create("a cat", seconds=61)
    with pytest.raises(NotFound):
        own.retrieve("../../models")
    with Client(server.url, "hb_wrong") as stranger, pytest.raises(Unauthenticated):
        stranger.page()
    unfinished = own.create("a cat", **SLOW)
    with pytest.raises(VideoNotReady):
        own.download(unfinished, "never.mp4")
    assert not Path("never.mp4").exists()
    own.delete(unfinished)
    assert key not in repr(own)


def test_a_lost_answer_makes_no_second_video(own: Client, wire: CuttingProxy, key: str) -> None:
    before = len(list(own.videos()))
    wire.cut_after(0)
    with Client(wire.url, key) as client:
        video = client.create("a cat", seconds=1)
    assert wire.cuts == 1
    assert len(list(own.videos())) == before + 1
    assert own.retrieve(video).prompt == "a cat"


def test_progress_as_it_happens(own: Client) -> None:
    told = list(own.with_progress(own.create("a cat", seconds=8, steps=200)))
    steps = [progress.step for progress in told if progress.step is not None]
    assert len(steps) > 1
    assert steps == sorted(set(steps)), "they rise"
    assert steps[-1] == told[-2].steps
    previews = [progress.preview for progress in told if progress.preview]
    assert previews
    assert all(preview[:4] == b"RIFF" for preview in previews)
    assert (told[-1].kind, told[-1].video.status) == ("completed", "completed")


def test_progress_of_all_videos_a_link_and_a_webhook(own: Client) -> None:
    hook = own.create_webhook("https://8.8.8.8/hook", event_types=["video.failed"])
    made = [own.create(f"cat {number}", seconds=2) for number in range(2)]
    ends = {one.video.id: one.kind for one in own.all_progress() if one.video.is_final}
    assert [ends[video.id] for video in made] == ["completed", "completed"]
    link = own.link(made[0], variant="thumbnail", seconds=60)
    assert httpx2.get(link.url).content[8:12] == b"WEBP"
    own.delete_webhook(hook)


def test_progress_goes_on_after_lost_connections(own: Client, wire: CuttingProxy, key: str) -> None:
    video = own.create("a cat", **SLOW)
    with Client(wire.url, key) as client:
        wire.cut_after(1500, times=2)
        told = list(client.with_progress(video))
    assert wire.cuts == 2
    numbers = [progress.number for progress in told]
    assert numbers == sorted(set(numbers)), "none twice"
    straight = list(own.with_progress(video))
    assert straight[-1].kind == "completed"
    assert set(numbers) >= {progress.number for progress in straight}, "none is missing"
    assert list(own.with_progress(video, after=told[-2].number)) == [straight[-1]]
    assert list(own.with_progress(video, after=told[-1].number)) == []


def test_a_download_goes_on_after_a_lost_connection(
    own: Client, one: Video, wire: CuttingProxy, key: str, tmp_path: Path
) -> None:
    whole = own.download(one, tmp_path / "whole.mp4").read_bytes()
    with Client(wire.url, key) as client:
        client.health()
        wire.cut_after(len(whole) // 2)
        assert client.download(one, tmp_path / "cut.mp4").read_bytes() == whole
    assert wire.cuts == 1
    wire.cut_after(len(whole) // 2)
    with Client(wire.url, key, retries=0) as client, pytest.raises(Unreachable):
        client.download(one, tmp_path / "never.mp4")
    assert {found.name for found in tmp_path.iterdir()} == {"whole.mp4", "cut.mp4"}


def test_the_asynchronous_client(
    server: Server, wire: CuttingProxy, key: str, one: Video, tmp_path: Path
) -> None:
    async def drive() -> None:
        async with hibari.AsyncClient(wire.url, key) as client:
            made = await asyncio.gather(*(client.create(f"cat {number}", seconds=2) for number in range(3)))
            assert {video.status for video in await asyncio.gather(*map(client.wait, made))} == {"completed"}
            slow = await client.create("a cat", input_reference=picture(), seconds=4, steps=60)
            wire.cut_after(2500)
            numbers = [progress.number async for progress in client.with_progress(slow)]
            assert numbers == sorted(set(numbers))
            assert wire.cuts == 1
            whole = (await client.download(one, tmp_path / "whole.mp4")).read_bytes()
            wire.cut_after(len(whole) // 2)
            assert (await client.download(one, tmp_path / "cut.mp4")).read_bytes() == whole
            assert wire.cuts == 2
            assert (await anext(client.videos())).id == slow.id
            await client.change([slow], favourite=True)
            assert [video.id async for video in client.videos(favourite=True, search="cat")] == [slow.id]
            await client.delete(slow)
            with pytest.raises(NotFound):
                await client.retrieve(slow)
            with pytest.raises(ModelNotFound):
                await client.create("a cat", model="dall-e")
            assert (await client.health()).ready

    asyncio.run(drive())


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert calls(AsyncClient) == (calls(Client) - {"close"}) | {"aclose"}
