"""AMQP 0-9-1 frames, and the few methods that a proxy has to read or to make (amqp0-9-1.pdf, chapter 4).

    0 u8  type      1 method, 2 content header, 3 content body, 8 heartbeat
    1 u16 channel   0 is the connection itself
    3 u32 size
    7     payload   of a method: u16 class, u16 method, arguments
      u8  0xCE      the frame's end

A connection begins with eight bytes of its client, ``AMQP 0 0 9 1``. A content is a method (publish, deliver, return,
get-ok), a header with the size of the body, and as many bodies: frames of one channel that nothing of that channel may
come between. Short strings have a length of one byte, tables one of four. Tables are never looked into.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END: Final = 0xCE
HEAD: Final = Struct(">BHI")
EXTRA: Final = 8
"""Bytes of a frame around its payload."""
GREETING: Final = b"AMQP\0\0\x09\x01"
BEAT: Final = b"\x08\0\0\0\0\0\0\xce"
MIN_FRAME: Final = 4096
"""What both sides take before they agreed on anything."""

U16: Final = Struct(">H")
U32: Final = Struct(">I")
U64: Final = Struct(">Q")
TUNE: Final = Struct(">HIH")
"""channel-max, frame-max, heartbeat (seconds)."""


def _word(number: int, method: int) -> int:
    return number << 16 | method


START, START_OK = _word(10, 10), _word(10, 11)
TUNE_IS, TUNE_OK = _word(10, 30), _word(10, 31)
OPEN, OPEN_OK = _word(10, 40), _word(10, 41)
CLOSE, CLOSE_OK = _word(10, 50), _word(10, 51)
BLOCKED, UNBLOCKED = _word(10, 60), _word(10, 61)
CHANNEL_OPEN, CHANNEL_OPEN_OK = _word(20, 10), _word(20, 11)
FLOW, FLOW_OK = _word(20, 20), _word(20, 21)
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = _word(20, 40), _word(20, 41)
DECLARE, DECLARE_OK = _word(50, 10), _word(50, 11)
DELETE = _word(50, 40)
QOS, QOS_OK = _word(60, 10), _word(60, 11)
CONSUME, CONSUME_OK = _word(60, 20), _word(60, 21)
CANCEL, CANCEL_OK = _word(60, 30), _word(60, 31)
PUBLISH, RETURN, DELIVER = _word(60, 40), _word(60, 50), _word(60, 60)
GET, GET_OK, GET_EMPTY = _word(60, 70), _word(60, 71), _word(60, 72)
ACK, REJECT, NACK = _word(60, 80), _word(60, 90), _word(60, 120)
RECOVER_ASYNC, RECOVER, RECOVER_OK = _word(60, 100), _word(60, 110), _word(60, 111)
CONFIRM_SELECT, CONFIRM_SELECT_OK = _word(85, 10), _word(85, 11)
TX_SELECT, TX_SELECT_OK = _word(90, 10), _word(90, 11)
COMMIT, COMMIT_OK = _word(90, 20), _word(90, 21)
ROLLBACK, ROLLBACK_OK = _word(90, 30), _word(90, 31)

# Bits of arguments.
NO_LOCAL, NO_ACK, EXCLUSIVE, NOWAIT = 1, 2, 4, 8  # basic.consume
PASSIVE, QUEUE_EXCLUSIVE, AUTO_DELETE, DECLARE_NOWAIT = 1, 4, 8, 16  # queue.declare
MULTIPLE, REQUEUE = 1, 2  # basic.nack

# Reply codes.
REPLY_SUCCESS = 200
FORCED = 320
"""An operator intervened; the client may come back."""
FRAME_ERROR = 501
SYNTAX_ERROR = 502
CHANNEL_ERROR = 504
UNEXPECTED_FRAME = 505
RESOURCE_ERROR = 506
NOT_ALLOWED = 530
INTERNAL_ERROR = 541

NAMES: Final = {
    REPLY_SUCCESS: "",
    FORCED: "CONNECTION_FORCED",
    FRAME_ERROR: "FRAME_ERROR",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    CHANNEL_ERROR: "CHANNEL_ERROR",
    UNEXPECTED_FRAME: "UNEXPECTED_FRAME",
    RESOURCE_ERROR: "RESOURCE_ERROR",
    NOT_ALLOWED: "NOT_ALLOWED",
    INTERNAL_ERROR: "INTERNAL_ERROR",
}
"""As RabbitMQ begins the texts of its errors."""


class BadFrame(Exception):
    """The stream cannot be followed any further: the connection has to end, with this code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def method(channel: int, word: int, arguments: bytes = b"") -> bytes:
    """A method frame."""
    return HEAD.pack(METHOD, channel, 4 + len(arguments)) + U32.pack(word) + arguments + b"\xce"


def short(text: bytes) -> bytes:
    """A short string."""
    return bytes((len(text),)) + text


def close(code: int, text: str) -> bytes:
    """connection.close, that a peer is told why."""
    name = NAMES[code]
    words = f"{name} - {text}" if name else text
    return method(0, CLOSE, U16.pack(code) + short(words.encode()[:255]) + bytes(4))


def qos(channel: int, limits: bytes, *, whole: bool) -> bytes:
    """basic.qos. `limits`: prefetch-size and prefetch-count, six bytes. `whole`: for the channel, not a consumer."""
    return method(channel, QOS, limits + bytes((whole,)))


def read_short(data: bytes | bytearray, at: int, end: int) -> tuple[bytes, int]:
    """A short string, and where what follows it begins. Raises `BadFrame` if it does not end before `end`."""
    if at >= end:
        raise BadFrame(SYNTAX_ERROR, "a method is cut")
    after = at + 1 + data[at]
    if after > end:
        raise BadFrame(SYNTAX_ERROR, "a short string is cut")
    return bytes(data[at + 1 : after]), after


def need(at: int, size: int, end: int) -> None:
    """Raise `BadFrame` if there are fewer than `size` bytes before `end`."""
    if at + size > end:
        raise BadFrame(SYNTAX_ERROR, "a method is cut")
