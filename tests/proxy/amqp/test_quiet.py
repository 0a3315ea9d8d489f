"""Deliveries are stopped and resumed, and no client notices: for a handover, and for a drain."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.kit import amqp
from tests.kit.amqp import encode, frames
from tests.proxy.amqp.scene import Pair, relayed
from tests.proxy.simulation import World

QOS, CONSUME, CANCEL = (60, 10), (60, 20), (60, 30)
NO_ACK, EXCLUSIVE = 2, 4
AUTO_DELETE = 8


def quiet(**listener: object) -> World:
    return World(relayed(listener={"handover": "quiet", **listener}))


def consuming(world: World, *, prefetch: int = 10, bits: int = 0, queue_bits: int = 0, tag: bytes = b"tag") -> Pair:
    """A client that consumes, and has acked what came so far."""
    pair = Pair(world)
    pair.open(1)
    pair.client.confirm(1)
    pair.client.declare(1, b"q", queue_bits)
    pair.client.qos(1, prefetch)
    pair.client.consume(1, b"q", tag, bits)
    pair.run()
    return pair


def foresee(world: World, *, handover: bool = True) -> None:
    world.proxy._foresee(handover=handover)
    world.settle()


def said(pair: Pair) -> list[tuple[int, int]]:
    """The methods that the broker heard since the last look."""
    found, pair.session.said = pair.session.said, []
    return found


def test_a_consumer_is_cancelled_and_resumed_under_its_tag() -> None:
    pair = consuming(quiet())
    said(pair)
    seen = len(pair.client.methods)
    foresee(pair.world)
    pair.run()
    assert said(pair) == [CANCEL]
    pair.client.publish(1, b"q", b"while stopped")
    pair.run()
    assert pair.client.deliveries == []
    foresee(pair.world, handover=False)
    pair.run()
    assert [one for one in said(pair) if one[1] != 40] == [CONSUME]
    assert pair.session.channels[1].consumers[b"tag"].prefetch == 10
    assert [(one.tag, one.body) for one in pair.client.deliveries] == [(1, b"while stopped")]
    assert len(pair.client.methods) == seen, "the client heard of it"
    assert pair.client.confirmed == [(1, 1, False)]


def test_acks_of_what_was_delivered_before_go_through() -> None:
    pair = consuming(quiet())
    for number in range(3):
        pair.client.publish(1, b"q", b"%d" % number)
    pair.run()
    foresee(pair.world)
    pair.run()
    pair.client.ack(1, 2, several=True)
    pair.run()
    assert list(pair.session.channels[1].unacked) == [3]
    foresee(pair.world, handover=False)
    pair.run()
    pair.client.publish(1, b"q", b"3")
    pair.run()
    assert [one.tag for one in pair.client.deliveries] == [1, 2, 3, 4], "delivery tags go on"
    assert not any(one.redelivered for one in pair.client.deliveries)


def test_requests_of_ours_go_between_contents_only() -> None:
    pair = consuming(quiet())
    said(pair)
    publish = amqp.method(1, 60, 40, bytes(2) + b"\0" + b"\1q" + b"\0")
    header = encode(amqp.HEADER, 1, b"\0\x3c\0\0" + (4).to_bytes(8, "big") + b"\0\0")
    pair.near.send(publish)
    foresee(pair.world)
    for piece in (header, encode(amqp.BODY, 1, b"ab")):
        pair.run()
        assert CANCEL not in said(pair)
        pair.near.send(piece)
    pair.near.send(encode(amqp.BODY, 1, b"cd"))
    pair.run()
    assert said(pair)[-1] == CANCEL
    foresee(pair.world, handover=False)
    pair.run()
    assert [one.body for one in pair.client.deliveries] == [b"abcd"]


def test_a_consumer_that_the_client_cancels_meanwhile_stays_cancelled() -> None:
    pair = consuming(quiet())
    foresee(pair.world)
    pair.client.say(1, 60, 30, amqp.short(b"tag") + b"\0")
    pair.run()
    assert pair.client.methods[-1].method == (60, 31), "its own cancel is answered"
    said(pair)
    foresee(pair.world, handover=False)
    pair.run()
    assert said(pair) == []


def test_a_consumer_that_comes_meanwhile_waits_as_well() -> None:
    pair = consuming(quiet())
    foresee(pair.world)
    pair.run()
    pair.client.consume(1, b"", b"")
    pair.run()
    assert pair.session.channels[1].consumers == {}
    assert pair.client.methods[-1].method == (60, 21)
    foresee(pair.world, handover=False)
    pair.run()
    assert {one.queue for one in pair.session.channels[1].consumers.values()} == {b"q"}
    assert len(pair.session.channels[1].consumers) == 2


def test_each_consumer_keeps_its_prefetch() -> None:
    pair = consuming(quiet(), prefetch=3)
    pair.client.qos(1, 7)
    pair.client.consume(1, b"q", b"other")
    pair.client.qos(1, 9)
    pair.run()
    foresee(pair.world)
    pair.run()
    foresee(pair.world, handover=False)
    pair.run()
    channel = pair.session.channels[1]
    assert {tag: one.prefetch for tag, one in channel.consumers.items()} == {b"tag": 3, b"other": 7}
    assert channel.prefetch == 9


@pytest.mark.parametrize(("bits", "queue_bits"), [(EXCLUSIVE, 0), (0, AUTO_DELETE)])
def test_what_cancelling_would_harm_is_held_to_one_message(bits: int, queue_bits: int) -> None:
    pair = consuming(quiet(), bits=bits, queue_bits=queue_bits)
    said(pair)
    foresee(pair.world)
    pair.run()
    assert said(pair) == [QOS]
    for _ in range(3):
        pair.client.publish(1, b"q", b"")
    pair.run()
    assert len(pair.client.deliveries) == 1
    pair.client.qos(1, 50, whole=True)
    pair.run()
    assert pair.session.channels[1].prefetch_whole == 1, "what the client wants for the channel waits"
    foresee(pair.world, handover=False)
    pair.run()
    assert pair.session.channels[1].prefetch_whole == 50
    assert len(pair.client.deliveries) == 3


def table(name: bytes, kind: bytes, value: bytes) -> bytes:
    """Arguments: one of them."""
    return amqp.long(amqp.short(name) + kind + value)


@pytest.mark.parametrize(
    ("queue", "declared", "arguments"),
    [
        (b"amq.rabbitmq.reply-to", b"", amqp.long(b"")),
        (b"log", table(b"x-queue-type", b"S", amqp.long(b"stream")), amqp.long(b"")),
        (b"log", b"", table(b"x-stream-offset", b"S", amqp.long(b"first"))),
    ],
)
def test_what_cannot_begin_once_more_is_left_alone(queue: bytes, declared: bytes, arguments: bytes) -> None:
    pair = Pair(quiet())
    pair.open(1)
    if declared:
        pair.client.say(1, 50, 10, bytes(2) + amqp.short(queue) + b"\2" + declared)
    pair.client.say(1, 60, 20, bytes(2) + amqp.short(queue) + b"\3tag" + b"\0" + arguments)
    pair.run()
    said(pair)
    foresee(pair.world)
    pair.run()
    assert said(pair) == []


def test_a_single_active_consumer_keeps_its_place() -> None:
    pair = Pair(quiet())
    pair.open(1)
    pair.client.say(1, 50, 10, bytes(2) + b"\1q" + b"\0" + table(b"x-single-active-consumer", b"t", b"\1"))
    pair.client.consume(1, b"q", b"tag")
    pair.run()
    said(pair)
    foresee(pair.world)
    pair.run()
    assert said(pair) == [QOS]


def test_a_handover_stops_and_resumes() -> None:
    world = quiet()
    pair = consuming(world)
    for round_ in range(3):
        said(pair)
        world.move(meanwhile=pair.run)
        pair.run()
        assert said(pair) == [CANCEL, CONSUME]
        pair.client.publish(1, b"q", b"%d" % round_)
        pair.run()
    assert [one.body for one in pair.client.deliveries] == [b"0", b"1", b"2"]
    assert not any(one.redelivered for one in pair.client.deliveries)


def test_it_is_not_waited_for() -> None:
    """The broker answers the cancel to the next generation."""
    world = quiet()
    pair = consuming(world)
    world.move()
    world.tick()
    pair.run()
    assert said(pair)[-2:] == [CANCEL, CONSUME]
    pair.client.publish(1, b"q", b"after")
    pair.run()
    assert [one.body for one in pair.client.deliveries] == [b"after"]


def test_an_attempt_that_hangs_does_not_stop_deliveries_for_long() -> None:
    pair = consuming(quiet(settle_timeout=4.0))
    foresee(pair.world)
    pair.run()
    pair.world.wait(5)
    pair.run()
    assert said(pair)[-1] == CONSUME


# ---- drains ----


def drain(pair: Pair) -> None:
    world = pair.world
    world.proxy.drain(world.kernel.clock() + 1000)
    world.tick()


def test_a_drain_ends_once_what_was_delivered_is_acked() -> None:
    pair = consuming(World(relayed()))
    pair.client.publish(1, b"q", b"first")
    pair.run()
    drain(pair)
    pair.run()
    assert not pair.client.code()
    pair.client.publish(1, b"q", b"second")
    pair.run()
    pair.client.ack(1, 1)
    pair.run()
    assert pair.client.code() == 320
    assert pair.session.close_code == 200
    assert pair.near.ended
    assert [list(queue) for queue in pair.broker.queues.values()] == [[(b"second", False)]], "not redelivered"


def test_a_drain_does_not_wait_longer_than_allowed() -> None:
    pair = consuming(World(relayed(listener={"settle_timeout": 4.0})))
    pair.client.publish(1, b"q", b"never acked")
    pair.run()
    drain(pair)
    pair.world.wait(3.9)
    pair.run()
    assert not pair.client.code()
    pair.world.wait(0.2)
    pair.run()
    assert pair.client.code() == 320
    assert [list(queue) for queue in pair.broker.queues.values()] == [[(b"never acked", True)]]


def test_what_the_client_sent_before_it_heard_of_the_end_reaches_the_broker() -> None:
    pair = consuming(World(relayed()))
    drain(pair)
    for socket, session in pair.played:
        session.feed(socket.take())
        socket.send(session.take())
    for number in range(5):
        pair.client.publish(1, b"q", b"%d" % number)
    pair.run()
    assert pair.client.code() == 320
    assert [one.body for one in pair.broker.queues[b"q"]] == [b"%d" % number for number in range(5)]


def test_an_idle_client_is_told_at_once_and_one_that_says_nothing_is_closed() -> None:
    pair = Pair(World(relayed()))
    pair.open(1)
    drain(pair)
    closes = [one for one in frames(pair.near.take()) if one.method == (10, 50)]
    assert len(closes) == 1
    pair.world.wait(6)
    assert pair.near.ended
    pair.run()
    assert pair.session.closed


def test_a_drain_in_a_handshake_ends_it() -> None:
    pair = Pair(World(relayed()))
    drain(pair)
    assert pair.near.ended


def test_tags_never_repeat_nor_skip_in_many_stops() -> None:
    pair = consuming(quiet(), prefetch=4)
    for number in range(60):
        pair.client.publish(1, b"q", b"%d" % number)
        if number % 7 == 3:
            foresee(pair.world)
        if number % 7 == 5:
            foresee(pair.world, handover=False)
        pair.run()
        for one in pair.client.deliveries[-2:]:
            if one.tag in pair.session.channels[1].unacked:
                pair.client.ack(1, one.tag)
        pair.run()
    foresee(pair.world, handover=False)
    pair.run()
    while pair.session.channels[1].unacked:
        pair.client.ack(1, 0, several=True)
        pair.run()
    assert [one.body for one in pair.client.deliveries] == [b"%d" % number for number in range(60)]
    assert all(later.tag == one.tag + 1 for one, later in pairwise(pair.client.deliveries))
