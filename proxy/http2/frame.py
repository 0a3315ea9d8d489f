"""HTTP/2 frames: the layouts, reading a frame's head, the frames the proxy makes (RFC 9113 sections 4 and 6).

    0  u24 length of the payload     3  u8 type     4  u8 flags     5  u32 stream, the highest bit without meaning

    type             payload                                                        flags
    0 DATA           [u8 pad length] body [padding]                                 1 END_STREAM, 8 PADDED
    1 HEADERS        [u8 pad length] [u32 dependency, u8 weight] block [padding]    1, 4 END_HEADERS, 8, 32 PRIORITY
    2 PRIORITY       u32 dependency, u8 weight
    3 RST_STREAM     u32 error code
    4 SETTINGS       u16 identifier, u32 value, again and again                     1 ACK
    5 PUSH_PROMISE   [u8 pad length] u32 stream, block [padding]                    4, 8
    6 PING           8 bytes                                                        1 ACK
    7 GOAWAY         u32 last stream, u32 error code, text
    8 WINDOW_UPDATE  u32 increment
    9 CONTINUATION   block                                                          4
   16 PRIORITY_UPDATE  u32 stream, text (RFC 9218)

The first bytes of a client are `PREFACE`, those of a server a SETTINGS frame. Frames of other types are ignored.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from proxy.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR, Broken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE: Final = 16

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
WITH_PRIORITY: Final = 32

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8  # RFC 8441
NO_RFC7540_PRIORITIES: Final = 9  # RFC 9218

HEAD_SIZE: Final = 9
LEAST_FRAME: Final = 16384
"""The least MAX_FRAME_SIZE, and its default."""
LARGEST_FRAME: Final = 2**24 - 1
WINDOW: Final = 65535
"""Every window at first."""
LARGEST_WINDOW: Final = 2**31 - 1
LAST_STREAM: Final = 2**31 - 1

HEAD: Final = Struct(">BHBBI")
"""Length in two parts, type, flags, stream."""
U32: Final = Struct(">I")
_SETTING: Final = Struct(">HI")
_TWO: Final = Struct(">II")
SETTINGS_ACK: Final = bytes((0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0))


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame."""
    size = len(payload)
    return HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    """SETTINGS with these identifiers and values."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in pairs))


def headers(block: bytes, stream_id: int, *, end: bool, most: int) -> bytes:
    """HEADERS, and CONTINUATION if the block is longer than `most` bytes."""
    size = len(block)
    if size <= most:
        return HEAD.pack(size >> 16, size & 0xFFFF, HEADERS, 5 if end else 4, stream_id) + block
    parts = [frame(HEADERS, END_STREAM if end else 0, stream_id, block[:most])]
    for at in range(most, size, most):
        last = at + most >= size
        parts.append(frame(CONTINUATION, END_HEADERS if last else 0, stream_id, block[at : at + most]))
    return b"".join(parts)


def rst_stream(stream_id: int, code: int) -> bytes:
    """RST_STREAM."""
    return HEAD.pack(0, 4, RST_STREAM, 0, stream_id) + U32.pack(code)


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return HEAD.pack(0, 4, WINDOW_UPDATE, 0, stream_id) + U32.pack(increment)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """PING with 8 bytes."""
    return HEAD.pack(0, 8, PING, ACK if ack else 0, 0) + payload


def goaway(last: int, code: int, text: bytes = b"") -> bytes:
    """GOAWAY; `text` is for people."""
    return frame(GOAWAY, 0, 0, _TWO.pack(last, code) + text)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifiers and values. Raises `Broken` (RFC 9113 section 6.5)."""
    if len(payload) % 6:
        raise Broken(FRAME_SIZE_ERROR, "SETTINGS of an odd length")
    return list(_SETTING.iter_unpack(payload))


def read_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """Last stream, error code, text. Raises `Broken` (RFC 9113 section 6.8)."""
    if len(payload) < 8:
        raise Broken(FRAME_SIZE_ERROR, "GOAWAY is too short")
    last, code = _TWO.unpack_from(payload)
    return last & LAST_STREAM, code, payload[8:]


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of DATA or HEADERS without padding. Raises `Broken` (RFC 9113 section 6.1)."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise Broken(FRAME_SIZE_ERROR, "a padded frame without a pad length")
    if payload[0] >= len(payload):
        raise Broken(PROTOCOL_ERROR, "more padding than there is payload")
    return payload[1 : len(payload) - payload[0]]


def block_of(payload: bytes, flags: int) -> bytes:
    """The fragment of a header block in HEADERS; what it says of priorities is dropped. Raises `Broken`."""
    block = unpadded(payload, flags)
    if not flags & WITH_PRIORITY:
        return block
    if len(block) < 5:
        raise Broken(FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
    return block[5:]


def frames(stream: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of all whole frames of a stream without a preface."""
    at = 0
    while len(stream) - at >= HEAD_SIZE:
        high, low, kind, flags, stream_id = HEAD.unpack_from(stream, at)
        end = at + HEAD_SIZE + (high << 16 | low)
        if end > len(stream):
            return
        yield kind, flags, stream_id & LAST_STREAM, stream[at + HEAD_SIZE : end]
        at = end
