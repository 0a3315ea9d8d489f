"""Heads of frames: the twin in Python of packing.pyx.

0  u24 length of the payload     3  u8 type     4  u8 flags     5  u32 stream, the highest bit without meaning
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_HEAD: Final = Struct(">BHBBI")
"""Length in two parts, type, flags, stream."""


def head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """That of a frame whose payload has so many bytes."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id)


def front(data: bytes, at: int) -> int:
    """Of the head that begins there: length, type and flags, as one number of 5 bytes. All 9 bytes have to be there."""
    return int.from_bytes(data[at : at + 5], "big")


def stream_of(data: bytes, at: int) -> int:
    """Of the same head: the stream."""
    return int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
