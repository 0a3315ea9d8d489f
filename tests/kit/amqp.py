"""Just enough AMQP 0-9-1 for both ends, written without a look at the proxy's own codec: frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.kit.frames import Corrupt

GREETING = b"AMQP\0\0\x09\x01"
METHOD, HEADER, BODY, BEAT = 1, 2, 3, 8
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


class Frame(NamedTuple):
    """One frame; `method` is (class, method) of a method, else (0, 0)."""

    kind: int
    channel: int
    payload: bytes
    raw: bytes

    @property
    def method(self) -> tuple[int, int]:
        """Which method it is."""
        return struct.unpack(">HH", self.payload[:4]) if self.kind == METHOD else (0, 0)

    @property
    def arguments(self) -> bytes:
        """Of a method."""
        return self.payload[4:]


def encode(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, number: int, which: int, arguments: bytes = b"") -> bytes:
    """A method frame."""
    return encode(METHOD, channel, struct.pack(">HH", number, which) + arguments)


def content(channel: int, body: bytes, limit: int = 131072) -> bytes:
    """Header and bodies."""
    parts = [encode(HEADER, channel, struct.pack(">HHQH", 60, 0, len(body), 0))]
    step = limit - 8
    parts += [encode(BODY, channel, body[at : at + step]) for at in range(0, len(body), step)]
    return b"".join(parts)


def short(text: bytes) -> bytes:
    """A short string."""
    return bytes((len(text),)) + text


def long(text: bytes) -> bytes:
    """A long string, or a table that is encoded already."""
    return struct.pack(">I", len(text)) + text


def read_short(data: bytes, at: int) -> tuple[bytes, int]:
    """A short string and where the next argument is."""
    end = at + 1 + data[at]
    return data[at + 1 : end], end


class Reader:
    """A stream cut into frames."""

    def __init__(self) -> None:
        self._data = b""

    @property
    def partial(self) -> bool:
        """A frame has begun and not ended."""
        return bool(self._data)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now."""
        self._data += data
        while len(self._data) >= 8:
            kind, channel, size = struct.unpack(">BHI", self._data[:7])
            end = size + 8
            if kind not in (METHOD, HEADER, BODY, BEAT) or end > 1 << 24:
                raise Corrupt(f"no frame: {self._data[:16]!r}")
            if len(self._data) < end:
                return
            if self._data[end - 1] != 0xCE:
                raise Corrupt("a frame does not end where it should")
            frame = Frame(kind, channel, self._data[7 : end - 1], self._data[:end])
            self._data = self._data[end:]
            yield frame


def frames(data: bytes) -> list[Frame]:
    """All frames of a stream that ends with one."""
    reader = Reader()
    found = list(reader.feed(data))
    assert not reader.partial
    return found
