"""Connections to where somebody else's URL points, who may not be trusted: never into a network that is not public.

Names are resolved here, every address is checked, and the connection goes to an address that was checked: a name that
means something else a moment later changes nothing. Nobody follows redirects here. Standard library only.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Event, Timer
from urllib.parse import SplitResult, urlsplit

from hibari.contracts import InvalidUrl, PrivateAddress

TIMEOUT_S = 5  # for a connection, and for each silence
MAX_URL_CHARS = 4000
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


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


def checked_url(url: str, field: str) -> SplitResult:
    """The parts of a `http:` or `https:` URL; `field` is the request's, for messages.

    Raises:
        InvalidUrl: it is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
        host = parts.hostname or ""
        host.encode("idna")
    except (ValueError, UnicodeError) as error:
        raise InvalidUrl("the URL is not one", field=field) from error
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL_CHARS:
        raise InvalidUrl(
            f"the URL begins with {parts.scheme[:20]!r}; wanted is http: or https:, a host, "
            f"and at most {MAX_URL_CHARS} characters",
            field=field,
        )
    if any(character <= " " or character == "\x7f" for character in url) or not url.isascii():
        raise InvalidUrl("the URL holds characters that must be escaped", field=field)
    return parts


def connection_to(parts: SplitResult, *, private: bool, field: str) -> HTTPConnection:
    """A connection, not yet made, to the host of a checked URL; unless `private`, to a public address only.

    Raises:
        InvalidUrl: there is no such host.
        PrivateAddress: one of its addresses is not on the public network.
    """
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidUrl(f"there is no host {host[:100]!r}", field=field) from error
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not private and not all(is_public(address) for address in addresses):
        raise PrivateAddress(
            f"the URL leads to {host[:100]!r}, which is not on the public network; "
            "the server's owner can allow it with HIBARI_PRIVATE_URLS=1",
            field=field,
        )
    return (_Pinned if parts.scheme == "http" else _PinnedTls)(addresses, host, port)


def target(parts: SplitResult) -> str:
    """What to ask the host for: path and query."""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@contextmanager
def cut_off(connection: HTTPConnection, after_s: float) -> Generator[None]:
    """Close the connection under whoever takes longer than that: a timeout alone begins again with each byte.

    Raises:
        TimeoutError: it was closed.
    """
    is_cut = Event()

    def cut() -> None:
        is_cut.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = Timer(after_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if is_cut.is_set():  # half an answer looks like a whole one to who reads it
        raise TimeoutError(f"no answer within {after_s:g} s")


class _Pinned(HTTPConnection):
    """A connection to the first of some addresses that answers, whatever the name means now."""

    def __init__(self, addresses: Sequence[Address], host: str, port: int) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S)
        self._addresses = addresses

    def connect(self) -> None:
        """To an address that was checked."""
        self.sock = _connected(self._addresses, self.port)


class _PinnedTls(HTTPSConnection):
    """The same with TLS; the certificate must be the name's."""

    def __init__(self, addresses: Sequence[Address], host: str, port: int) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=TIMEOUT_S, context=self._tls)
        self._addresses = addresses

    def connect(self) -> None:
        """To an address that was checked."""
        plain = _connected(self._addresses, self.port)
        # The handshake comes last, so that it can be cut off as well.
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def _connected(addresses: Sequence[Address], port: int) -> socket.socket:
    problem: OSError | None = None
    for address in dict.fromkeys(addresses):
        try:
            return socket.create_connection((str(address), port), TIMEOUT_S)
        except OSError as error:
            problem = error
    raise problem or OSError("the host has no address")
