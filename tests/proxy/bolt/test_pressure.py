"""Slow readers on either side, and drains."""

from __future__ import annotations

import pytest

from proxy.connection import HIGH
from tests.kit import bolt
from tests.proxy.bolt.scene import V1, pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World

PIECE = 30_000


def unsent(world: World) -> int:
    return sum(len(one.outbox) for one in world.proxy.values().values())


def test_a_slow_server_pauses_those_that_call_it(world: World) -> None:
    first, server, _ = pair(world)
    second = world.connect("rpc")
    server.accept_bytes(0)
    for number in range(20):
        for client in (first, second):
            client.send(bolt.call(V1, 100 + number, bytes(PIECE)))
    assert unsent(world) < HIGH + 2 * 65536 + 1000
    assert first.inbox
    assert second.inbox
    server.accept_bytes(None)
    assert not first.inbox
    assert not second.inbox
    there = taken(server)
    assert len(there) == 40
    server.send(b"".join(bolt.answer(V1, frame.id, b"") for frame in there))
    for client in (first, second):
        assert statuses(client) == dict.fromkeys(range(100, 120), 0)


def test_a_client_that_asks_and_does_not_read_is_not_read_either(world: World) -> None:
    client = world.connect("rpc")
    client.accept_bytes(0)
    many = 65536 // len(bolt.heartbeat(V1, 1))
    for _ in range(8):
        client.send(bolt.heartbeat(V1, 1) * many)
    assert unsent(world) < HIGH + 65536
    client.accept_bytes(None)
    assert len(taken(client)) == 8 * many


def test_long_calls_of_many_clients_wait_on_their_side(world: World) -> None:
    """Each could be added whole to what waits already; but only one is."""
    first, server, _ = pair(world)
    clients = [first, *(world.connect("rpc") for _ in range(5))]
    server.accept_bytes(0)
    long = bolt.call(V1, 1, bytes(500_000))
    for client in clients:
        client.send(long)
    assert unsent(world) < len(long) + HIGH
    server.accept_bytes(None)
    assert len(taken(server)) == 6


def test_calls_that_waited_go_elsewhere_if_the_server_dies(world: World) -> None:
    first, server, _ = pair(world)
    second = world.connect("rpc")
    server.accept_bytes(0)
    first.send(bolt.call(V1, 8, bytes(100_000)))
    second.send(bolt.call(V1, 9, b"waits"))
    server.rst()
    assert statuses(first) == {7: 16}
    again = world.dialled()
    again.accept()
    assert sorted(frame.content[:5] for frame in taken(again)) == [bytes(5), b"waits"]


def test_a_slow_client_pauses_itself_and_nobody_else(world: World) -> None:
    slow, server, there = pair(world)
    quick = world.connect("rpc")
    slow.accept_bytes(0)
    slow.send(b"".join(bolt.call(V1, number, b"") for number in range(100, 110)))
    calls = taken(server)
    server.send(b"".join(bolt.answer(V1, frame.id, bytes(PIECE)) for frame in [there, *calls]))
    slow.send(bolt.call(V1, 999, b"waits"))
    assert slow.inbox
    quick.send(bolt.call(V1, 1, b""))
    server.send(bolt.answer(V1, sole(server).id, b""))
    assert statuses(quick) == {1: 0}
    slow.accept_bytes(None)
    assert len(taken(slow)) == 11
    assert sole(server).content == b"waits"


def test_a_client_that_does_not_read_at_all_is_reset(moving: bool) -> None:
    world = World(rpc(listener={"max_frame": 1 << 17}), moving=moving)
    client, server, there = pair(world)
    client.accept_bytes(0)
    client.send(b"".join(bolt.call(V1, number, b"") for number in range(20)))
    for frame in [there, *taken(server)]:
        server.send(bolt.answer(V1, frame.id, bytes(PIECE)))
    assert client.reset
    assert not server.ended
    assert unsent(world) == 0


def test_drain_ends_what_is_idle_at_once_and_the_rest_when_it_is_done(world: World) -> None:
    busy, server, there = pair(world)
    idle = world.connect("rpc")
    world.proxy.drain(world.kernel.clock() + 60)
    world.settle()
    assert idle.closed
    assert not busy.ended
    server.send(bolt.answer(V1, there.id, b""))
    assert statuses(busy) == {7: 0}
    assert busy.closed
    assert server.closed
    assert world.proxy.idle()


@pytest.mark.parametrize("moved", [False, True])
def test_what_the_destination_does_not_know_stays_with_its_calls(moved: bool) -> None:
    """Another client's call on the same connection stays as well; who has none there moves."""
    world = World(rpc())
    client, server, there = pair(world)
    free = world.connect("rpc")
    shared = world.connect("rpc")
    shared.send(bolt.call(V1, 1, b""))
    two = sole(server)
    config = rpc()
    other = rpc(listener={"max_frame": 1 << 20}) if moved else rpc()
    world.move(other if moved else config)
    if not moved:
        assert not world.retired
    server.send(bolt.answer(V1, two.id, b"two") + bolt.answer(V1, there.id, b"one"))
    assert statuses(client) == {7: 0}
    assert statuses(shared) == {1: 0}
    free.send(bolt.heartbeat(V1, 1))
    assert statuses(free) == {1: 0}


def test_a_server_that_was_lost_between_two_rounds_blocks_nobody_at_the_destination() -> None:
    """That had a copy of the connection, for which this client waited."""
    world = World(rpc())
    client, server, _ = pair(world)
    server.accept_bytes(0)
    for number in range(5):
        client.send(bolt.call(V1, 100 + number, bytes(PIECE)))
    world.move(meanwhile=server.rst)
    world.settle()
    again = world.dialled()
    again.accept()
    again.take()
    again.accept_bytes(0)
    for number in range(5):
        client.send(bolt.call(V1, 200 + number, bytes(PIECE)))
    assert client.inbox
    again.accept_bytes(None)
    assert not client.inbox
    assert len(taken(again)) >= 5


def test_a_client_that_goes_while_it_waits_for_room_is_not_named_any_more() -> None:
    """It has no call there yet. A destination would look for it in vain, and refuse."""
    world = World(rpc())
    first, server, _ = pair(world)
    second = world.connect("rpc")
    server.accept_bytes(0)
    for number in range(5):
        first.send(bolt.call(V1, 100 + number, bytes(PIECE)))
    second.send(bolt.call(V1, 1, b"waits"))
    second.rst()
    world.move()
    world.settle()
    server.accept_bytes(None)
    assert len(taken(server)) == 5
