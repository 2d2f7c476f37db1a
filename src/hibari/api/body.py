"""Bodies: multipart/form-data and JSON say the same things, and neither may be endless."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from hibari.api.errors import Refused, wrong_value
from hibari.contracts import OutputError

MAX_FIELDS, MAX_FILES = 200, 4
MAX_FIELD_BYTES = 64 * 2**20  # a data: URL may be in it
MAX_JSON_BYTES = 64 * 2**20
MAX_DEPTH = 5
MAX_INDEX = 100
_STRUCTURED = frozenset({"input_reference", "video", "videos", "characters", "cards"})

AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Body:
    """What came: values as JSON would have them, though in a form every value is a string; and files by name."""

    values: dict[str, Any]
    files: dict[str, UploadFile] = field(default_factory=dict[str, UploadFile])

    def parse(self, model: type[AnyModel], **given: object) -> AnyModel:
        """The values as a model; `given` are values of the path.

        Raises:
            Refused: with the parameter that is wrong.
        """
        try:
            return model.model_validate({**self.values, **given})
        except ValidationError as error:
            raise wrong_value(error.errors()) from error

    async def close(self) -> None:
        """Let go of the files."""
        for file in self.files.values():
            await file.close()


def announced_bytes(request: Request) -> int:
    """How long a body says that it is; 0 where it does not."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


async def read_body(request: Request, limit_bytes: int) -> Body:
    """A request's body.

    Raises:
        Refused: it is too large, of another type, or damaged.
        OutputError: its files cannot be kept while it is read.
    """
    if announced_bytes(request) > limit_bytes:
        raise _too_large(limit_bytes)
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    match kind:
        case "multipart/form-data":
            return await _read_form(request, limit_bytes)
        case "application/x-www-form-urlencoded":
            form = await FormParser(request.headers, _limited(request, MAX_JSON_BYTES)).parse()
            return Body(_nested([(name, str(value)) for name, value in form.multi_items()]))
        case "application/json" | "":
            return await _read_json(request, min(limit_bytes, MAX_JSON_BYTES))
        case _:
            raise Refused(
                400,
                "unsupported_media_type",
                f"the body is {kind[:60]!r}; wanted is multipart/form-data or application/json",
            )


async def _read_json(request: Request, limit_bytes: int) -> Body:
    text = b"".join([chunk async for chunk in _limited(request, limit_bytes)])
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalid_json", "the body is not JSON that can be read") from error
    if not isinstance(values, dict):
        raise Refused(400, "invalid_json", "the body must be a JSON object")
    return Body(values)  # pyright: ignore[reportUnknownArgumentType] - pydantic looks at it


async def _read_form(request: Request, limit_bytes: int) -> Body:
    parser = MultiPartParser(
        request.headers,
        _limited(request, limit_bytes),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, "invalid_form", f"the form cannot be read: {error.message}") from error
    except OSError as error:  # larger ones lie in the temporary folder
        raise OutputError(f"the form's files cannot be kept while it is read: {error.strerror}") from error
    files = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
    return Body(
        _nested([(name, value) for name, value in form.multi_items() if isinstance(value, str)]), files
    )


async def _limited(request: Request, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces, whatever it had announced."""
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit_bytes:
            raise _too_large(limit_bytes)
        yield chunk


def _too_large(limit_bytes: int) -> Refused:
    # What is still on its way is not read: the connection must end with this answer.
    return Refused(
        413,
        "too_large",
        f"the request has more than {limit_bytes / 2**20:g} MB, the most that is taken here",
        headers={"Connection": "close"},
    )


def _nested(items: list[tuple[str, str]]) -> dict[str, Any]:
    """`video[id]` and `cards[][prompt]` as the objects and lists that they stand for; where one of those is wanted, the
    value may also be its JSON."""
    tree: dict[str, Any] = {}
    for name, value in items:
        head, *rest = name.replace("]", "").split("[")
        if len(rest) > MAX_DEPTH:
            raise Refused(400, "invalid_form", f"the field {name[:60]!r} is nested too deeply")
        _put(tree, head, rest, _read(value) if name in _STRUCTURED else value)
    return tree


def _put(into: dict[str, Any], key: str, rest: list[str], value: Any) -> None:
    if not rest:
        into[key] = value
        return
    if rest[0] == "" or rest[0].isdecimal():
        items: Any = into.setdefault(key, [])
        if not isinstance(items, list):
            raise Refused(400, "invalid_form", f"the field {key[:60]!r} is a list and something else")
        _append(items, rest, value)  # pyright: ignore[reportUnknownArgumentType]
        return
    inner: Any = into.setdefault(key, {})
    if not isinstance(inner, dict):
        raise Refused(400, "invalid_form", f"the field {key[:60]!r} is an object and something else")
    _put(inner, rest[0], rest[1:], value)  # pyright: ignore[reportUnknownArgumentType]


def _append(items: list[Any], rest: list[str], value: Any) -> None:
    """Without an index, a new object begins where the last one has this field already."""
    if len(rest) == 1:
        items.append(value)
        return
    index = int(rest[0]) if rest[0] else len(items) - 1
    if rest[0] == "" and (index < 0 or rest[1] in items[index]):
        index = len(items)
    if index > MAX_INDEX or index > len(items):
        raise Refused(400, "invalid_form", "the items of a list must be numbered from 0 on, without gaps")
    if index == len(items):
        items.append({})
    if not isinstance(items[index], dict):
        raise Refused(400, "invalid_form", "an item of a list is an object and something else")
    _put(items[index], rest[1], rest[2:], value)


def _read(value: str) -> Any:
    if value[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
