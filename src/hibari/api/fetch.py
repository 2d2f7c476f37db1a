"""Fetching what a URL leads to, for somebody who may not be trusted: never from a network that is not public.

Names are resolved here, every address is checked, and the connection goes to the address that was checked: a name that
means something else a moment later changes nothing. Redirects are followed a few times, each checked alike.
"""

from __future__ import annotations

import base64
import binascii
import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from hibari.api.errors import Refused

MAX_REDIRECTS = 3
CONNECT_TIMEOUT_S = 5
TOTAL_TIMEOUT_S = 30.0
MAX_URL_CHARS = 4000
CHUNK_BYTES = 64 * 1024
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


def fetch(url: str, *, limit_bytes: int, private: bool, param: str) -> bytes:
    """What a `data:`, `http:` or `https:` URL leads to.

    Args:
        limit_bytes: more than this is not read.
        private: whether private addresses may be asked.
        param: the request's parameter that the URL came in, for messages.

    Raises:
        Refused: it is no such URL, leads where it must not, or gives nothing that can be used.
    """
    if url[:5].lower() == "data:":
        return _data(url, limit_bytes, param)
    until = time.monotonic() + TOTAL_TIMEOUT_S
    for _ in range(MAX_REDIRECTS + 1):
        parts = _checked_url(url, param)
        connection = _connection(parts, private=private, param=param)
        try:
            found = _ask(connection, parts)
            if isinstance(found, str):
                url = urljoin(url, found)
                continue
            return _read(found, until, limit_bytes, param)
        except (OSError, HTTPException) as error:
            raise _refused(f"the URL cannot be read: {type(error).__name__}", param) from error
        finally:
            connection.close()
    raise _refused(f"the URL is redirected more than {MAX_REDIRECTS} times", param)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public network, also by what it stands for: IPv4 inside IPv6."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _data(url: str, limit_bytes: int, param: str) -> bytes:
    head, comma, text = url[5:].partition(",")
    if not comma:
        raise _refused("the data: URL has no data", param)
    try:
        if head.lower().endswith(";base64"):
            content = base64.b64decode(unquote_to_bytes(text), validate=True)
        else:
            content = unquote_to_bytes(text)
    except (binascii.Error, ValueError) as error:
        raise _refused("the data: URL is not base64", param) from error
    if len(content) > limit_bytes:
        raise _too_large(limit_bytes, param)
    return content


def _checked_url(url: str, param: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
        host = parts.hostname or ""
        host.encode("idna")
    except (ValueError, UnicodeError) as error:
        raise _refused("the URL is not one", param) from error
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL_CHARS:
        raise _refused(
            f"the URL begins with {parts.scheme[:20]!r}; wanted is a http, https or data URL", param
        )
    if any(character <= " " or character == "\x7f" for character in url) or not url.isascii():
        raise _refused("the URL holds characters that must be escaped", param)
    return parts


def _connection(parts: SplitResult, *, private: bool, param: str) -> HTTPConnection:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _refused(f"there is no host {host[:100]!r}", param) from error
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not private and not all(is_public(address) for address in addresses):
        raise Refused(
            400,
            "private_address",
            f"the URL leads to {host[:100]!r}, which is not on the public network",
            param=param,
        )
    if parts.scheme == "http":
        return _Pinned(addresses[0], host, port)
    return _PinnedTls(addresses[0], host, port)


class _Pinned(HTTPConnection):
    """A connection to one address, whatever the name means now."""

    def __init__(self, address: Address, host: str, port: int) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT_S)
        self._address = str(address)

    def connect(self) -> None:
        """To the address that was checked."""
        self.sock = socket.create_connection((self._address, self.port), CONNECT_TIMEOUT_S)


class _PinnedTls(HTTPSConnection):
    """The same with TLS; the certificate must be the name's."""

    def __init__(self, address: Address, host: str, port: int) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
        self._address = str(address)

    def connect(self) -> None:
        """To the address that was checked."""
        plain = socket.create_connection((self._address, self.port), CONNECT_TIMEOUT_S)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def _ask(connection: HTTPConnection, parts: SplitResult) -> HTTPResponse | str:
    """The answer, or where it redirects to."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"User-Agent": "hibari", "Accept": "image/*"})
    answer = connection.getresponse()
    location = answer.getheader("Location")
    return location if 300 <= answer.status < 400 and location else answer


def _read(answer: HTTPResponse, until: float, limit_bytes: int, param: str) -> bytes:
    if answer.status != 200:
        raise _refused(f"the URL answers with {answer.status}", param)
    content = bytearray()
    while chunk := answer.read1(CHUNK_BYTES):
        content += chunk
        if len(content) > limit_bytes:
            raise _too_large(limit_bytes, param)
        if time.monotonic() > until:
            raise _refused(f"the URL takes longer than {TOTAL_TIMEOUT_S:g} s", param)
    return bytes(content)


def _refused(message: str, param: str) -> Refused:
    return Refused(400, "invalid_url", message, param=param)


def _too_large(limit_bytes: int, param: str) -> Refused:
    return Refused(
        413,
        "too_large",
        f"the URL leads to more than {limit_bytes / 2**20:g} MB, the most that is taken",
        param=param,
    )
