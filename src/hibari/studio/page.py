"""Serves the built page: one document under every address that the page knows, and files that never change."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

BUILT = Path(__file__).parent / "built"
PAGES = (
    "/",
    "/gallery",
    "/storyboard",
    "/sign-in",
    "/videos/{video_id}",
    "/account",
    "/admin",
    "/admin/{room}",
)
"""Addresses that the page itself tells apart; `web/src/route.ts` has the same ones."""

# Nothing from another host, no script but ours, and no text that becomes markup. A preview is a data: URL, and what is
# dropped on the page is shown before it is sent, by a blob: URL.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def install(app: FastAPI) -> None:
    """Serve the studio from `app`."""
    document = _Files(
        BUILT, caching="no-cache"
    )  # asked for each time, and answered with 304 where it is the same

    async def page(request: Request) -> Response:
        return await document.get_response("index.html", request.scope)

    for path in PAGES:
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    # The names of these hold a hash of what is in them.
    assets = _Files(BUILT / "assets", caching="public, max-age=31536000, immutable")
    app.mount("/assets", GZipMiddleware(assets), name="assets")


class _Files(StaticFiles):
    def __init__(self, folder: Path, *, caching: str) -> None:
        super().__init__(directory=folder)
        self._headers = {**_HEADERS, "Cache-Control": caching}

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response
