"""The application, put together. Importing it does nothing."""

from __future__ import annotations

import logging
import re
import secrets
from time import perf_counter
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hibari import studio
from hibari.api import (
    account,
    admin,
    asked,
    characters,
    errors,
    events,
    gallery,
    health,
    links,
    making,
    models,
    operations,
    pictures,
    prompts,
    samples,
    session,
    videos,
    webhooks,
)
from hibari.api.keys import is_loopback
from hibari.api.parts import Parts
from hibari.api.rates import Rates
from hibari.api.reads import Watch
from hibari.api.wire import PROBLEM, ErrorAnswer
from hibari.db import migrate
from hibari.machine import version
from hibari.settings import ServerSettings

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def create_app(settings: ServerSettings, parts: Parts | None = None) -> FastAPI:
    """The API as an ASGI application.

    Args:
        settings: of this server.
        parts: what it stands on; by default as the settings say, with the database brought up to date.

    Raises:
        HibariError: the database or the storage cannot be had.
    """
    if parts is None:
        parts = Parts.of(settings)
        migrate(parts.database)
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": PROBLEM} for status in ("4XX", "5XX")
    }
    app = FastAPI(
        title="Hibari",
        version=version(),
        summary="The Videos API, on your own machine.",
        responses=refusals,
        docs_url=None,  # its scripts would come from somebody else's server
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.parts = parts
    app.state.rates = Rates()
    app.state.watch = Watch(parts.database, parts.jobs)
    app.state.readers = prompts.Readers()
    errors.install(app)
    # Characters before videos: what comes first is asked first.
    for router in (
        characters.router,
        gallery.router,
        making.router,
        events.router,
        links.router,
        videos.router,
        models.router,
        prompts.router,
        session.router,
        webhooks.router,
        account.router,
        admin.router,
        operations.router,
        pictures.router,
    ):
        app.include_router(router, prefix="/v1")
    app.include_router(health.router)
    studio.install(app)
    app.add_middleware(RequestId)
    app.openapi = lambda: _openapi(app)
    return app


def welcome(app: FastAPI) -> None:
    """Give the one user of a server that asks for no key their samples, as others get theirs when they sign in."""
    parts: Parts = app.state.parts
    if is_loopback(parts.settings.host) and not parts.accounts.has_keys():
        samples.give(parts, parts.accounts.local())


class RequestId:
    """Gives each request an id, or keeps the one that it brings, says it in the answer as `x-request-id`, and logs one
    line a request: its path, and nothing that it asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = brought if _REQUEST_ID.fullmatch(brought) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        status = 500
        began_s = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took_ms = (perf_counter() - began_s) * 1000
            path = scope["path"].encode("unicode_escape").decode()
            logger.info(
                "%s %s %d in %.0f ms",
                scope["method"],
                path,
                status,
                took_ms,
                extra={"request_id": request_id},
            )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The page, true where FastAPI's own is not: wrong values are a 400 here, and bodies are read by this room."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        components = schema["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            components.pop(name, None)
        for model in (
            asked.PictureReference,
            asked.VideoReference,
            asked.CharacterReference,
            asked.AskedCard,
        ):
            components[model.__name__] = model.model_json_schema()
        app.openapi_schema = schema
    return app.openapi_schema
