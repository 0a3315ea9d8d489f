"""The bytes of HTTP/1.1 as the control plane speaks it: one request, one response, close. No I/O here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 1024 * 1024
STREAM_LIMIT = 4096  # events that may wait for a slow client
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # RFC 9110 5.6.2

T = TypeVar("T")


class HttpError(Exception):
    """An answer other than 200, with the message that the client gets as JSON."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BadRequest(HttpError):
    """The client sent what cannot be understood."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class Request:
    """One request. `uid` is the caller's on a unix socket, None elsewhere; header names are in lower case.

    `names`: what the caller has proved to be called, by a certificate; empty where none is asked for.
    """

    __slots__ = ("body", "headers", "method", "names", "path", "query", "uid")

    def __init__(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], uid: int | None) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.uid = uid
        self.names: tuple[str, ...] = ()
        self.body = b""

    def json(self, shape: type[T]) -> T:
        """The body as `shape`, checked; an empty body counts as ``{}``. Raises `BadRequest`."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=shape)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"the body is not what {self.path} takes: {error}") from None


class Response:
    """One complete answer."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self, status: int, body: bytes, content_type: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers: Mapping[str, str] = headers or {}

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Response:
        """`value` as JSON; anything msgspec can encode."""
        return cls(status, msgspec.json.encode(value) + b"\n")

    @classmethod
    def text(cls, text: str, status: int = 200) -> Response:
        """Plain text."""
        return cls(status, text.encode(), "text/plain; charset=utf-8")


class EventStream:
    """An answer that grows: every `send` is one line of JSON, and `end` closes it.

    The sender is never blocked and need not care whether anybody listens: once the client is gone,
    or so slow that too many events wait for it, further events are dropped (`broken`).
    """

    __slots__ = ("_ended", "_lines", "broken", "notify")

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._ended = False
        self.broken = False
        self.notify: Callable[[], None] | None = None  # set by the server that reads this stream

    def send(self, event: Any) -> None:
        """Pass one event on."""
        if self._ended or self.broken:
            return
        if len(self._lines) >= STREAM_LIMIT:
            self.abandon()
        else:
            self._lines.append(msgspec.json.encode(event) + b"\n")
        self._tell()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._tell()

    def abandon(self) -> None:
        """Nobody reads any more: drop what waits and what comes."""
        self.broken = True
        self._lines.clear()

    @property
    def over(self) -> bool:
        """Nothing waits and nothing will come."""
        return self.broken or (self._ended and not self._lines)

    def take(self) -> bytes:
        """All lines that wait, for the server."""
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines

    def _tell(self) -> None:
        if self.notify is not None:
            self.notify()


def complete_head(data: bytes) -> bool:
    """Whether the head is there. Raises `HttpError` as soon as it cannot become a good one."""
    end = data.find(b"\r\n\r\n")
    if end < 0 and b"\n\n" in data:
        raise BadRequest("lines end in CR LF")
    if (len(data) if end < 0 else end) > HEAD_LIMIT:
        raise HttpError(431, f"the head of a request takes {HEAD_LIMIT} bytes at most")
    if data and not data[:1].isalpha():
        raise BadRequest("this is not HTTP")
    return end >= 0


def parse_head(head: bytes, uid: int | None) -> tuple[Request, int]:
    """The request without its body, and the length of that body. Raises `HttpError`."""
    line, *header_lines = head.decode("latin-1").split("\r\n")
    if any(control in part for part in (line, *header_lines) for control in "\r\n\0"):
        raise BadRequest("lines end in CR LF, and hold no other control characters")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[0] or not TOKEN.issuperset(parts[0]):
        raise BadRequest("the request line reads: METHOD /path HTTP/1.1")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "this server speaks HTTP/1.1")
    if not target.startswith("/") or not target.isascii() or not target.isprintable():
        raise BadRequest("the target of a request is a path here")
    raw_path, _, raw_query = target.partition("?")
    headers = _parse_headers(header_lines)
    if "transfer-encoding" in headers:
        raise HttpError(411, "send the body with a Content-Length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("Content-Length is one number")
    if len(length) > 10 or int(length) > BODY_LIMIT:
        raise HttpError(413, f"a body takes {BODY_LIMIT} bytes at most")
    return Request(method, unquote(raw_path), dict(parse_qsl(raw_query)), headers, uid), int(length)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or not TOKEN.issuperset(name):
            raise BadRequest("a header reads: Name: value")
        name = name.lower()
        if name in headers and name in ("content-length", "transfer-encoding", "host"):
            raise BadRequest(f"{name} occurs twice")
        headers[name] = value.strip(" \t")
    return headers


def response_head(
    status: int, content_type: str, length: int | None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The head of an answer; without a length its body comes in chunks."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {content_type}",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
