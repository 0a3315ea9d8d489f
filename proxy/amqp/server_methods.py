"""Methods of a broker that are followed. Each function gets the arguments, and tells whether they stay here.

Answers to requests of ours stay: `Asked.own`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.amqp import frame
from proxy.amqp.client_methods import note_queue
from proxy.amqp.frame import TUNE, U32, U64, need, read_short
from proxy.amqp.session import CLOSING, OPENED, RUNNING, STOPPED, STOPPING, Asked, Channel

if TYPE_CHECKING:
    from proxy.amqp.client import Client
    from proxy.amqp.client_methods import Follow


def answered(channel: Channel, word: int) -> Asked | None:
    """The request that this is the answer to; None if there is none."""
    for at, asked in enumerate(channel.asked):
        if asked.answer == word:
            return channel.asked.pop(at)
    return None


# ---- the connection ----


def tune(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """What the broker offers, and no more than the listener allows."""
    session = client.session
    need(at, TUNE.size, end)
    channels, size, heartbeat = TUNE.unpack_from(data, at)
    session.most_channels = min(channels or session.most_channels, session.most_channels)
    most = client.listener.config.max_frame
    session.frame_max = min(size or most, most)
    TUNE.pack_into(data, at, session.most_channels, session.frame_max, heartbeat)
    return False


def open_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """It is in use."""
    client.session.stage = OPENED
    client.opened()
    return False


def closing(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """connection.close of the broker, or its answer."""
    client.session.stage = CLOSING
    client.give_up_moving()
    return False


def blocked(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker is short of something: clients had better not publish."""
    client.session.blocked = True
    return False


def unblocked(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """They may again."""
    client.session.blocked = False
    return False


# ---- channels ----


def channel_close(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker closed it; what it was asked it will not answer."""
    channel.closing = True
    channel.asked.clear()
    return False


def channel_close_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """It is closed."""
    client.drop_channel(number)
    return False


def flow(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker wants no publishes, or wants them again."""
    need(at, 1, end)
    channel.stopped_flow = not data[at] & 1
    return False


def plain_answer(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """An answer with nothing to note."""
    asked = answered(channel, U32.unpack_from(data, at - 4)[0])
    return asked is not None and asked.own


def flow_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """Whatever the client published is with the broker."""
    asked = answered(channel, frame.FLOW_OK)
    if asked is None or not asked.own:
        return False
    channel.fenced = True
    return True


# ---- queues and consumers ----


def declare_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """Now its name is known."""
    name, _ = read_short(data, at, end)
    channel.queue = name
    asked = answered(channel, frame.DECLARE_OK)
    if asked is not None:
        note_queue(client, name, asked.note)
    return False


def consume_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A consumer begins: the client's, or one that we resumed."""
    tag, _ = read_short(data, at, end)
    asked = answered(channel, frame.CONSUME_OK)
    if asked is None:
        return False
    if asked.own:
        consumer = channel.consumers.get(tag)
        if consumer is not None:
            consumer.stage = RUNNING
        return True
    if asked.consumer is not None:
        asked.consumer.tag = tag
        client.add_consumer(channel, asked.consumer)
    return False


def cancel_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """No delivery comes after this."""
    tag, _ = read_short(data, at, end)
    asked = answered(channel, frame.CANCEL_OK)
    if asked is None or not asked.own:
        client.drop_consumer(channel, tag)
        return False
    consumer = channel.consumers.get(tag)
    if consumer is not None and consumer.stage == STOPPING:
        consumer.stage = STOPPED
    return True


def cancelled(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """The broker ended a consumer: its queue is gone."""
    tag, _ = read_short(data, at, end)
    client.drop_consumer(channel, tag)
    return False


def get_ok(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A message that was asked for."""
    need(at, 8, end)
    channel.down = -1
    tag = U64.unpack_from(data, at)[0]
    if channel.ahead:
        tag += channel.ahead
        U64.pack_into(data, at, tag)
    channel.delivered = tag
    asked = answered(channel, frame.GET_OK)
    if asked is None or not asked.note:
        channel.unacked.add(tag)
    client.delivered += 1
    return False


def get_empty(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """There is none."""
    answered(channel, frame.GET_OK)
    return False


def returned(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """A publish that no queue takes comes back, with its content."""
    channel.down = -1
    return False


def confirmed(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """basic.ack or nack of a publish."""
    need(at, 9, end)
    tag = U64.unpack_from(data, at)[0]
    if channel.ahead_confirms and tag:
        tag += channel.ahead_confirms
        U64.pack_into(data, at, tag)
    if not data[at + 8] & frame.MULTIPLE:
        channel.unconfirmed.remove(tag)
    elif tag:
        channel.unconfirmed.remove_to(tag)
    else:
        channel.unconfirmed.clear()
    return False


def tx_ended(client: Client, number: int, channel: Channel, data: bytearray, at: int, end: int) -> bool:
    """tx.commit-ok or rollback-ok: unless another one is asked for already, nothing is open."""
    answered(channel, U32.unpack_from(data, at - 4)[0])
    channel.dirty = False
    return False


CONNECTION: Final[dict[int, Follow]] = {
    frame.TUNE_IS: tune,
    frame.OPEN_OK: open_ok,
    frame.CLOSE: closing,
    frame.CLOSE_OK: closing,
    frame.BLOCKED: blocked,
    frame.UNBLOCKED: unblocked,
}
"""On channel 0."""
CHANNEL: Final[dict[int, Follow]] = {
    frame.CHANNEL_CLOSE: channel_close,
    frame.CHANNEL_CLOSE_OK: channel_close_ok,
    frame.FLOW: flow,
    frame.FLOW_OK: flow_ok,
    frame.DECLARE_OK: declare_ok,
    frame.QOS_OK: plain_answer,
    frame.CONSUME_OK: consume_ok,
    frame.CANCEL_OK: cancel_ok,
    frame.CANCEL: cancelled,
    frame.RETURN: returned,
    frame.GET_OK: get_ok,
    frame.GET_EMPTY: get_empty,
    frame.ACK: confirmed,
    frame.NACK: confirmed,
    frame.COMMIT_OK: tx_ended,
    frame.ROLLBACK_OK: tx_ended,
}
"""On an open channel."""
