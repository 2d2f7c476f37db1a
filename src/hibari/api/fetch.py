"""Fetching what a URL leads to, for somebody who may not be trusted: never from a network that is not public.

Redirects are followed a few times, each checked like the first.
"""

from __future__ import annotations

import base64
import binascii
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, unquote_to_bytes, urljoin

from hibari.api.errors import Refused
from hibari.contracts import InvalidUrl
from hibari.outbound import checked_url, connection_to, cut_off, target

MAX_REDIRECTS = 3
TOTAL_TIMEOUT_S = 30.0
CHUNK_BYTES = 64 * 1024


def fetch(url: str, *, limit_bytes: int, private: bool, param: str) -> bytes:
    """What a `data:`, `http:` or `https:` URL leads to.

    Args:
        limit_bytes: more than this is not read.
        private: whether private addresses may be asked.
        param: the request's parameter that the URL came in, for messages.

    Raises:
        InvalidUrl: it is no such URL, leads where it must not, or gives nothing that can be used.
        Refused: 413, it leads to too much.
    """
    if url[:5].lower() == "data:":
        return _data(url, limit_bytes, param)
    until = time.monotonic() + TOTAL_TIMEOUT_S
    for _ in range(MAX_REDIRECTS + 1):
        parts = checked_url(url, param)
        connection = connection_to(parts, private=private, field=param)
        try:
            with cut_off(connection, until - time.monotonic()):
                found = _ask(connection, parts)
            if isinstance(found, str):
                url = urljoin(url, found)
                continue
            return _read(found, until, limit_bytes, param)
        except (OSError, HTTPException) as error:
            raise InvalidUrl(f"the URL cannot be read: {type(error).__name__}", field=param) from error
        finally:
            connection.close()
    raise InvalidUrl(f"the URL is redirected more than {MAX_REDIRECTS} times", field=param)


def _data(url: str, limit_bytes: int, param: str) -> bytes:
    head, comma, text = url[5:].partition(",")
    if not comma:
        raise InvalidUrl("the data: URL has no data", field=param)
    try:
        if head.lower().endswith(";base64"):
            content = base64.b64decode(unquote_to_bytes(text), validate=True)
        else:
            content = unquote_to_bytes(text)
    except (binascii.Error, ValueError) as error:
        raise InvalidUrl("the data: URL is not base64", field=param) from error
    if len(content) > limit_bytes:
        raise _too_large(limit_bytes, param)
    return content


def _ask(connection: HTTPConnection, parts: SplitResult) -> HTTPResponse | str:
    """The answer, or where it redirects to."""
    connection.request("GET", target(parts), headers={"User-Agent": "hibari", "Accept": "image/*"})
    answer = connection.getresponse()
    location = answer.getheader("Location")
    return location if 300 <= answer.status < 400 and location else answer


def _read(answer: HTTPResponse, until: float, limit_bytes: int, param: str) -> bytes:
    if answer.status != 200:
        raise InvalidUrl(f"the URL answers with {answer.status}", field=param)
    content = bytearray()
    while chunk := answer.read1(CHUNK_BYTES):
        content += chunk
        if len(content) > limit_bytes:
            raise _too_large(limit_bytes, param)
        if time.monotonic() > until:
            raise InvalidUrl(f"the URL takes longer than {TOTAL_TIMEOUT_S:g} s", field=param)
    return bytes(content)


def _too_large(limit_bytes: int, param: str) -> Refused:
    return Refused(
        413,
        "too_large",
        f"the URL leads to more than {limit_bytes / 2**20:g} MB, the most that is taken",
        param=param,
    )
