"""A change of broker: the client goes on where it was, and what cannot change stays, with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.address import Address
from tests.kit import amqp
from tests.kit.amqp_broker import PLAIN, Broker
from tests.proxy.amqp.change import Change, brokers
from tests.proxy.amqp.scene import Pair

NO_ACK, EXCLUSIVE = 2, 4
QUEUE_EXCLUSIVE, AUTO_DELETE = 4, 8


def test_a_consumer_goes_on_at_another_broker(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    pair, client = change.pair, change.client
    change.consume()
    change.publish(b"one")
    change.publish(b"two")
    change.ack_all()
    seen = len(client.methods)
    change.leave()
    assert len(change.world.dials) == 1
    fresh = pair.answer_dial()
    pair.run()
    assert pair.session.closed
    assert pair.session.close_code == 200
    assert fresh.login == PLAIN
    assert fresh.channels[1].consumers[b"tag"].prefetch == 10
    assert fresh.channels[1].confirm
    change.publish(b"three")
    assert [(one.tag, one.body, one.redelivered) for one in client.deliveries] == [
        (1, b"one", False),
        (2, b"two", False),
        (3, b"three", False),
    ]
    assert client.confirmed == [(1, 1, False), (1, 2, False), (1, 3, False)]
    client.ack(1, 3)
    pair.run()
    assert fresh.channels[1].unacked == {}
    assert len(client.methods) == seen
    assert not client.code()
    assert change.stays() == ""


def test_what_was_delivered_is_acked_at_the_broker_that_delivered_it(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    change.consume()
    change.publish(b"one")
    change.leave()
    assert change.world.dials == []
    change.publish(b"meanwhile")
    change.ack_all()
    change.pair.answer_dial()
    change.pair.run()
    change.ack_all()
    assert [(one.tag, one.body, one.redelivered) for one in change.client.deliveries] == [
        (1, b"one", False),
        (2, b"meanwhile", False),
    ]


def test_acks_that_come_too_late_are_dropped_and_the_message_comes_again(password: Path) -> None:
    change = Change(password, settle_timeout=4.0)
    change.consume()
    change.publish(b"one")
    change.leave()
    change.world.wait(4.1)
    change.pair.run()
    fresh = change.pair.answer_dial()
    change.pair.run()
    assert [(one.tag, one.redelivered) for one in change.client.deliveries] == [(1, False), (2, True)]
    change.client.ack(1, 1)
    change.pair.run()
    assert list(fresh.channels[1].unacked) == [1]
    change.client.ack(1, 2, several=True)
    change.pair.run()
    assert fresh.channels[1].unacked == {}


def test_publishes_that_were_never_confirmed_are_nacked(password: Path) -> None:
    """Their fate is unknown, so the client has to publish them again, as after any other loss of a broker."""
    change = Change(password, settle_timeout=4.0)
    change.consume()
    session = change.pair.session
    session.channels[1].confirm = False  # this broker never confirms
    change.publish(b"one")
    change.ack_all()
    change.leave()
    assert change.world.dials == []
    change.world.wait(4.1)
    change.pair.answer_dial()
    change.pair.run()
    change.publish(b"two")
    assert change.client.confirmed == [(1, -1, False), (1, 2, False)]


def publish(channel: int, body: bytes) -> bytes:
    """A publish as bytes, to be cut."""
    return amqp.method(channel, 60, 40, bytes(2) + b"\0" + b"\1q" + b"\0") + amqp.content(channel, body)


def test_deliveries_are_stopped_between_two_contents_of_one_read(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    pair = change.pair
    change.consume()
    first, second = publish(1, bytes(1000)), publish(1, b"behind")
    pair.near.send(first[:500])
    change.leave()
    pair.near.send(first[500:] + second[:-1])
    pair.run()
    assert (60, 30) in pair.session.said
    pair.near.send(second[-1:])
    pair.run()
    change.ack_all()
    pair.answer_dial()
    pair.run()
    assert [(one.tag, one.body) for one in change.client.deliveries] == [(1, bytes(1000)), (2, b"behind")]


def test_a_content_under_way_goes_to_the_old_broker_and_what_follows_to_the_next(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving, settle_timeout=4.0)
    pair = change.pair
    change.client.open(2)
    change.consume()
    first, second = publish(2, bytes(1000)), publish(2, b"behind")
    pair.near.send(first[:500])
    change.leave()
    change.world.wait(4.1)
    pair.run()
    assert change.world.dials == []
    pair.near.send(first[500:] + second)
    pair.run()
    fresh = pair.answer_dial()
    assert pair.session.said.count((60, 40)) == 1
    pair.run()
    assert fresh.said.count((60, 40)) == 1
    assert [one.body for one in change.client.deliveries] == [bytes(1000), b"behind"]
    assert not change.client.code()


def test_all_channels_come_along(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    client = change.client
    change.consume()
    for channel in (2, 3):
        client.open(channel)
    client.say(3, 90, 10)
    client.qos(2, 5, whole=True)
    client.consume(2, b"q", b"second", NO_ACK)
    change.pair.run()
    change.leave()
    fresh = change.pair.answer_dial()
    change.pair.run()
    assert sorted(fresh.channels) == [1, 2, 3]
    assert fresh.channels[2].prefetch_whole == 5
    assert list(fresh.channels[2].consumers) == [b"second"]
    assert (90, 10) in fresh.said


@pytest.mark.parametrize(
    ("why", "bits", "queue_bits"),
    [("exclusive queues", 0, QUEUE_EXCLUSIVE), ("a consumer", EXCLUSIVE, 0), ("a consumer", 0, AUTO_DELETE)],
)
def test_what_is_bound_to_its_connection_stays(password: Path, why: str, bits: int, queue_bits: int) -> None:
    change = Change(password)
    change.consume(bits=bits, queue_bits=queue_bits)
    change.leave()
    assert why in change.stays()
    assert change.world.dials == []
    change.publish(b"one")
    assert len(change.client.deliveries) == 1


def test_a_transaction_is_finished_first(password: Path) -> None:
    change = Change(password)
    change.consume()
    change.client.open(2)
    change.client.say(2, 90, 10)
    change.client.publish(2, b"q", b"one")
    change.pair.run()
    change.leave()
    assert "transaction" in change.stays()
    change.client.say(2, 90, 20)
    change.pair.run()
    change.ack_all()
    change.world.wait(6)
    change.pair.run()
    change.pair.answer_dial()
    change.pair.run()
    assert change.pair.session.closed


def test_others_than_the_configured_user_stay(password: Path) -> None:
    change = Change(password)
    password.write_text("another")
    change = Change(password)
    change.consume()
    change.leave()
    assert "log in" in change.stays()


def test_it_ends_where_that_is_wanted(password: Path) -> None:
    change = Change(password, when_gone="end")
    change.consume()
    change.publish(b"one")
    change.leave()
    assert not change.client.code()
    change.ack_all()
    assert change.client.code() == 320


def test_a_broker_that_cannot_be_reached_is_passed_over(password: Path) -> None:
    change = Change(password)
    change.consume()
    change.leave(9001, 9002)
    change.world.dialled().refuse()
    change.pair.answer_dial()
    change.pair.run()
    assert change.pair.session.closed
    change.publish(b"one")
    assert len(change.client.deliveries) == 1


def test_if_no_other_broker_will_do_it_stays_and_tries_again(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    change.consume()
    change.leave()
    change.world.dialled().refuse()
    change.pair.run()
    assert "no other broker" in change.stays()
    change.publish(b"one")
    assert [one.body for one in change.client.deliveries] == [b"one"]
    change.ack_all()
    change.world.wait(20)
    change.pair.run()
    assert change.world.dials == []
    change.world.wait(11)
    change.pair.run()
    change.pair.answer_dial()
    change.pair.run()
    assert change.pair.session.closed


def test_brokers_that_say_nothing_do_not_hold_a_client_for_long(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving, settle_timeout=4.0)
    change.consume()
    change.leave(9001, 9002)
    first = change.world.dialled()
    first.accept()
    change.world.wait(3)
    first.fin()
    change.world.dialled().accept()
    change.client.publish(1, b"q", b"waits")
    change.pair.run()
    assert change.client.deliveries == []
    change.world.wait(2.1)
    change.pair.run()
    assert [one.body for one in change.client.deliveries] == [b"waits"]
    assert "too long" in change.stays()


def test_a_broker_without_the_queue_will_not_do(password: Path) -> None:
    change = Change(password)
    change.consume()
    change.leave()
    socket = change.world.dialled()
    empty = Broker().session()
    socket.accept()
    change.pair.played.append((socket, empty))
    change.pair.run()
    assert not change.pair.session.closed
    assert socket.ended or socket.reset or socket.closed
    change.publish(b"one")
    assert [one.body for one in change.client.deliveries] == [b"one"]


def test_a_blocked_client_may_publish_again(password: Path) -> None:
    change = Change(password)
    change.consume()
    change.pair.far.send(amqp.method(0, 10, 60, amqp.short(b"low on memory")))
    change.leave()
    change.pair.answer_dial()
    change.pair.run()
    assert [one.method for one in change.client.methods][-2:] == [(10, 60), (10, 61)]


def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    change.consume()
    change.leave()
    change.pair.near.rst()
    change.world.wait(30)
    kinds = [one["kind"] for one in change.world.proxy.connections()]
    assert kinds == []


def test_one_without_channels_changes_at_once(password: Path, moving: bool) -> None:
    change = Change(password, moving=moving)
    change.client.say(1, 20, 40, bytes(7))
    change.pair.run()
    change.leave()
    fresh = change.pair.answer_dial()
    change.pair.run()
    change.client.open(4)
    change.pair.run()
    assert list(fresh.channels) == [4]
    assert change.pair.session.closed


def test_the_client_hears_heartbeats_while_its_broker_does_not_answer(password: Path) -> None:
    change = Change(password, settle_timeout=30.0)
    pair = change.pair
    pair.client.heartbeat = 4
    other = Pair(change.world, heartbeat=4)
    other.open(1)
    other.client.declare(1, b"q")
    other.client.consume(1, b"q", b"tag")
    other.run()
    change.password.write_text("guest")
    moving, change.world.moving = change.world.moving, False
    change.world.move(brokers(change.password, 9001, settle_timeout=30.0))
    change.world.moving = moving
    change.world.tick()
    other.far.take()  # and nobody answers
    for _ in range(3):
        change.world.wait(3.1)
        other.far.send(amqp.HEARTBEAT)
        other.client.feed(other.near.take())
    assert other.client.beats >= 3
    assert not other.client.code()


def test_many_changes_in_a_row_keep_the_numbers(password: Path) -> None:
    change = Change(password)
    change.consume()
    for number in range(6):
        change.publish(b"%d" % number)
        change.ack_all()
        change.leave(9001 + number)
        change.pair.answer_dial()
        change.pair.run()
    assert [(one.tag, one.body) for one in change.client.deliveries] == [(n + 1, b"%d" % n) for n in range(6)]
    assert change.client.confirmed == [(1, n + 1, False) for n in range(6)]
    assert str(change.pair.played[-1][0].address) == str(Address.parse("127.0.0.1:9006"))
