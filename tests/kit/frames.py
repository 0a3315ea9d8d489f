"""CRC-chained frames: the proof that a byte stream arrived exactly as it was sent.

    0        4        8        12
    +--------+--------+--------+-----------------+
    | length | number | crc    | payload (length)|   big-endian, 32 bits each
    +--------+--------+--------+-----------------+

The CRC-32 covers the payload and starts from the CRC of the frame before, so a frame that is lost,
doubled, swapped or altered breaks the chain and every frame after it.
"""

from __future__ import annotations

import struct
import zlib

HEADER = struct.Struct("!III")
LONGEST = 1 << 20


class Corrupt(Exception):
    """Bytes arrived that were never sent, or not in this order."""


class FrameWriter:
    """The sending end of one chain."""

    __slots__ = ("crc", "number")

    def __init__(self) -> None:
        self.number = 0
        self.crc = 0

    def frame(self, payload: bytes) -> bytes:
        """The next frame of the chain."""
        self.crc = zlib.crc32(payload, self.crc)
        frame = HEADER.pack(len(payload), self.number, self.crc) + payload
        self.number += 1
        return frame


class FrameReader:
    """The receiving end of one chain."""

    __slots__ = ("_buffer", "crc", "number")

    def __init__(self) -> None:
        self.number = 0
        self.crc = 0
        self._buffer = bytearray()

    @property
    def partial(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes. Raises `Corrupt`."""
        self._buffer += data
        payloads: list[bytes] = []
        while len(self._buffer) >= HEADER.size:
            length, number, crc = HEADER.unpack_from(self._buffer)
            if number != self.number or length > LONGEST:
                raise Corrupt(f"frame {self.number} expected, found number {number}, length {length}")
            end = HEADER.size + length
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            self._accept(payload, crc)
            payloads.append(payload)
        return payloads

    def _accept(self, payload: bytes, crc: int) -> None:
        self.crc = zlib.crc32(payload, self.crc)
        if crc != self.crc:
            raise Corrupt(f"frame {self.number}: CRC {self.crc:08x}, sent was {crc:08x}")
        self.number += 1
