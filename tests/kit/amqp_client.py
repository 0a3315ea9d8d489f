"""A client without I/O: bytes go into `Conversation.feed`, what is to be sent is taken by `take`."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.kit.amqp import (
    BEAT,
    GREETING,
    HEADER,
    HEARTBEAT,
    METHOD,
    Frame,
    Reader,
    content,
    long,
    method,
    read_short,
    short,
)
from tests.kit.amqp_broker import PLAIN
from tests.kit.frames import Corrupt


class Delivery(NamedTuple):
    """A message that came."""

    channel: int
    tag: int
    redelivered: bool
    body: bytes


class Conversation:
    """A client of one connection."""

    def __init__(self, heartbeat: int = 60) -> None:
        self.heartbeat = heartbeat
        self.opened = False
        self.deliveries: list[Delivery] = []
        self.confirmed: list[tuple[int, int, bool]] = []
        """Channel, number, several; a nack has a negative number."""
        self.methods: list[Frame] = []
        """All methods that came, but deliveries and confirms."""
        self.beats = 0
        self.frame_max = 131072
        self._current: dict[int, list[object]] = {}
        self._closed = 0
        self._reader = Reader()
        self._out = GREETING

    def code(self) -> int:
        """That of the broker's close; 0: it did not close."""
        return self._closed

    @property
    def partial(self) -> bool:
        """In the middle of a frame, or of a content."""
        return self._reader.partial or bool(self._current)

    def take(self) -> bytes:
        """What is to be sent."""
        out, self._out = self._out, b""
        return out

    def feed(self, data: bytes) -> None:
        """Bytes of the broker."""
        for frame in self._reader.feed(data):
            if frame.kind == BEAT:
                self.beats += 1
            elif frame.kind == METHOD:
                if frame.channel in self._current:
                    raise Corrupt("a method in the middle of a content")
                self._follow(frame)
            else:
                self._content(frame)

    def say(self, channel: int, number: int, which: int, arguments: bytes = b"") -> None:
        """A method."""
        self._out += method(channel, number, which, arguments)

    def _follow(self, frame: Frame) -> None:
        which, data = frame.method, frame.arguments
        if which == (10, 10):
            self.say(0, 10, 11, long(b"") + short(b"PLAIN") + long(PLAIN) + short(b"en_US"))
        elif which == (10, 30):
            channels, self.frame_max, _ = struct.unpack(">HIH", data)
            self.say(0, 10, 31, struct.pack(">HIH", channels, self.frame_max, self.heartbeat))
            self.say(0, 10, 40, short(b"/") + b"\0\0")
        elif which == (10, 41):
            self.opened = True
        elif which == (10, 50):
            self.say(0, 10, 51)
            self._closed = struct.unpack(">H", data[:2])[0]
        if which == (60, 60):
            _, at = read_short(data, 0)
            tag, redelivered = struct.unpack(">QB", data[at : at + 9])
            self._current[frame.channel] = [tag, bool(redelivered), -1, b""]
        elif which == (60, 71):
            tag, redelivered = struct.unpack(">QB", data[:9])
            self._current[frame.channel] = [tag, bool(redelivered), -1, b""]
        elif which in ((60, 80), (60, 120)):
            tag, bits = struct.unpack(">QB", data)
            self.confirmed.append((frame.channel, tag if which[1] == 80 else -tag, bool(bits & 1)))
        else:
            self.methods.append(frame)

    def _content(self, frame: Frame) -> None:
        current = self._current[frame.channel]
        tag, redelivered, left, body = current
        assert isinstance(left, int)
        assert isinstance(body, bytes)
        if frame.kind == HEADER:
            assert left == -1
            left = struct.unpack(">Q", frame.payload[4:12])[0]
        else:
            left -= len(frame.payload)
            body += frame.payload
        current[2:] = [left, body]
        if left == 0:
            del self._current[frame.channel]
            assert isinstance(tag, int)
            self.deliveries.append(Delivery(frame.channel, tag, bool(redelivered), body))

    # ---- what clients do ----

    def open(self, channel: int) -> None:
        """A channel."""
        self.say(channel, 20, 10, short(b""))

    def confirm(self, channel: int) -> None:
        """Have publishes confirmed."""
        self.say(channel, 85, 10, b"\0")

    def declare(self, channel: int, queue: bytes, bits: int = 0) -> None:
        """A queue."""
        self.say(channel, 50, 10, bytes(2) + short(queue) + bytes((bits,)) + long(b""))

    def qos(self, channel: int, count: int, *, whole: bool = False) -> None:
        """A prefetch."""
        self.say(channel, 60, 10, struct.pack(">IHB", 0, count, whole))

    def consume(self, channel: int, queue: bytes, tag: bytes, bits: int = 0) -> None:
        """A consumer."""
        self.say(channel, 60, 20, bytes(2) + short(queue) + short(tag) + bytes((bits,)) + long(b""))

    def publish(self, channel: int, queue: bytes, body: bytes) -> None:
        """A message."""
        self.say(channel, 60, 40, bytes(2) + short(b"") + short(queue) + b"\0")
        self._out += content(channel, body, self.frame_max)

    def ack(self, channel: int, tag: int, *, several: bool = False) -> None:
        """That it is done."""
        self.say(channel, 60, 80, struct.pack(">QB", tag, several))

    def beat(self) -> None:
        """A heartbeat."""
        self._out += HEARTBEAT
