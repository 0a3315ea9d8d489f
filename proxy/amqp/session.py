"""What is known of a connection that is relayed: what both sides agreed on, channels, consumers, what is outstanding.

These are values: they travel as they are (rules of compatibility: `proxy.state`). Numbers of deliveries and publishes
are the client's; those of the broker are the same until a connection changes its broker, see `Channel.ahead`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.amqp.runs import Runs

GREETING, OPENED, CLOSING, BROKEN = 0, 1, 2, 3
"""Stages of a connection: its handshake, in use, connection.close went by, what the client sends cannot be read."""

RUNNING, STOPPING, STOPPED, RESUMING = 0, 1, 2, 3
"""Stages of a consumer: deliveries come; basic.cancel of ours is under way; none come; basic.consume is under way."""

NO_PURPOSE, HANDOVER, DRAIN, MOVE = 0, 1, 2, 3
"""Why deliveries are stopped: a handover is coming, the connection is to end, it is to change its broker."""

MAX_KEPT: Final = 1024
"""Bytes of the arguments of a consumer that are kept, so that it can be resumed."""
MAX_NAMES: Final = 4096
"""Exclusive and auto-delete queues that are known by name."""
MAX_ASKED: Final = 8192
"""Requests under way on a channel."""
DIRECT_REPLY: Final = b"amq.rabbitmq.reply-to"
"""A queue that is not one: cancelling its consumer makes the addresses invalid that others were given."""
NO_LIMIT: Final = bytes(6)
"""prefetch-size and prefetch-count."""


class Consumer(msgspec.Struct, array_like=True, gc=False):
    """A basic.consume of the client."""

    tag: bytes
    queue: bytes
    """By name: what ``queue: ""`` meant is resolved."""
    bits: int
    arguments: bytes
    """The table as it came; empty if it is too long to be kept."""
    prefetch: bytes = NO_LIMIT
    """What basic.qos said when it began."""
    stage: int = RUNNING


class Asked(msgspec.Struct, array_like=True, gc=False):
    """A request whose answer is awaited. Answers come in order on a channel."""

    answer: int
    own: bool = False
    """It is ours: the client does not see the answer."""
    note: int = 0
    """Bits of the request."""
    consumer: Consumer | None = None
    tag: bytes = b""


class Channel(msgspec.Struct, array_like=True):
    """An open channel."""

    up: int = 0
    """Of a content of the client: bytes that are missing of its body; -1: its header is next."""
    down: int = 0
    """The same of a content of the broker."""
    closing: bool = False
    """channel.close went by: no request goes there any more."""
    confirm: bool = False
    """The broker confirms publishes."""
    tx: bool = False
    """Transactions are used."""
    dirty: bool = False
    """One is under way."""
    consumers: dict[bytes, Consumer] = {}
    """By tag."""
    asked: list[Asked] = []
    unacked: Runs = msgspec.field(default_factory=Runs)
    """Delivery tags."""
    unconfirmed: Runs = msgspec.field(default_factory=Runs)
    """Publishes by number."""
    delivered: int = 0
    """The last delivery tag."""
    published: int = 0
    """The last publish that is to be confirmed."""
    queue: bytes = b""
    """The last one declared: what an empty name stands for."""
    prefetch: bytes = NO_LIMIT
    """For consumers to come."""
    prefetch_whole: bytes = NO_LIMIT
    """For all consumers together."""
    throttled: bool = False
    """In place of the latter stands ours: one message."""
    stopped_flow: bool = False
    """The broker wants no publishes (channel.flow)."""
    ahead: int = 0
    """Delivery tags that former brokers gave: added to those of this one."""
    ahead_confirms: int = 0
    """Publishes that former brokers got."""
    fenced: bool = False
    """All publishes of the client reached the broker, and it has been told to wait."""


class Session(msgspec.Struct, array_like=True):
    """A connection."""

    frame_max: int
    """Bytes of a frame, of either side."""
    most_channels: int
    most_consumers: int
    stage: int = GREETING
    channel_max: int = 0
    heartbeat: int = 0
    """Seconds; 0: none are sent."""
    vhost: bytes = b""
    """The arguments of connection.open."""
    properties: bytes = b""
    """What the client said of itself: a table. Empty if it is too long to be kept."""
    locale: bytes = b""
    known_login: bool = False
    """It logged in as the configuration does."""
    blocked: bool = False
    """The broker wants no publishes (connection.blocked)."""
    channels: dict[int, Channel] = {}
    exclusive: set[bytes] = set()
    """Queues that end with this connection."""
    fleeting: set[bytes] = set()
    """Queues that end with their last consumer, or give its place to another one."""
    countless: bool = False
    """There are more of them than `MAX_NAMES`."""
    consumers: int = 0
    """On all channels."""
    purpose: int = NO_PURPOSE
    """Deliveries are stopped, or being stopped."""
    resuming: bool = False
    """They are not any more, but not all run yet."""
    moving: int = 0
    """How far a change of broker is, see `proxy.amqp.moving`."""
    streams: set[bytes] = set()
    """Queues that are logs, which consumers read from a place of their own."""

    def stoppable(self, consumer: Consumer) -> bool:
        """Its deliveries can be stopped by basic.cancel, and resumed by basic.consume, and nobody notices."""
        return bool(consumer.arguments and consumer.queue and not self.bound(consumer) and not self.delicate(consumer))

    def bound(self, consumer: Consumer) -> bool:
        """It cannot begin once more where it was: addresses for replies depend on it, or it reads a log."""
        queue = consumer.queue
        return queue == DIRECT_REPLY or queue in self.streams or b"x-stream-offset" in consumer.arguments

    def delicate(self, consumer: Consumer) -> bool:
        """By basic.cancel its queue would vanish, or its place could be taken."""
        return self.countless or bool(consumer.bits & 4) or consumer.queue in self.fleeting

    @property
    def in_content(self) -> bool:
        """The client is in the middle of a content."""
        return any(channel.up for channel in self.channels.values())
