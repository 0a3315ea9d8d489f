"""The relay: every frame of real peers passes as it came, limits hold, and both sides are told when it is over."""

from __future__ import annotations

import struct

import pytest

from proxy.config.model import AccessLogConfig, Config
from tests.kit import amqp
from tests.kit.amqp import encode, frames, method, short
from tests.kit.amqp_broker import Broker
from tests.proxy.amqp.scene import Pair, captured, relayed
from tests.proxy.simulation import World


def code_of(data: bytes) -> int:
    """The code of the connection.close that ends what came."""
    (frame,) = [one for one in frames(data) if one.method == (10, 50)]
    return int(struct.unpack(">H", frame.arguments[:2])[0])


def test_every_frame_of_real_peers_passes_byte_for_byte(world: World) -> None:
    client = world.connect("mq")
    server = world.dialled()
    server.accept()
    for one in captured():
        source, target = (client, server) if one.dir == "c2s" else (server, client)
        source.send(one.frame)
        assert target.take() == one.frame
    client.fin()
    server.fin()
    assert client.ended
    assert server.ended


@pytest.mark.parametrize("step", [pytest.param(3, marks=pytest.mark.all), 10])
def test_the_same_in_pieces(world: World, step: int) -> None:
    client = world.connect("mq")
    server = world.dialled()
    server.accept()
    for one in captured():
        source, target = (client, server) if one.dir == "c2s" else (server, client)
        for at in range(0, len(one.frame), step):
            source.send(one.frame[at : at + step])
        assert target.take() == one.frame


def test_what_is_under_way_is_shown(pair: Pair) -> None:
    pair.client.confirm(1)
    pair.client.declare(1, b"q")
    pair.client.qos(1, 2)
    pair.client.consume(1, b"q", b"tag")
    for _ in range(3):
        pair.client.publish(1, b"q", b"message")
    pair.run()
    assert len(pair.client.deliveries) == 2
    (shown,) = [one for one in pair.world.proxy.connections() if one["kind"] == "amqp.downstream"]
    assert (shown["stage"], shown["channels"], shown["consumers"]) == ("in use", 1, 1)
    assert (shown["unacked"], shown["unconfirmed"]) == (2, 0)
    pair.client.ack(1, 2, several=True)
    pair.run()
    assert len(pair.client.deliveries) == 3


def test_messages_are_counted() -> None:
    world = World(relayed())
    pair = Pair(world)
    pair.open(1)
    pair.client.declare(1, b"q")
    pair.client.consume(1, b"q", b"tag")
    for _ in range(3):
        pair.client.publish(1, b"q", b"message")
    pair.run()
    pair.client.ack(1, 3, several=True)
    pair.run()
    families = world.proxy.families
    assert families.published.labels("mq").value == 3
    assert families.delivered.labels("mq").value == 3
    assert families.acked.labels("mq").value == 1


def test_no_more_is_agreed_on_than_the_listener_allows(moving: bool) -> None:
    world = World(relayed(listener={"max_channels": 2, "max_frame": 131072}), moving=moving)
    pair = Pair(world, frame_max=0, channel_max=0)
    pair.open(1, 2)
    assert (pair.session.channel_max, pair.session.frame_max) == (2, 131072)
    pair.client.open(3)
    pair.run()
    assert pair.client.code() == 530


def test_one_consumer_too_many_ends_the_connection(moving: bool) -> None:
    pair = Pair(World(relayed(listener={"max_consumers": 1}), moving=moving))
    pair.open(1)
    pair.client.declare(1, b"q")
    pair.client.consume(1, b"q", b"one")
    pair.run()
    assert not pair.client.code()
    pair.client.consume(1, b"q", b"two")
    pair.run()
    assert pair.client.code() == 506
    assert pair.session.close_code == 200
    assert pair.near.ended


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 501),
        (b"\x01\0\x01\0\0\0\x04\0\x14\0\x0a\0", 501),
        (b"\x07\0\x01\0\0\0\0\xce", 501),
        (b"\x01\0\x01\xff\xff\xff\xff", 501),
        (encode(amqp.BODY, 1, b"unasked"), 505),
        (encode(amqp.HEADER, 1, bytes(14)), 505),
        (method(1, 60, 40, bytes(4) + b"\0") + method(1, 60, 10, bytes(7)), 505),
        (method(1, 60, 20, bytes(2) + b"\xffshort"), 502),
        (encode(amqp.METHOD, 1, b"\0"), 502),
    ],
)
def test_what_is_wrong_ends_this_connection_with_its_code(world: World, wrong: bytes, code: int) -> None:
    pair, other = Pair(world), Pair(world)
    pair.open(1)
    other.open(1)
    pair.near.send(wrong.ljust(8, b"\0") if wrong.startswith(b"\x01\0\x01\xff") else wrong)
    pair.run()
    assert pair.client.code() == code
    assert pair.near.ended
    assert pair.session.closed
    other.client.declare(1, b"q")
    other.run()
    assert other.client.methods[-1].method == (50, 11)


def test_a_body_longer_than_said_ends_it(pair: Pair) -> None:
    pair.near.send(method(1, 60, 40, bytes(2) + short(b"") + short(b"q") + b"\0"))
    pair.near.send(encode(amqp.HEADER, 1, struct.pack(">HHQH", 60, 0, 3, 0)) + encode(amqp.BODY, 1, b"four"))
    pair.run()
    assert pair.client.code() == 505


def test_a_client_that_does_not_answer_our_close_is_closed(pair: Pair) -> None:
    pair.near.send(encode(amqp.BODY, 1, b"unasked"))
    assert code_of(pair.near.take()) == 505
    pair.world.wait(6)
    assert pair.near.ended


def test_without_a_broker_the_client_is_told_so(world: World) -> None:
    client = world.connect("mq")
    client.send(amqp.GREETING)
    world.dialled().refuse()
    assert code_of(client.take()) == 320
    assert client.ended


def test_a_broker_that_is_lost_is_told_of(pair: Pair) -> None:
    pair.far.rst()
    pair.run()
    assert pair.client.code() == 320
    assert pair.near.ended


def test_a_client_that_is_lost_ends_its_broker_connection(pair: Pair) -> None:
    pair.near.rst()
    assert pair.far.reset or pair.far.ended


def test_nonsense_of_a_broker_ends_both(pair: Pair) -> None:
    pair.far.send(b"nonsense")
    pair.run()
    assert pair.client.code() == 541
    pair.world.wait(10)
    assert pair.far.ended


def test_a_broker_of_another_version_is_heard(world: World) -> None:
    client = world.connect("mq")
    client.send(b"AMQP\0\1\0\0")
    server = world.dialled()
    server.accept()
    assert server.take() == b"AMQP\0\1\0\0"
    server.send(amqp.GREETING)
    server.fin()
    assert client.take() == amqp.GREETING
    assert client.ended


def test_heartbeats_pass(pair: Pair) -> None:
    pair.client.beat()
    pair.run()
    assert pair.session.beats == 1
    pair.far.send(amqp.HEARTBEAT)
    pair.run()
    assert pair.client.beats == 1


def test_half_a_frame_keeps_nobody_from_hearing_heartbeats(moving: bool) -> None:
    pair = Pair(World(relayed(), moving=moving), heartbeat=4)
    pair.open(1)
    pair.near.send(encode(amqp.BODY, 1, bytes(100))[:50])
    pair.far.send(encode(amqp.BODY, 1, bytes(100))[:50])
    pair.world.wait(3.5)
    pair.run()
    assert (pair.session.beats, pair.client.beats) == (1, 1)


@pytest.mark.parametrize("silent", ["client", "broker"])
def test_who_is_silent_for_three_intervals_is_given_up(moving: bool, silent: str) -> None:
    pair = Pair(World(relayed(), moving=moving), heartbeat=4)
    pair.open(1)
    for _ in range(5):
        pair.world.wait(3)
        if silent == "client" and not pair.far.closed:
            pair.far.send(amqp.HEARTBEAT)
        elif not pair.near.closed:
            pair.near.send(amqp.HEARTBEAT)
    pair.run()
    assert pair.client.code() == 320
    assert pair.session.closed


def test_without_heartbeats_silence_is_bounded_by_the_idle_timeout(moving: bool) -> None:
    pair = Pair(World(relayed(idle_timeout=100.0), moving=moving), heartbeat=0)
    pair.open(1)
    pair.world.wait(99)
    pair.run()
    assert not pair.client.code()
    pair.world.wait(2)
    pair.run()
    assert pair.client.code() == 320


def test_a_client_that_does_not_read_pauses_its_broker_and_hears_all(pair: Pair) -> None:
    pair.client.declare(1, b"q")
    pair.client.consume(1, b"q", b"tag")
    pair.run()
    pair.near.accept_bytes(0)
    for number in range(60):
        pair.client.publish(1, b"q", b"%d" % number + bytes(5000))
    pair.run()
    paused = pair.world.proxy.connections()
    assert [one["kind"] for one in paused if one["state"] == "paused"] == ["amqp.upstream"]
    pair.near.accept_bytes(None)
    pair.run()
    assert [one.body[:2].strip(b"\0") for one in pair.client.deliveries] == [b"%d" % number for number in range(60)]


@pytest.mark.parametrize("draining", [False, True])
def test_a_removed_endpoint_is_used_on_unless_said_otherwise(moving: bool, draining: bool) -> None:
    world = World(relayed(endpoints=(9000,)), moving=moving)
    pair = Pair(world)
    pair.open(1)
    config: Config = relayed(endpoints=(9001,))
    world.move(config)
    world.wait(20)
    if draining:
        world.proxy.drain(world.kernel.clock() + 100)
    pair.run()
    assert pair.client.code() == (320 if draining else 0)


@pytest.mark.parametrize(("how", "outcome"), [("closes", "ok"), ("breaks", "own"), ("resets", "aborted")])
def test_the_access_log_has_a_line_for_a_connection(moving: bool, how: str, outcome: str) -> None:
    log = AccessLogConfig(to="/var/log/mq.log", template="{protocol} {endpoint} {outcome}")
    pair = Pair(World(relayed(listener={"access_log": log}), moving=moving))
    pair.open(1)
    if how == "closes":
        pair.client.say(0, 10, 50, struct.pack(">H", 200) + short(b"bye") + bytes(4))
        pair.run()
        pair.near.fin()
        pair.far.fin()
    elif how == "breaks":
        pair.near.send(encode(amqp.BODY, 1, b"unasked"))
        pair.run()
    else:
        pair.near.rst()
    pair.world.proxy.sinks.flush()
    assert pair.world.lines["/var/log/mq.log"] == [f"amqp 127.0.0.1:9000 {outcome}"]


def test_who_is_not_read_is_still_heard_by_the_other_side(moving: bool) -> None:
    pair = Pair(World(relayed(), moving=moving), heartbeat=4)
    pair.open(1)
    pair.far.accept_bytes(0)
    for _ in range(2):
        pair.near.send(amqp.method(1, 60, 40, bytes(5) + b"\0") + amqp.content(1, bytes(60_000)))
    for _ in range(10):
        pair.world.wait(3.5)
        pair.far.send(amqp.HEARTBEAT)
        pair.client.feed(pair.near.take())
    assert pair.client.beats >= 10
    assert not pair.client.code()


def test_two_brokers_share_clients(moving: bool) -> None:
    world = World(relayed(endpoints=(9000, 9001)), moving=moving)
    one, other = Pair(world), Pair(world, Broker())
    one.open(1)
    other.open(1)
    assert {str(one.far.address), str(other.far.address)} == {"127.0.0.1:9000", "127.0.0.1:9001"}
