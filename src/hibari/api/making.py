"""The routes that make a video: from a prompt, or out of other videos."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from hibari.accounts import Identity
from hibari.api import asked, orders, uploads
from hibari.api.body import Body, read_body
from hibari.api.characters import check_character
from hibari.api.errors import Refused
from hibari.api.fetch import fetch
from hibari.api.keys import Given, Writer
from hibari.api.parts import Parts
from hibari.api.room import read_upload
from hibari.api.wire import Forecast, Video, poll_after_ms, video_of
from hibari.assignment import Source, StoredCard
from hibari.contracts import InvalidRequest, Tool
from hibari.jobs import Created

router = APIRouter(prefix="/videos", tags=["videos"])

MAX_KEY_CHARS = 255


def described(model: type[BaseModel], *files: str, required: bool = True) -> dict[str, Any]:
    """A body for the OpenAPI page: the same fields as JSON and as a form, in which `files` may be files."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form_properties = {
        name: {"anyOf": [binary, part]} if name in files else part
        for name, part in schema["properties"].items()
    }
    form = {**schema, "properties": form_properties}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": required, "content": content}}


class Asking:
    """A request's body together with who asks."""

    def __init__(self, parts: Parts, identity: Identity, route: str, body: Body, key: str | None) -> None:
        if key is not None and not (0 < len(key) <= MAX_KEY_CHARS and key.isprintable() and key.isascii()):
            raise Refused(
                400,
                "invalid_value",
                f"the Idempotency-Key must be 1 to {MAX_KEY_CHARS} visible ASCII characters",
                param="Idempotency-Key",
            )
        self.parts = parts
        self.identity = identity
        self.body = body
        hashes = {name: _sha256(file) for name, file in body.files.items()} if key else {}
        self.asker = orders.Asker(identity, key, orders.fingerprint(route, body.values, hashes))

    def picture(self, reference: asked.PictureReference | None) -> Source | None:
        """The picture of `input_reference`, stored."""
        file = self.body.files.get("input_reference")
        if file is not None:
            if file.size is not None and file.size > uploads.MAX_PICTURE_BYTES:
                raise Refused(413, "too_large", "the picture is too large", param="input_reference")
            content = file.file.read()
            return uploads.store_picture(self.parts, self.identity.account.id, content, "input_reference")
        if reference is None:
            return None
        if reference.file_id is not None:
            raise Refused(
                400,
                "unsupported_value",
                "files are not kept here apart from videos; send the picture itself, or its image_url",
                param="input_reference.file_id",
            )
        if reference.image_url is None:
            raise InvalidRequest("input_reference has no image_url", field="input_reference")
        return self.picture_at(reference.image_url, "input_reference.image_url")

    def picture_at(self, url: str, param: str) -> Source:
        """The picture behind a URL, stored."""
        settings = self.parts.settings
        limit = min(settings.upload_bytes, uploads.MAX_PICTURE_BYTES)
        content = fetch(url, limit_bytes=limit, private=settings.private_urls, param=param)
        return uploads.store_picture(self.parts, self.identity.account.id, content, param)

    def clip(self, reference: asked.VideoReference | None) -> orders.Given:
        """The clip of `video`: a file, or a video of this server."""
        file = self.body.files.get("video")
        if file is None:
            if reference is None:
                raise Refused(
                    400,
                    "missing_parameter",
                    "video is missing; send a file, or {id} of a video",
                    param="video",
                )
            return orders.given_video(self.parts, self.identity, reference.id)
        with tempfile.TemporaryDirectory(prefix="hibari-upload-") as folder:
            path = Path(folder) / "clip"
            clip = uploads.store_clip(self.parts, self.identity.account.id, file.file, path, "video")
        return orders.Given(clip.source, clip.width, clip.height, clip.frames / clip.fps, None, None)

    def clips(self, references: Sequence[asked.VideoReference]) -> list[orders.Given]:
        """Videos of this server."""
        return [orders.given_video(self.parts, self.identity, reference.id) for reference in references]

    def cards(self, cards: Sequence[asked.AskedCard]) -> list[StoredCard]:
        """A storyboard, its pictures stored."""
        for number, card in enumerate(cards, 1):
            if bool(card.prompt.strip()) + (card.image_url is not None) + (card.video is not None) != 1:
                raise InvalidRequest(
                    f"card {number} must have a prompt, an image_url or a video, and only one of them",
                    field="cards",
                )
        return [self._card(card, f"cards.{number}") for number, card in enumerate(cards)]

    def _card(self, card: asked.AskedCard, param: str) -> StoredCard:
        if card.image_url is not None:
            return StoredCard(card.at_s, image=self.picture_at(card.image_url, f"{param}.image_url"))
        if card.video is None:
            return StoredCard(card.at_s, card.prompt, transition_s=card.transition_s)
        clip = orders.given_video(self.parts, self.identity, card.video.id)
        seconds = clip.seconds if card.seconds is None else min(card.seconds, clip.seconds)
        return StoredCard(card.at_s, clip=clip.source, seconds=seconds, video=card.video.id)

    def answer(self, created: Sequence[Created], response: Response) -> Video:
        """The first job as the answer."""
        job = created[0].job
        estimate = None if job.is_final else self.parts.jobs.estimate(job.id)
        response.headers["openai-poll-after-ms"] = str(poll_after_ms(estimate))
        if created[0].replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return video_of(job, estimate, [one.job.id for one in created] if len(created) > 1 else None)


@dataclass(frozen=True, slots=True)
class Making:
    """What every route here is given: what came, from whom, and where the answer goes."""

    request: Request
    response: Response
    parts: Parts
    identity: Identity
    idempotency_key: str | None

    async def video(self, make: Callable[[Asking], Sequence[Created]]) -> Video:
        """Read the body here, and do all that may block in a thread."""
        body = await read_upload(self.parts, self.request)
        try:
            return await run_in_threadpool(self.of, body, make)
        finally:
            await body.close()

    def of(self, body: Body, make: Callable[[Asking], Sequence[Created]]) -> Video:
        """The answer to a body that was read."""
        asking = Asking(self.parts, self.identity, self.request.url.path, body, self.idempotency_key)
        return asking.answer(make(asking), self.response)


async def _making(
    request: Request,
    response: Response,
    parts: Given,
    identity: Writer,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The same key with the same request makes no second video: the first one is returned."
        ),
    ] = None,
) -> Making:
    return Making(request, response, parts, identity, idempotency_key)


Maker = Annotated[Making, Depends(_making)]


@router.post("", openapi_extra=described(asked.Create, "input_reference"))
async def create(making: Maker) -> Video:
    """Make a video of a prompt, with a first picture (`input_reference`) or a storyboard (`cards`) if wanted."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Create)
        for character in wish.characters:
            check_character(asking.parts, asking.identity, character.id)
        if wish.characters:
            model = asking.parts.spec(wish.model).name
            raise Refused(
                400,
                "characters_unsupported",
                f"{model} has no tool that puts a character into a video; leave characters out",
                param="characters",
            )
        cards = asking.cards(wish.cards)
        return orders.from_prompt(
            asking.parts, asking.asker, wish, asking.picture(wish.input_reference), cards
        )

    return await making.video(make)


@router.post("/forecast", openapi_extra=described(asked.Create))
async def forecast(request: Request, parts: Given, identity: Writer) -> Forecast:
    """What `POST /videos` would make of the same body, and how long it would take; nothing is made."""
    body = await read_body(request, parts.settings.upload_bytes)

    def work() -> Forecast:
        wish = body.parse(asked.Create)
        cards = [
            StoredCard(card.at_s, card.prompt, transition_s=card.transition_s)
            for card in wish.cards
            if card.prompt.strip()
        ]
        spec, _, made = orders.resolved(parts, wish, None, cards)
        pace = orders.pace_of(spec, made)
        estimate = parts.jobs.forecast(
            identity.account.id,
            pace=pace,
            steps=made.steps,
            guess_s=orders.guess_s(parts, spec, made),
        )
        return Forecast(
            model=spec.name,
            size=f"{made.width}x{made.height}",
            native_size=f"{made.native_width}x{made.native_height}",
            frames=made.frames,
            fps=made.fps,
            steps=made.steps,
            queue_position=estimate.position,
            seconds=estimate.seconds_left,
            measured=pace in parts.jobs.paces(),
        )

    try:
        return await run_in_threadpool(work)
    finally:
        await body.close()


@router.post("/edits", openapi_extra=described(asked.Edit, "video"))
async def edit(making: Maker) -> Video:
    """Change a video, or a clip that is sent, by a prompt."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Edit)
        clip = asking.clip(wish.video)
        return orders.from_clips(
            asking.parts,
            asking.asker,
            wish,
            "edit",
            [clip],
            prompt=wish.prompt,
            size=wish.size,
            strength=wish.strength,
        )

    return await making.video(make)


@router.post("/extensions", openapi_extra=described(asked.Extend, "video"))
async def extend(making: Maker) -> Video:
    """Go on with a video, or a clip that is sent, for so many seconds; the new video has both."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Extend)
        tool: Tool = "extend_back" if wish.backward else "extend"
        clip = asking.clip(wish.video)
        return orders.from_clips(
            asking.parts, asking.asker, wish, tool, [clip], prompt=wish.prompt, seconds=wish.seconds
        )

    return await making.video(make)


@router.post("/loops", openapi_extra=described(asked.Loop, "video"))
async def loop(making: Maker) -> Video:
    """Lead a video's end back to its beginning, so that it can be played for ever."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Loop)
        clip = asking.clip(wish.video)
        return orders.from_clips(
            asking.parts, asking.asker, wish, "loop", [clip], prompt=wish.prompt, seconds=wish.seconds
        )

    return await making.video(make)


@router.post("/connections", openapi_extra=described(asked.Connect))
async def connect(making: Maker) -> Video:
    """Join two videos by so many new seconds between them."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Connect)
        clips = asking.clips(wish.videos)
        return orders.from_clips(
            asking.parts, asking.asker, wish, "connect", clips, prompt=wish.prompt, seconds=wish.seconds
        )

    return await making.video(make)


@router.post("/blends", openapi_extra=described(asked.Blend))
async def blend(making: Maker) -> Video:
    """Make one video of two, the first turning into the second."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Blend)
        return orders.from_clips(
            asking.parts,
            asking.asker,
            wish,
            "blend",
            asking.clips(wish.videos),
            prompt=wish.prompt,
            strength=wish.strength,
            curve=wish.curve,
        )

    return await making.video(make)


@router.post("/{video_id}/remix", openapi_extra=described(asked.Remix))
async def remix(video_id: str, making: Maker) -> Video:
    """Make a video again from its own noise, with another prompt."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Remix)
        given = orders.given_video(asking.parts, asking.identity, video_id)
        return orders.from_clips(
            asking.parts, asking.asker, wish, "remix", [given], prompt=wish.prompt, strength=wish.strength
        )

    return await making.video(make)


@router.post("/{video_id}/trim", openapi_extra=described(asked.Trim))
async def trim(video_id: str, making: Maker) -> Video:
    """Cut a video to the frames from `first_frame` to `last_frame`: a new video, without a model. They are encoded
    once more."""

    def make(asking: Asking) -> Sequence[Created]:
        wish = asking.body.parse(asked.Trim)
        given = orders.given_video(asking.parts, asking.identity, video_id)
        return [orders.trimmed(asking.parts, asking.asker, given, wish.first_frame, wish.last_frame)]

    return await making.video(make)


@router.post("/{video_id}/again")
def again(video_id: str, making: Maker) -> Video:
    """Make a video once more from all that it was made from, as after a failure."""
    return making.of(Body({}), lambda asking: [orders.again(asking.parts, asking.asker, video_id)])


def _sha256(file: UploadFile) -> str:
    digest = hashlib.file_digest(file.file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    file.file.seek(0)
    return digest
