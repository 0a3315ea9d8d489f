"""Heads on their way to the other side: what a proxy adds (RFC 9110 sections 7.6 and 7.8).

Field lines keep their order and their bytes; what we say follows at the end:

    to the upstream      X-Request-Id (unless the client sent one), X-Forwarded-For (the client's list and the client),
                         X-Forwarded-Proto (unless there is one), Via
    to the downstream    Via, Connection where the version's default does not say it
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.http1.fields import LINES, TRANSFER_ENCODING
from proxy.octets import hexadecimal

if TYPE_CHECKING:
    from proxy.http1.message import RequestHead, ResponseHead

VIA: Final = b"Via: 1.1 hotswap\r\n"
HTTP: Final = b"X-Forwarded-Proto: http\r\n"
HTTPS: Final = b"X-Forwarded-Proto: https\r\n"
_PLAIN_TAIL: Final = b"\r\n" + VIA + b"\r\n"
_CLOSE_TAIL: Final = b"\r\n" + VIA + b"Connection: close\r\n\r\n"
_KEEP_TAIL: Final = b"\r\n" + VIA + b"Connection: keep-alive\r\n\r\n"

# Protocols we must not let somebody speak past our routes under the name of an upgrade.
_NO_TUNNEL: Final = (b"h2c", b"http", b"tls")


class RequestIds:
    """Makes ids for requests that have none: 32 hexadecimal digits, the second half counts.

    The first half is random, chosen per process: ids need no state that moves, and do not repeat.
    """

    __slots__ = ("_begin", "_count")

    def __init__(self, prefix: str | None = None) -> None:
        self._begin = b"\r\nX-Request-Id: " + (os.urandom(8).hex() if prefix is None else prefix).encode()
        self._count = 0

    def line(self) -> bytes:
        """The field line of a fresh id, after the CRLF that ends the line before it."""
        self._count += 1
        return self._begin + hexadecimal(self._count)


def tunnel_protocol(upgrade: bytes) -> bytes:
    """The protocols of an Upgrade field if we may tunnel them, else empty: the field is then left out."""
    for protocol in upgrade.lower().split(b","):
        if protocol.strip(b" \t").startswith(_NO_TUNNEL):
            return b""
    return upgrade


def request_tail(remote: str, *, secure: bool = False) -> bytes:
    """What follows the fields of a request from this client, unless it sent such fields itself.

    It begins with the CRLF of the last of these.
    """
    return b"\r\n" + _forwarded_for(remote, b"") + (HTTPS if secure else HTTP) + VIA + b"\r\n"


def _forwarded_for(remote: str, before: bytes) -> bytes:
    if remote == "unix":  # no address to tell; RFC 7239 calls it unknown
        return b"X-Forwarded-For: %b\r\n" % before if before else b""
    client = remote.encode()
    return b"X-Forwarded-For: %b\r\n" % (b"%b, %b" % (before, client) if before else client)


def request_head(head: RequestHead, tail: bytes, remote: str, ids: RequestIds, cluster: str) -> bytes:
    """The head as it goes upstream, its empty line included. ``tail`` is `request_tail` of this client."""
    if head.hosts and not head.forwarded_for and not head.scheme and not head.upgrade:  # nearly all
        return head.raw + tail if head.request_id else head.raw + ids.line() + tail
    parts = [head.raw, b"\r\n"]
    if not head.hosts:  # HTTP/1.0 may lack it, HTTP/1.1 may not
        parts.append(b"Host: %b\r\n" % cluster.encode())
    if head.upgrade:
        parts.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    if not head.request_id:
        parts.append(ids.line()[2:] + b"\r\n")
    parts.append(_forwarded_for(remote, head.forwarded_for))
    if not head.scheme:
        parts.append(HTTPS if HTTPS in tail else HTTP)
    parts += (VIA, b"\r\n")
    return b"".join(parts)


def request_id(head: bytes) -> str:
    """The id that `request_head` gave a request."""
    _, _, rest = head.rpartition(b"\r\nX-Request-Id: ")
    return rest.partition(b"\r\n")[0].decode("latin-1")


def response_head(head: ResponseHead, minor: int, keep: bool) -> bytes:
    """The head as it goes downstream, its empty line included, to a client that speaks HTTP/1.``minor``."""
    if minor:
        return head.raw + (_PLAIN_TAIL if keep else _CLOSE_TAIL)
    raw = head.raw
    if head.chunked:  # HTTP/1.0 knows no chunks: it gets the bare data
        lines = raw.split(b"\r\n")
        raw = b"\r\n".join(lines[:1] + [line for line in lines[1:] if LINES[line] != TRANSFER_ENCODING])
    return raw + (_KEEP_TAIL if keep else _CLOSE_TAIL)


def interim_head(head: ResponseHead) -> bytes:
    """A 1xx head as it goes downstream."""
    if head.status == 101:
        return b"%b\r\nConnection: upgrade\r\nUpgrade: %b\r\n%b\r\n" % (head.raw, head.upgrade, VIA)
    return head.raw + b"\r\n\r\n"
