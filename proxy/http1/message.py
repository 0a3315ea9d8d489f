"""What a proxy has to know of the head of a message: what parsers make, in Python (`proxy.http1.head`) and in C.

That in C calls `request` and `response` as functions of C where this is compiled: 0.2 us less than by a class.
"""

from __future__ import annotations

from typing import Final

CHUNKED: Final = -1
"""In place of a length: the body is chunked."""
UNTIL_CLOSE: Final = -2
"""In place of a length: the body ends with the connection. Responses only."""


class Head:
    """The part that requests and responses have in common. Two are equal if all is."""

    __slots__ = ("keep", "length", "raw", "upgrade")

    raw: bytes
    """The start line and the fields, without the final CRLF CRLF and without lines of this hop."""
    length: int
    """Bytes of the body, or CHUNKED, or UNTIL_CLOSE."""
    keep: bool
    """The sender keeps the connection."""
    upgrade: bytes
    """The protocols of Upgrade lines, which are not in `raw`."""

    @property
    def lines(self) -> list[bytes]:
        """The start line and the fields of `raw`."""
        return self.raw.split(b"\r\n")

    def parts(self) -> tuple[object, ...]:
        """All that there is to know."""
        return (self.raw, self.length, self.keep, self.upgrade)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Head) and type(self) is type(other) and self.parts() == other.parts()

    __hash__ = None  # type: ignore[assignment]  # it may be changed

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.parts()!r}"


class RequestHead(Head):
    """Of a request. Its `upgrade` is what the client would like to change to, if it says so in Connection."""

    __slots__ = ("expects", "forwarded_for", "host", "hosts", "method", "minor", "path", "request_id", "scheme")

    def __init__(self) -> None:
        self.raw = b""
        self.method = b""
        self.path = b""
        """The target without its query."""
        self.host = b""
        self.length = 0
        self.keep = True
        self.request_id = False
        """It has one already."""
        self.forwarded_for = b""
        """The list of X-Forwarded-For, which is not in `raw`."""
        self.scheme = False
        """It has X-Forwarded-Proto already."""
        self.expects = False
        """It waits for 100 before it sends the body."""
        self.upgrade = b""
        self.minor = 1
        """The client's HTTP version is 1.``minor``: 0 or 1."""
        self.hosts = 1
        """Host lines: 1, or 0 in HTTP/1.0."""

    @property
    def target(self) -> bytes:
        """What goes upstream: origin-form or ``*``."""
        return self.raw.split(b" ", 2)[1]

    def parts(self) -> tuple[object, ...]:
        """See `Head`."""
        told = (self.raw, self.length, self.keep, self.upgrade, self.method, self.path, self.host, self.request_id)
        return (*told, self.forwarded_for, self.scheme, self.expects, self.minor, self.hosts)


class ResponseHead(Head):
    """Of a response."""

    __slots__ = ("chunked", "status")

    def __init__(self) -> None:
        self.raw = b""
        self.status = 0
        self.length = UNTIL_CLOSE
        self.keep = True
        self.chunked = False
        """It has chunks, though perhaps none follow: an answer to HEAD."""
        self.upgrade = b""

    def parts(self) -> tuple[object, ...]:
        """See `Head`."""
        return (self.raw, self.length, self.keep, self.upgrade, self.status, self.chunked)


def request(  # noqa: PLR0917 - called by C, by position
    raw: bytes,
    method: bytes,
    path: bytes,
    host: bytes,
    length: int,
    keep: bool,
    request_id: bool,
    forwarded_for: bytes,
    scheme: bool,
    expects: bool,
    upgrade: bytes,
) -> RequestHead:
    """That of a request of HTTP/1.1."""
    head = RequestHead()
    head.raw, head.method, head.path, head.host = raw, method, path, host
    head.length, head.keep, head.request_id = length, keep, request_id
    head.forwarded_for, head.scheme, head.expects, head.upgrade = forwarded_for, scheme, expects, upgrade
    return head


def response(raw: bytes, status: int, length: int, keep: bool, chunked: bool, upgrade: bytes) -> ResponseHead:
    """That of a response."""
    head = ResponseHead()
    head.raw, head.status, head.length, head.keep = raw, status, length, keep
    head.chunked, head.upgrade = chunked, upgrade
    return head
