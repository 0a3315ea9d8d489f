"""Just enough Dubbo for both ends, written without a look at the proxy's own codec.

magic dabb | flags | status | id i64 | length u32 | body        flags: 80 request, 40 wants an answer, 20 event
body of a call      texts: dubbo version, path, version, method, types   arguments   map of attachments
body of an answer   1 value (kind) | value
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.kit.frames import Corrupt

REQUEST, TWOWAY, EVENT = 0x80, 0x40, 0x20
HESSIAN2 = 2
HEAD = struct.Struct("!HBBqI")
OK = 20
READONLY = bytes.fromhex("dabba2000000000000000000000000020152")


class Frame(NamedTuple):
    """One frame."""

    flags: int
    status: int
    id: int
    body: bytes
    raw: bytes

    @property
    def is_call(self) -> bool:
        """A call, oneway ones too."""
        return bool(self.flags & REQUEST) and not self.flags & EVENT

    @property
    def content(self) -> bytes:
        """The bytes that a call or an answer of this kit carries."""
        return content(self)


def text(value: str) -> bytes:
    """A text in Hessian, one of ASCII."""
    raw = value.encode("ascii")
    if len(raw) < 32:
        return bytes([len(raw)]) + raw
    if len(raw) < 1024:
        return struct.pack("!H", 0x3000 | len(raw)) + raw
    return b"S" + struct.pack("!H", len(raw)) + raw


def binary(value: bytes) -> bytes:
    """Bytes in Hessian."""
    if len(value) < 16:
        return bytes([0x20 + len(value)]) + value
    chunks = [value[start : start + 0x8000] for start in range(0, len(value), 0x8000)]
    return b"".join(
        (b"B" if number == len(chunks) else b"A") + struct.pack("!H", len(chunk)) + chunk
        for number, chunk in enumerate(chunks, 1)
    )


def read_binary(data: bytes) -> tuple[bytes, int]:
    """The counterpart: the bytes and where they end."""
    if 0x20 <= data[0] < 0x30:
        return data[1 : data[0] - 0x1F], data[0] - 0x1F
    found, at, more = b"", 0, True
    while more:
        if data[at] not in b"AB":
            raise Corrupt(f"{data[:40]!r} is no bytes")
        more = data[at] == 0x41
        (length,) = struct.unpack_from("!H", data, at + 1)
        found += data[at + 3 : at + 3 + length]
        at += 3 + length
    return found, at


def attachments(pairs: dict[str, str]) -> bytes:
    """A map of texts."""
    return b"H" + b"".join(text(name) + text(value) for name, value in pairs.items()) + b"Z"


def encode(flags: int, status: int, number: int, body: bytes) -> bytes:
    """A whole frame in hessian2."""
    return HEAD.pack(0xDABB, flags | HESSIAN2, status, number, len(body)) + body


def introduction(interface: str, method: str, version: str, desc: str) -> bytes:
    """The beginning of a call's body."""
    return text("2.0.2") + text(interface) + text(version) + text(method) + text(desc)


def call(
    number: int,
    content: bytes,
    *,
    interface: str = "kit.Echo",
    method: str = "echo",
    version: str = "1.0.0",
    oneway: bool = False,
    attached: dict[str, str] | None = None,
) -> bytes:
    """A request with one argument, an array of bytes."""
    body = introduction(interface, method, version, "[B") + binary(content) + attachments(attached or {})
    return encode(REQUEST | (0 if oneway else TWOWAY), 0, number, body)


def answer(number: int, content: bytes, status: int = OK) -> bytes:
    """A response with bytes for a value; of an error with a text."""
    body = b"\x91" + binary(content) if status == OK else text(content.decode("ascii"))
    return encode(0, status, number, body)


def heartbeat(number: int) -> bytes:
    """A heartbeat that wants an answer."""
    return encode(REQUEST | TWOWAY | EVENT, 0, number, b"N")


def heartbeat_answer(number: int) -> bytes:
    """Its answer."""
    return encode(EVENT, OK, number, b"N")


def content(frame: Frame) -> bytes:
    """What a call or an answer of this kit carries."""
    body = frame.body
    if not frame.flags & REQUEST:
        if frame.status != OK:
            return body
        return read_binary(body[1:])[0]
    at = 0
    for _ in range(5):
        at += 2 + ((body[at] & 3) << 8 | body[at + 1]) if body[at] >= 0x30 else 1 + body[at]
    return read_binary(body[at:])[0]


class FrameReader:
    """Cuts a stream into frames. Raises `Corrupt`."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            del self._buffer[: len(frame.raw)]
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        data = self._buffer
        if len(data) < HEAD.size:
            return None
        magic, flags, status, number, length = HEAD.unpack_from(data)
        if magic != 0xDABB:
            raise Corrupt(f"{bytes(data[:40])!r} is no frame")
        if len(data) < HEAD.size + length:
            return None
        raw = bytes(data[: HEAD.size + length])
        return Frame(flags & 0xE0, status, number, raw[HEAD.size :], raw)
