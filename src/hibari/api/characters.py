"""Characters: a name and a clip that are kept. No model here has a tool that uses one yet."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from hibari.accounts import Identity
from hibari.api import orders, uploads
from hibari.api.asked import AskedCharacter
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader, Writer
from hibari.api.parts import Parts
from hibari.api.room import read_upload
from hibari.api.wire import Character
from hibari.contracts import HibariError, InputError, NotFound

router = APIRouter(prefix="/videos/characters", tags=["characters"])

FOLDER = "characters"
_ID = re.compile(r"char_[0-9a-f]{32}")


@router.post("", openapi_extra={"requestBody": {"required": True, "content": {
    "multipart/form-data": {"schema": {
        "type": "object", "required": ["name", "video"], "properties": {
            "name": {"type": "string"},
            "video": {"type": "string", "contentMediaType": "application/octet-stream"}}}},
    "application/json": {"schema": AskedCharacter.model_json_schema(
        ref_template="#/components/schemas/{model}")}}}})  # fmt: skip
async def create(request: Request, parts: Given, identity: Writer) -> Character:
    """Keep a character: a name, and a clip that shows it."""
    body = await read_upload(parts, request)

    def work() -> Character:
        asked = body.parse(AskedCharacter)
        about: dict[str, Any] = {
            "id": f"char_{secrets.token_hex(16)}",
            "name": asked.name,
            "created_at": int(time.time()),
            "owner": identity.account.id,
        }
        with tempfile.TemporaryDirectory(prefix="hibari-upload-") as folder:
            path = Path(folder) / "clip"
            if (file := body.files.get("video")) is not None:
                # Looked at and copied as any clip is; then kept under the character's own name.
                upload = uploads.store_clip(parts, identity.account.id, file.file, path, "video").source
                parts.storage.remove(upload.key.rsplit("/", 1)[0])
                parts.stored.forget(upload.key)
            elif asked.video is not None:
                video = orders.given_video(parts, identity, asked.video.id)
                parts.storage.copy_to(video.source.key, path)
            else:
                raise Refused(400, "missing_parameter", "video is missing; send a file", param="video")
            kept = uploads.keep(parts, identity.account.id, f"{FOLDER}/{about['id']}/video", path)
        try:  # last: a character is there once this is
            parts.storage.put(f"{FOLDER}/{about['id']}/about.json", json.dumps(about).encode())
        except HibariError:
            parts.storage.remove(f"{FOLDER}/{about['id']}")
            parts.stored.forget(kept)
            raise
        return _character(about)

    try:
        return await run_in_threadpool(work)
    finally:
        await body.close()


@router.get("/{character_id}")
def retrieve(character_id: str, parts: Given, identity: Reader) -> Character:
    """A character that was kept."""
    return check_character(parts, identity, character_id)


def check_character(parts: Parts, identity: Identity, character_id: str) -> Character:
    """A character of the one who asks.

    Raises:
        NotFound: there is none.
    """
    missing = NotFound(f"there is no character {character_id[:60]!r}")
    if not _ID.fullmatch(character_id):
        raise missing
    try:
        about: dict[str, Any] = json.loads(
            b"".join(parts.storage.read(f"{FOLDER}/{character_id}/about.json"))
        )
    except InputError as error:
        raise missing from error
    if about["owner"] != identity.account.id:
        raise missing
    return _character(about)


def _character(about: dict[str, Any]) -> Character:
    return Character(id=about["id"], created_at=about["created_at"], name=about["name"])
