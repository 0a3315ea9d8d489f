"""Just enough HTTP/1.1 (RFC 9112) for both ends of a test: heads, and bodies by length or in chunks.

Strict on purpose: what a proxy forwards must be exactly what was sent, so anything unexpected raises `Corrupt`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from tests.kit.frames import Corrupt

PIECE = 65536


class Closed(Exception):
    """The other side ended the connection."""


class Head(NamedTuple):
    """Start line and fields (names in lower case, the last one of a name wins)."""

    start: str
    fields: dict[str, str]

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """Of a request."""
        return self.start.split(" ", 2)[1]

    @property
    def status(self) -> int:
        """Of a response. Raises `Corrupt` if this is none."""
        parts = self.start.split(" ", 2)
        if parts[0] != "HTTP/1.1" or len(parts) < 2 or not parts[1].isdigit():
            raise Corrupt(f"no status line: {self.start!r}")
        return int(parts[1])


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None if the connection ended before its first byte. Raises `Closed` in its middle."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Closed(f"ended inside a head: {error.partial[:80]!r}") from None
        return None
    except asyncio.LimitOverrunError:
        raise Corrupt("a head without an end") from None
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Corrupt(f"no field line: {line!r}")
        fields[name.lower()] = value.strip()
    return Head(start, fields)


async def read_response(reader: asyncio.StreamReader) -> Head:
    """The next final response head; 1xx are skipped. Raises `Closed` at the end of the connection."""
    while True:
        head = await read_head(reader)
        if head is None:
            raise Closed("ended before a response")
        if head.status >= 200 or head.status == 101:
            return head


async def pieces(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The body as it comes; trailer fields are added to `head.fields`. Raises `Closed` before its end."""
    if head.fields.get("transfer-encoding") == "chunked":
        async for piece in _chunks(reader, head):
            yield piece
        return
    left = int(head.fields.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, PIECE))
        if not piece:
            raise Closed(f"ended {left} bytes before the end of a body")
        left -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    while size := await _chunk_size(reader):
        left = size
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise Closed("ended inside a chunk")
            left -= len(piece)
            yield piece
        await _line(reader)
    while line := await _line(reader):
        name, _, value = line.decode("latin-1").partition(":")
        head.fields[name.lower()] = value.strip()


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    line = await _line(reader)
    try:
        return int(line, 16)
    except ValueError:
        raise Corrupt(f"no chunk size: {line[:80]!r}") from None


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.IncompleteReadError:
        raise Closed("ended inside a body") from None


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """The whole body."""
    return b"".join([piece async for piece in pieces(reader, head)])


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
