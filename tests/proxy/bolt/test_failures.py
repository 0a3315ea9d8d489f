"""What a failure costs: a call, a connection, never more."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import errno

import pytest

from tests.kit import bolt
from tests.kit.bolt import DIALECTS, Dialect
from tests.proxy.bolt.scene import V1, V2, V2_CRC, pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World

NOT_SENT, CLOSED, TIMEOUT = 8, 16, 7


@pytest.fixture
def two(moving: bool) -> World:
    return World(rpc(endpoints=2), moving=moving)


# -- time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_has_the_time_that_it_brings(world: World, dialect: Dialect) -> None:
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 1, b"", timeout=3000) + bolt.call(dialect, 2, b"", timeout=1000))
    server = world.dialled()
    server.accept()
    first, second = taken(server)
    world.wait(0.9)
    assert client.take() == b""
    world.wait(0.2)
    assert statuses(client) == {2: TIMEOUT}
    server.send(bolt.answer(dialect, second.id, b"late"))
    assert client.take() == b""
    world.wait(1.8)
    server.send(bolt.answer(dialect, first.id, b"in time"))
    assert statuses(client) == {1: 0}


def test_a_call_without_a_timeout_has_that_of_the_cluster(moving: bool) -> None:
    world = World(rpc(request_timeout=5.0), moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"", timeout=-1) + bolt.call(V1, 2, b"", timeout=0))
    world.dialled().accept()
    world.wait(4.9)
    assert client.take() == b""
    world.wait(0.2)
    assert statuses(client) == {1: TIMEOUT, 2: TIMEOUT}


def test_time_runs_while_a_dial_is_under_way(world: World) -> None:
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"", timeout=500))
    world.wait(0.6)
    assert statuses(client) == {1: TIMEOUT}


# -- dials --------------------------------------------------------------------------------------------------


def test_calls_go_to_another_endpoint_if_one_cannot_be_connected_to(two: World) -> None:
    client = two.connect("rpc")
    client.send(bolt.call(V2_CRC, 1, b"one") + bolt.call(V2_CRC, 2, b"two"))
    bad, good = two.dialled(), two.dialled()
    good.accept()
    assert sole(good).content == b"two"
    bad.refuse()
    assert sole(good).content == b"one"
    assert client.take() == b""


def test_a_dial_that_takes_too_long_counts_as_refused(two: World) -> None:
    client = two.connect("rpc")
    client.send(bolt.call(V1, 1, b"one"))
    slow = two.dialled()
    two.wait(1.1)
    assert slow.closed
    good = two.dialled()
    good.accept()
    assert sole(good).content == b"one"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_without_an_endpoint_the_call_was_not_sent(two: World, dialect: Dialect) -> None:
    client = two.connect("rpc")
    client.send(bolt.call(dialect, 1, b"one") + bolt.call(dialect, 2, b"", oneway=True))
    for _ in range(2):
        two.dialled().refuse()
    while two.dials:
        two.dialled().refuse()
    assert statuses(client) == {1: NOT_SENT}
    client.send(bolt.call(dialect, 3, b"again"))
    two.dialled().accept()
    assert not client.ended


def test_a_dial_that_fails_at_once_fails_the_call_and_nothing_else(world: World) -> None:
    world.refusing["127.0.0.1:9000"] = errno.ENETUNREACH
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"") + bolt.heartbeat(V1, 2))
    assert statuses(client) == {1: NOT_SENT, 2: 0}


def test_a_second_connection_that_fails_is_no_loss(moving: bool) -> None:
    world = World(rpc(shared_connections=2), moving=moving)
    client, server, _ = pair(world)
    client.send(bolt.call(V1, 8, b""))
    world.dialled().refuse()
    client.send(bolt.call(V1, 9, b""))
    assert world.dials == [] or moving, "not again at once"
    assert len(taken(server)) == 2


# -- the server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_calls_under_way_fail_with_their_connection(world: World, end: str) -> None:
    client, server, _ = pair(world)
    other = world.connect("rpc")
    other.send(bolt.call(V1, 1, b"") + bolt.call(V1, 2, b""))
    getattr(server, end)()
    assert statuses(client) == {7: CLOSED}
    assert statuses(other) == {1: CLOSED, 2: CLOSED}
    client.send(bolt.call(V1, 8, b"again"))
    again = world.dialled()
    again.accept()
    assert sole(again).content == b"again"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_that_never_left_is_sent_again(world: World, dialect: Dialect) -> None:
    client, server, there = pair(world, dialect)
    server.accept_bytes(30)
    client.send(
        bolt.call(dialect, 8, b"torn") + bolt.call(dialect, 9, b"whole") + bolt.call(dialect, 10, b"", oneway=True)
    )
    assert len(server.take()) == 30
    server.rst()
    again = world.dialled()
    again.accept()
    whole, oneway = taken(again)
    assert (whole.content, oneway.type) == (b"whole", bolt.ONEWAY)
    assert statuses(client) == {7: CLOSED, 8: CLOSED}
    again.send(bolt.answer(dialect, whole.id, b"ok"))
    assert sole(client).raw == bolt.answer(dialect, 9, b"ok")
    assert there.id


def test_answers_before_what_cannot_be_followed_are_counted(world: World) -> None:
    client, server, there = pair(world)
    server.send(bolt.answer(V1, there.id, b"x") + b"\xff" * 30)
    assert statuses(client) == {7: 0}
    assert server.ended
    assert [endpoint.in_flight for endpoint in world.proxy.clusters["app"].endpoints] == [0]


def test_a_call_is_sent_again_as_often_as_configured(moving: bool) -> None:
    world = World(rpc(retries=1), moving=moving)
    client, server, _ = pair(world)
    server.accept_bytes(0)
    client.send(bolt.call(V1, 8, b"x"))
    server.rst()
    statuses(client)
    again = world.dialled()
    again.accept_bytes(0)
    again.accept()
    again.rst()
    assert statuses(client) == {8: NOT_SENT}
    assert world.dials == []


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bolt.answer(V2_CRC, 1, b"")[:-1] + b"?", bolt.answer(V2, 1, b"")]
)
def test_a_server_that_breaks_the_protocol_costs_its_connection(world: World, garbage: bytes) -> None:
    client, server, _ = pair(world)
    server.send(garbage)
    assert server.closed
    assert statuses(client) == {7: CLOSED}
    assert not client.ended


def test_wrong_crc_of_a_server_costs_its_connection(world: World) -> None:
    client, server, there = pair(world, V2_CRC)
    good = bolt.answer(V2_CRC, there.id, b"good")
    server.send(good + bolt.answer(V2_CRC, 99, b"bad")[:-1] + b"?")
    assert server.closed
    assert statuses(client) == {7: 0}


def test_goaway_means_no_further_calls_and_is_never_passed_on(world: World) -> None:
    client, server, there = pair(world)
    server.send(bolt.encode(V1, bolt.REQUEST, 100, 77))
    client.send(bolt.call(V1, 8, b"next"))
    fresh = world.dialled()
    fresh.accept()
    assert sole(fresh).content == b"next"
    assert not server.closed
    server.send(bolt.answer(V1, there.id, b""))
    assert server.closed
    assert statuses(client) == {7: 0}


# -- the client ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_answers_for_a_client_that_is_gone_are_dropped(world: World, dialect: Dialect) -> None:
    client, server, there = pair(world, dialect)
    other = world.connect("rpc")
    other.send(bolt.call(dialect, 7, b"other"))
    client.rst()
    server.send(bolt.answer(dialect, there.id, b"late") + bolt.answer(dialect, sole(server).id, b"other"))
    assert sole(other).content == b"other"
    assert not server.ended


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n" * 2, bolt.call(V2_CRC, 1, b"")[:-1] + b"?", b"\1\1\0\1\1" + b"\xff" * 40, bytes(22)],
)
def test_a_client_that_breaks_the_protocol_costs_its_connection(world: World, garbage: bytes) -> None:
    other, server, _ = pair(world)
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"good") + garbage)
    assert client.closed
    assert sole(server).content == b"good"
    assert not other.ended


def test_a_client_may_end_sending_and_gets_its_answers(world: World) -> None:
    client, server, there = pair(world)
    client.fin()
    assert not client.ended
    server.send(bolt.answer(V1, there.id, b"last"))
    assert sole(client).content == b"last"
    assert client.closed


def test_a_client_that_ends_without_calls_is_closed(world: World) -> None:
    client = world.connect("rpc")
    client.fin()
    assert client.closed


def test_an_idle_client_is_closed_and_a_busy_one_is_not(moving: bool) -> None:
    world = World(rpc(listener={"keepalive_timeout": 10.0}), moving=moving)
    idle = world.connect("rpc")
    beating = world.connect("rpc")
    busy = world.connect("rpc")
    busy.send(bolt.call(V1, 1, b"", timeout=60_000))
    world.dialled().accept()
    world.wait(6)
    beating.send(bolt.heartbeat(V1, 1))
    world.wait(5)
    assert (idle.closed, beating.closed, busy.closed) == (True, False, False)


# -- silence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "version"), [(V1, 1), (V2_CRC, 2)])
def test_a_silent_connection_gets_heartbeats_and_lives_by_their_answers(
    moving: bool, dialect: Dialect, version: int
) -> None:
    world = World(rpc(listener={"keepalive_timeout": 3600.0}), moving=moving)
    client, server, there = pair(world, dialect)
    server.send(bolt.answer(dialect, there.id, b""))
    for _ in range(8):
        world.wait(14.9)
        assert server.take() == b""
        world.wait(0.2)
        beat = sole(server)
        assert (beat.command, beat.type, beat.dialect.version) == (bolt.HEARTBEAT, bolt.REQUEST, version)
        server.send(bolt.heartbeat_answer(beat.dialect, beat.id))
    assert not server.ended
    assert not client.ended


def test_three_heartbeats_without_an_answer_end_a_connection(world: World) -> None:
    client = world.connect("rpc")
    client.send(bolt.call(V1, 7, b"", timeout=120_000))
    server = world.dialled()
    server.accept()
    server.take()
    for _ in range(3):
        world.wait(15.1)
        assert sole(server).command == bolt.HEARTBEAT
    assert client.take() == b""
    world.wait(15.1)
    assert server.closed
    assert statuses(client) == {7: CLOSED}


def test_a_deaf_server_is_noticed_although_it_is_sent_calls(moving: bool) -> None:
    world = World(rpc(), moving=moving)
    client, server, _ = pair(world)
    for number in range(13):
        world.wait(5.1)
        client.send(bolt.call(V1, 100 + number, b"", timeout=120_000))
    assert server.closed


def test_a_server_that_only_speaks_hears_heartbeats(world: World) -> None:
    _, server, _ = pair(world)
    for _ in range(4):
        world.wait(5.1)
        server.send(bolt.call(V1, 5, b"news", oneway=True))
    assert bolt.HEARTBEAT in [frame.command for frame in taken(server)]


def test_a_client_that_wants_to_end_does_so_though_its_server_was_lost_between_two_rounds() -> None:
    """The destination had a copy of that connection, with the call in it."""
    world = World(rpc())
    client, server, _ = pair(world)
    world.move(meanwhile=server.rst)
    assert statuses(client) == {7: CLOSED}
    client.fin()
    assert client.ended


def test_calls_that_are_lost_with_a_destination_are_counted_out_once() -> None:
    world = World(rpc())
    first, _, _ = pair(world)
    second = world.connect("rpc")
    second.send(bolt.call(V1, 1, b"") + bolt.call(V1, 2, b""))
    source = world.proxy
    source.sharing(True)
    source.freeze()
    source.retire((), {})
    source.abandon()
    assert first.closed
    assert second.closed
    assert [cluster.in_flight for cluster in source.clusters.values()] == [0, 0]
    assert [listener.connections for listener in source.listeners.values()] == [0]
