"""What both clients are told, and how they address the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from inspect import Parameter, signature
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hibari.client.calls import Call
from hibari.client.tries import Tries
from hibari.contracts import InvalidRequest

URL = "http://127.0.0.1:8000/v1"
TIMEOUT_S = 60.0
RETRIES = 5  # about 15 seconds, in which a server comes back that was restarted


Method = TypeVar("Method", bound=Callable[..., Any])


def like(make: Callable[..., Call[Any]], method: Method) -> Method:
    """The method, with name, words and arguments of the call that it makes: for `help` and editors."""
    said = signature(make)
    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    shown = said.replace(parameters=[own, *said.parameters.values()], return_annotation=said.empty)
    update_wrapper(method, make).__dict__["__signature__"] = shown
    return method


class Base:
    """A server's address, a key, and patience."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, retries: int) -> None:
        address = _checked(base_url)
        if not timeout_s > 0:
            raise InvalidRequest(f"timeout_s is {timeout_s:g}; must be above 0 seconds", field="timeout_s")
        if retries < 0:
            raise InvalidRequest(f"retries is {retries}; must be 0 or more", field="retries")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise InvalidRequest("the API key has characters that no key has", field="api_key")
        self._root = address.removesuffix("/v1")
        self._timeout_s = timeout_s
        self._retries = retries
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root!r})"

    def _url(self, call: Call[Any]) -> str:
        return f"{self._root}{call.path}" if call.root else f"{self._root}/v1{call.path}"

    def _tries(self) -> Tries:
        return Tries(self._retries, self._root)


def _checked(base_url: str) -> str:
    """The URL, without a slash at its end.

    Raises:
        InvalidRequest: it is none, or holds what does not belong there.
    """
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # raises for what is no port
        possible = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        possible = False
        parts = urlsplit("")
    if not possible or parts.query or parts.fragment or parts.username or parts.password:
        raise InvalidRequest(
            f"base_url must be as {URL}: http or https, a host, and no user, password or query",
            field="base_url",
        )
    return base_url.rstrip("/")
