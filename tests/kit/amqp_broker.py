"""A small broker without I/O: bytes go into `Session.feed`, what is to be sent is taken by `take`.

It is strict: what RabbitMQ would end a connection or a channel for raises `Corrupt`.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

from tests.kit.amqp import BEAT, GREETING, HEADER, METHOD, Frame, Reader, content, long, method, read_short, short
from tests.kit.frames import Corrupt

PLAIN = b"\0guest\0guest"
"""The login that it takes."""
ABILITIES = (
    short(b"capabilities")
    + b"F"
    + long(b"".join(short(one) + b"t\1" for one in (b"publisher_confirms", b"basic.nack", b"consumer_cancel_notify")))
)
"""What it says of itself."""


class Message(NamedTuple):
    """In a queue."""

    body: bytes
    redelivered: bool = False


class Consumer(NamedTuple):
    """On a channel."""

    tag: bytes
    queue: bytes
    no_ack: bool
    prefetch: int


class Channel:
    """A broker's side of one."""

    def __init__(self) -> None:
        self.consumers: dict[bytes, Consumer] = {}
        self.unacked: dict[int, tuple[bytes, bytes, Message]] = {}
        """Tag -> consumer, queue, message."""
        self.tag = 0
        self.confirm = False
        self.published = 0
        self.prefetch = self.prefetch_whole = 0
        self.to_come = 0
        self.body = b""
        self.routing = b""
        self.last_queue = b""


class Broker:
    """Queues that the connections to it share; a cluster of brokers is one of these."""

    def __init__(self) -> None:
        self.queues: dict[bytes, deque[Message]] = {}
        self.sessions: list[Session] = []
        self.named = 0

    def session(self, **terms: int) -> Session:
        """A connection more."""
        session = Session(self, **terms)
        self.sessions.append(session)
        return session

    def pump(self) -> None:
        """Deliver what can be delivered."""
        for session in self.sessions:
            session.deliver()


class Session:
    """The broker's side of a connection."""

    def __init__(self, broker: Broker, heartbeat: int = 60, frame_max: int = 131072, channel_max: int = 2047) -> None:
        self.broker = broker
        self.heartbeat, self.frame_max, self.channel_max = heartbeat, frame_max, channel_max
        self.channels: dict[int, Channel] = {}
        self.said: list[tuple[int, int]] = []
        """The methods that came."""
        self.login = b""
        self.beats = 0
        self.closed = False
        self.silent = False
        """It delivers nothing."""
        self.close_code = 0
        self._greeted = b""
        self._reader = Reader()
        self._out = b""

    def take(self) -> bytes:
        """What is to be sent."""
        out, self._out = self._out, b""
        return out

    def feed(self, data: bytes) -> None:
        """Bytes of the client."""
        wanted = 8 - len(self._greeted)
        if wanted:
            self._greeted += data[:wanted]
            data = data[wanted:]
            if len(self._greeted) < 8:
                return
            if self._greeted != GREETING:
                raise Corrupt(f"{self._greeted!r} is no greeting")
            self._say(0, 10, 10, b"\0\x09" + long(ABILITIES) + long(b"PLAIN AMQPLAIN") + long(b"en_US"))
        for frame in self._reader.feed(data):
            self._follow(frame)
        self.broker.pump()

    def _say(self, channel: int, number: int, which: int, arguments: bytes = b"") -> None:
        self._out += method(channel, number, which, arguments)

    def _follow(self, frame: Frame) -> None:
        if frame.kind == BEAT:
            self.beats += 1
            return
        channel = self.channels.get(frame.channel)
        if frame.kind == METHOD:
            if channel is not None and channel.to_come:
                raise Corrupt("505: a method in the middle of a content")
            self.said.append(frame.method)
            if not frame.channel:
                self._connection(frame.method[1], frame.arguments)
            elif frame.method == (20, 10):
                if channel is not None:
                    raise Corrupt("504: that channel is open")
                self.channels[frame.channel] = Channel()
                self._say(frame.channel, 20, 11, long(b""))
            elif channel is None:
                raise Corrupt("504: no such channel")
            else:
                self._on_channel(frame.channel, channel, frame.method, frame.arguments)
            return
        if channel is None:
            raise Corrupt("504: no such channel")
        if frame.kind == HEADER:
            if channel.to_come != -1:
                raise Corrupt("505: a header that none asked for")
            channel.to_come = struct.unpack(">Q", frame.payload[4:12])[0]
            channel.body = b""
        else:
            if channel.to_come < len(frame.payload):
                raise Corrupt("505: a body that none asked for")
            channel.to_come -= len(frame.payload)
            channel.body += frame.payload
        if not channel.to_come:
            self._published(frame.channel, channel)

    def _connection(self, which: int, arguments: bytes) -> None:
        if which == 11:
            size = struct.unpack(">I", arguments[:4])[0]
            _, at = read_short(arguments, 4 + size)
            length = struct.unpack(">I", arguments[at : at + 4])[0]
            self.login = arguments[at + 4 : at + 4 + length]
            if self.login != PLAIN:
                self._say(0, 10, 50, struct.pack(">H", 403) + short(b"ACCESS_REFUSED") + bytes(4))
                return
            self._say(0, 10, 30, struct.pack(">HIH", self.channel_max, self.frame_max, self.heartbeat))
        elif which == 31:
            self.channel_max, self.frame_max, self.heartbeat = struct.unpack(">HIH", arguments)
        elif which == 40:
            self._say(0, 10, 41, short(b""))
        elif which == 50:
            self.close_code = struct.unpack(">H", arguments[:2])[0]
            self._say(0, 10, 51)
            self.end()
        elif which == 51:
            self.end()

    def end(self) -> None:
        """The connection is gone: what was not acked goes back."""
        self.closed = True
        for number in list(self.channels):
            self._drop(number)

    def _drop(self, number: int) -> None:
        channel = self.channels.pop(number)
        self._requeue(channel, list(channel.unacked))

    def _requeue(self, channel: Channel, tags: list[int]) -> None:
        for tag in sorted(tags, reverse=True):
            _, queue, message = channel.unacked.pop(tag)
            self.broker.queues[queue].appendleft(Message(message.body, True))

    def _on_channel(self, number: int, channel: Channel, which: tuple[int, int], data: bytes) -> None:
        if which == (60, 40):
            _, at = read_short(data, 2)
            channel.routing, _ = read_short(data, at)
            channel.to_come = -1
        elif which == (60, 80):
            self._settle(channel, data, several=bool(data[8] & 1), requeue=False)
        elif which == (60, 120):
            self._settle(channel, data, several=bool(data[8] & 1), requeue=bool(data[8] & 2))
        elif which == (60, 90):
            self._settle(channel, data, several=False, requeue=bool(data[8] & 1))
        elif which == (60, 20):
            self._consume(number, channel, data)
        elif which == (60, 30):
            tag, at = read_short(data, 0)
            channel.consumers.pop(tag, None)
            if not data[at] & 1:
                self._say(number, 60, 31, short(tag))
        elif which == (60, 10):
            count = struct.unpack(">IH", data[:6])[1]
            if data[6] & 1:
                channel.prefetch_whole = count
            else:
                channel.prefetch = count
            self._say(number, 60, 11)
        elif which == (50, 10):
            self._declare(number, channel, data)
        elif which == (85, 10):
            channel.confirm = True
            self._say(number, 85, 11)
        elif which == (90, 10):
            self._say(number, 90, 11)
        elif which in ((90, 20), (90, 30)):
            self._say(number, 90, which[1] + 1)
        elif which == (20, 20):
            if not data[0] & 1:
                raise Corrupt("540: no flow control")
            self._say(number, 20, 21, data[:1])
        elif which == (20, 40):
            self._drop(number)
            self._say(number, 20, 41)
        elif which == (60, 70):
            self._get(number, channel, data)
        else:
            raise Corrupt(f"{which} is not known here")

    def _declare(self, number: int, channel: Channel, data: bytes) -> None:
        name, at = read_short(data, 2)
        if not name and not data[at] & 1:
            self.broker.named += 1
            name = b"amq.gen-%d" % self.broker.named
        if name not in self.broker.queues:
            if data[at] & 1:
                self._say(number, 20, 40, struct.pack(">H", 404) + short(b"NOT_FOUND") + bytes(4))
                self._drop(number)
                return
            self.broker.queues[name] = deque()
        channel.last_queue = name
        if not data[at] & 16:
            self._say(number, 50, 11, short(name) + struct.pack(">II", len(self.broker.queues[name]), 0))

    def _consume(self, number: int, channel: Channel, data: bytes) -> None:
        queue, at = read_short(data, 2)
        tag, at = read_short(data, at)
        bits = data[at]
        if not tag:
            self.broker.named += 1
            tag = b"amq.ctag-%d" % self.broker.named
        if tag in channel.consumers:
            raise Corrupt("530: that tag is in use")
        channel.consumers[tag] = Consumer(tag, queue or channel.last_queue, bool(bits & 2), channel.prefetch)
        if not bits & 8:
            self._say(number, 60, 21, short(tag))

    def _get(self, number: int, channel: Channel, data: bytes) -> None:
        queue, at = read_short(data, 2)
        waiting = self.broker.queues[queue]
        if not waiting:
            self._say(number, 60, 72, short(b""))
            return
        message = waiting.popleft()
        channel.tag += 1
        if not data[at] & 1:
            channel.unacked[channel.tag] = b"", queue, message
        head = struct.pack(">QB", channel.tag, message.redelivered)
        self._say(number, 60, 71, head + short(b"") + short(queue) + struct.pack(">I", len(waiting)))
        self._out += content(number, message.body, self.frame_max)

    def _settle(self, channel: Channel, data: bytes, *, several: bool, requeue: bool) -> None:
        tag = struct.unpack(">Q", data[:8])[0]
        tags = [one for one in channel.unacked if not tag or one <= tag] if several else [tag]
        if not several and tag not in channel.unacked:
            raise Corrupt(f"406: unknown delivery tag {tag}")
        if requeue:
            self._requeue(channel, tags)
        else:
            for one in tags:
                del channel.unacked[one]

    def _published(self, number: int, channel: Channel) -> None:
        if channel.routing in self.broker.queues:
            self.broker.queues[channel.routing].append(Message(channel.body))
        if channel.confirm:
            channel.published += 1
            self._say(number, 60, 80, struct.pack(">QB", channel.published, 0))

    def deliver(self) -> None:
        """As far as prefetch allows."""
        if self.closed or self.silent:
            return
        for number, channel in self.channels.items():
            for consumer in channel.consumers.values():
                waiting = self.broker.queues.get(consumer.queue)
                while waiting:
                    mine = sum(one[0] == consumer.tag for one in channel.unacked.values())
                    if not consumer.no_ack:
                        if consumer.prefetch and mine >= consumer.prefetch:
                            break
                        if channel.prefetch_whole and len(channel.unacked) >= channel.prefetch_whole:
                            break
                    message = waiting.popleft()
                    channel.tag += 1
                    if not consumer.no_ack:
                        channel.unacked[channel.tag] = consumer.tag, consumer.queue, message
                    words = short(consumer.tag) + struct.pack(">QB", channel.tag, message.redelivered)
                    self._say(number, 60, 60, words + short(b"") + short(consumer.queue))
                    self._out += content(number, message.body, self.frame_max)
