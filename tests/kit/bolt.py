"""Just enough bolt for both ends, written without a look at the proxy's own codec.

version 1   proto type command ver2 id codec (timeout | status) class header content    lengths 2, 2, 4
version 2   proto ver1 type command ver2 id codec switch ...                            CRC-32 if switch says so
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from tests.kit.frames import Corrupt

RESPONSE, REQUEST, ONEWAY = 0, 1, 2
HEARTBEAT, CALL, ANSWER = 0, 1, 2
REQUEST_CLASS = b"com.alipay.sofa.rpc.core.request.SofaRequest"
RESPONSE_CLASS = b"com.alipay.sofa.rpc.core.response.SofaResponse"
TRACE = "rpc_trace_context.sofaTraceId"


class Dialect(NamedTuple):
    """What a peer speaks: the version, and whether with a CRC."""

    version: int = 1
    crc: bool = False


DIALECTS = (Dialect(1), Dialect(2), Dialect(2, crc=True))


class Frame(NamedTuple):
    """One frame. `timeout` is the status of a response."""

    dialect: Dialect
    type: int
    command: int
    id: int
    timeout: int
    class_: bytes
    header: bytes
    content: bytes
    raw: bytes


def headers(**pairs: str) -> bytes:
    """A header map."""
    texts = [text.encode() for pair in pairs.items() for text in pair]
    return b"".join(struct.pack("!i", len(text)) + text for text in texts)


def encode(
    dialect: Dialect,
    kind: int,
    command: int,
    number: int,
    timeout: int = 5000,
    *,
    class_: bytes = b"",
    header: bytes = b"",
    content: bytes = b"",
) -> bytes:
    """A whole frame; `timeout` is the status of a response."""
    proto = struct.pack("!B", 1) if dialect.version == 1 else struct.pack("!BB", 2, 2 if dialect.crc else 1)
    switch = b"" if dialect.version == 1 else bytes([dialect.crc])
    form = "!i" if kind else "!H"
    head = proto + struct.pack("!BHBIB", kind, command, 1, number, 1) + switch + struct.pack(form, timeout)
    frame = head + struct.pack("!HHI", len(class_), len(header), len(content)) + class_ + header + content
    return frame + struct.pack("!I", zlib.crc32(frame)) if dialect.crc else frame


def call(
    dialect: Dialect,
    number: int,
    content: bytes,
    *,
    service: str = "kit",
    timeout: int = 20_000,
    oneway: bool = False,
    trace: str = "",
) -> bytes:
    """A request, with a trace id if there is one."""
    kind = ONEWAY if oneway else REQUEST
    header = headers(service=service, **({TRACE: trace} if trace else {}))
    return encode(dialect, kind, CALL, number, timeout, class_=REQUEST_CLASS, header=header, content=content)


def answer(dialect: Dialect, number: int, content: bytes, status: int = 0) -> bytes:
    """A response."""
    return encode(dialect, RESPONSE, ANSWER, number, status, class_=RESPONSE_CLASS, content=content)


def heartbeat(dialect: Dialect, number: int) -> bytes:
    """A heartbeat."""
    return encode(dialect, REQUEST, HEARTBEAT, number, 3000)


def heartbeat_answer(dialect: Dialect, number: int) -> bytes:
    """Its answer."""
    return encode(dialect, RESPONSE, HEARTBEAT, number, 0)


class FrameReader:
    """Cuts a stream into frames and checks every CRC. Raises `Corrupt`."""

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
        if len(data) < 3:
            return None
        version = data[0]
        if version not in {1, 2}:
            raise Corrupt(f"{bytes(data[:40])!r} is no frame")
        kind = data[version]
        size = (22 if kind else 20) + 2 * (version - 1)
        if len(data) < size:
            return None
        command, _, number, _ = struct.unpack_from("!HBIB", data, version + 1)
        at = size - 8
        timeout = struct.unpack_from("!i" if kind else "!H", data, at - (4 if kind else 2))[0]
        lengths = struct.unpack_from("!HHI", data, at)
        crc = version == 2 and data[1] == 2 and bool(data[11] & 1)
        end = size + sum(lengths)
        whole = end + 4 * crc
        if len(data) < whole:
            return None
        raw = bytes(data[:whole])
        if crc and zlib.crc32(raw[:end]) != int.from_bytes(raw[end:], "big"):
            raise Corrupt(f"the CRC of frame {number} is wrong")
        parts, start = [], size
        for length in lengths:
            parts.append(raw[start : start + length])
            start += length
        return Frame(Dialect(version, crc), kind, command, number, timeout, parts[0], parts[1], parts[2], raw)
