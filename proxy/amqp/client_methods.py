"""Methods of a client that are followed. Each function gets the arguments, and tells whether they stay here.

What is not listed passes unseen. A client that asks for what it may not have is left to its broker, which tells it so.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.amqp import frame
from proxy.amqp.frame import (
    NOT_ALLOWED,
    RESOURCE_ERROR,
    TUNE,
    U32,
    U64,
    BadFrame,
    need,
    read_short,
)
from proxy.amqp.session import CLOSING, MAX_ASKED, MAX_KEPT, MAX_NAMES, Asked, Channel, Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.amqp.client import Client

    Follow = Callable[["Client", int, Channel, bytearray, int, int], bool]


SINGLE, STREAM = 256, 512
"""Beside the bits of queue.declare: of its arguments, which are searched for these words and not parsed."""


def ask(channel: Channel, asked: Asked) -> None:
    """Note that an answer is awaited. Raises `BadFrame` if there are too many."""
    if len(channel.asked) >= MAX_ASKED:
        raise BadFrame(RESOURCE_ERROR, f"{MAX_ASKED} requests are under way on a channel")
    channel.asked.append(asked)


# ---- the connection ----


def start_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The login: it is compared with that of the configuration, and not kept."""
    session = client.session
    need(at, 4, end)
    after = at + 4 + U32.unpack_from(data, at)[0]
    need(after, 0, end)
    if after - at <= MAX_KEPT:
        session.properties = bytes(data[at:after])
    mechanism, at = read_short(data, after, end)
    need(at, 4, end)
    after = at + 4 + U32.unpack_from(data, at)[0]
    need(after, 0, end)
    login = client.cluster.login
    if login is not None and mechanism == b"PLAIN":
        session.known_login = login.is_that_of(data[at + 4 : after])
    session.locale, _ = read_short(data, after, end)
    return False


def tune_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """What holds from here on."""
    session = client.session
    need(at, TUNE.size, end)
    channels, size, heartbeat = TUNE.unpack_from(data, at)
    session.channel_max = min(channels or session.most_channels, session.most_channels)
    session.frame_max = min(size or session.frame_max, session.frame_max)
    session.heartbeat = heartbeat
    TUNE.pack_into(data, at, session.channel_max, session.frame_max, heartbeat)
    client.begin_beating()
    return False


def opening(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """connection.open: the virtual host."""
    client.session.vhost = bytes(data[at:end])
    return False


def closing(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """connection.close: it goes on, unless the broker has been left already."""
    client.give_up_moving()
    if client.closing_by != inf:
        client.tell(frame.method(0, frame.CLOSE_OK))
        return client.agreed_to_end()
    client.session.stage = CLOSING
    return False


def closed(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """connection.close-ok: whose close that was, the connection knows."""
    return client.agreed_to_end()


# ---- channels ----


def channel_open(client: Client, number: int, channel: Channel | None, data: bytearray, at: int, end: int) -> bool:
    """A channel more."""
    session = client.session
    if channel is None and number:
        if len(session.channels) >= session.most_channels:
            raise BadFrame(NOT_ALLOWED, f"no more than {session.most_channels} channels")
        session.channels[number] = Channel()
    return False


def channel_close(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker answers nothing but close-ok from here on."""
    channel.closing = True
    return False


def channel_close_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker closed it, and the client knows."""
    client.drop_channel(number)
    return False


def flow(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The client wants no deliveries, or wants them again."""
    ask(channel, Asked(frame.FLOW_OK))
    return False


# ---- queues and consumers ----


def declare(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A queue: which one is last, and which end with this connection or with their last consumer."""
    name, at = read_short(data, at + 2, end)
    need(at, 1, end)
    bits = data[at]
    if b"x-" in data[at:end]:
        bits |= SINGLE if b"x-single-active-consumer" in data[at:end] else 0
        bits |= STREAM if b"x-queue-type" in data[at:end] and b"stream" in data[at:end] else 0
    if bits & frame.DECLARE_NOWAIT:
        channel.queue = name or channel.queue
        note_queue(client, name, bits)
    else:
        ask(channel, Asked(frame.DECLARE_OK, note=bits))
    return False


def note_queue(client: Client, name: bytes, bits: int) -> None:
    """It is there."""
    session = client.session
    if bits & frame.PASSIVE or not bits & (frame.QUEUE_EXCLUSIVE | frame.AUTO_DELETE | SINGLE | STREAM):
        return
    if len(session.exclusive) + len(session.fleeting) + len(session.streams) >= MAX_NAMES:
        session.countless = True
        return
    if bits & frame.QUEUE_EXCLUSIVE:
        session.exclusive.add(name)
    if bits & (frame.AUTO_DELETE | SINGLE):
        session.fleeting.add(name)
    if bits & STREAM:
        session.streams.add(name)


def delete(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """It is gone soon."""
    name, _ = read_short(data, at + 2, end)
    client.session.exclusive.discard(name)
    client.session.fleeting.discard(name)
    client.session.streams.discard(name)
    return False


def qos(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """How much may be outstanding. While ours is in force, what the client wants for the channel waits."""
    need(at, 7, end)
    limits = bytes(data[at : at + 6])
    if not data[at + 6] & 1:
        channel.prefetch = limits
    else:
        channel.prefetch_whole = limits
        if channel.throttled:
            data[at : at + 6] = bytes((0, 0, 0, 0, 0, 1))
    ask(channel, Asked(frame.QOS_OK))
    return False


def consume(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A consumer more. Without a tag it gets one by the answer."""
    session = client.session
    queue, at = read_short(data, at + 2, end)
    tag, at = read_short(data, at, end)
    need(at, 5, end)
    if session.consumers >= session.most_consumers:
        raise BadFrame(RESOURCE_ERROR, f"no more than {session.most_consumers} consumers")
    bits = data[at]
    arguments = bytes(data[at + 1 : end]) if end - at <= MAX_KEPT else b""
    consumer = Consumer(tag, queue or channel.queue, bits & ~frame.NOWAIT, arguments, channel.prefetch)
    session.consumers += 1
    if bits & frame.NOWAIT:
        client.add_consumer(channel, consumer)
    else:
        ask(channel, Asked(frame.CONSUME_OK, consumer=consumer))
    return False


def cancel(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A consumer less. The broker does not mind if ours came first."""
    tag, at = read_short(data, at, end)
    need(at, 1, end)
    if data[at] & 1:
        client.drop_consumer(channel, tag)
    else:
        ask(channel, Asked(frame.CANCEL_OK, tag=tag))
    return False


def get(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """One message is asked for."""
    _, at = read_short(data, at + 2, end)
    need(at, 1, end)
    ask(channel, Asked(frame.GET_OK, note=data[at] & 1))
    return False


def settle(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """basic.ack, reject, nack. What former brokers delivered they deliver anew: nothing of that goes to this one."""
    need(at, 9, end)
    tag = U64.unpack_from(data, at)[0]
    word = U32.unpack_from(data, at - 4)[0]
    several = word != frame.REJECT and data[at + 8] & frame.MULTIPLE
    unacked = channel.unacked
    if channel.tx:
        channel.dirty = True
    if not several:
        unacked.remove(tag)
    elif tag:
        unacked.remove_to(tag)
    else:
        unacked.clear()
    client.acked += 1
    if channel.ahead and tag:
        if tag <= channel.ahead:
            return True
        U64.pack_into(data, at, tag - channel.ahead)
    return False


def recover(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """All that is outstanding comes again, under other tags."""
    channel.unacked.clear()
    return False


# ---- publishing ----


def confirm_select(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """Publishes are counted from here on, on both sides."""
    channel.confirm = True
    return False


def tx_select(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """Transactions from here on."""
    channel.tx = True
    return False


def tx_end(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """tx.commit or rollback."""
    word = U32.unpack_from(data, at - 4)[0]
    ask(channel, Asked(word + 1))
    return False


CONNECTION: Final[dict[int, Follow]] = {
    frame.START_OK: start_ok,
    frame.TUNE_OK: tune_ok,
    frame.OPEN: opening,
    frame.CLOSE: closing,
    frame.CLOSE_OK: closed,
}
"""On channel 0."""
CHANNEL: Final[dict[int, Follow]] = {
    frame.CHANNEL_CLOSE: channel_close,
    frame.CHANNEL_CLOSE_OK: channel_close_ok,
    frame.FLOW: flow,
    frame.DECLARE: declare,
    frame.DELETE: delete,
    frame.QOS: qos,
    frame.CONSUME: consume,
    frame.CANCEL: cancel,
    frame.GET: get,
    frame.ACK: settle,
    frame.REJECT: settle,
    frame.NACK: settle,
    frame.RECOVER_ASYNC: recover,
    frame.RECOVER: recover,
    frame.CONFIRM_SELECT: confirm_select,
    frame.TX_SELECT: tx_select,
    frame.COMMIT: tx_end,
    frame.ROLLBACK: tx_end,
}
"""On an open channel."""
