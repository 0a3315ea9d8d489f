"""Just enough RFC 6455 for both ends of a test: the opening handshake and unfragmented data frames."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import NamedTuple

from tests.kit.frames import Corrupt

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Message(NamedTuple):
    """One unfragmented frame."""

    opcode: int
    payload: bytes


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def encode(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """One final frame; clients give a mask of four bytes (RFC 6455, 5.2)."""
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", 0x80 | opcode, masked | len(payload))
    else:
        head = struct.pack("!BBH", 0x80 | opcode, masked | 126, len(payload))
    return head + mask + (_masked(payload, mask) if mask else payload)


def _masked(payload: bytes, mask: bytes) -> bytes:
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")


class MessageReader:
    """Bytes in, messages out; both masked and unmasked frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises `Corrupt` on what no end here ever sends."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if not buffer[0] & 0x80 or buffer[0] & 0x70 or buffer[0] & 0x0F not in {BINARY, CLOSE, PING, PONG}:
            raise Corrupt(f"no frame starts with {bytes(buffer[:2])!r}")
        length, start = buffer[1] & 0x7F, 2
        if length == 127:
            raise Corrupt("a frame longer than any that was sent")
        if length == 126:
            if len(buffer) < 4:
                return None
            length, start = int.from_bytes(buffer[2:4], "big"), 4
        masked = bool(buffer[1] & 0x80)
        end = start + 4 * masked + length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[end - length : end])
        message = Message(buffer[0] & 0x0F, _masked(payload, bytes(buffer[start : start + 4])) if masked else payload)
        del buffer[:end]
        return message
