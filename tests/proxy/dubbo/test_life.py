"""What a failure costs, what the readonly event means in both directions, and what is said of silence."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import errno

import pytest

from proxy.connection import HIGH
from tests.kit import dubbo
from tests.proxy.dubbo.scene import BY_INTERFACE, pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World


@pytest.fixture
def two(moving: bool) -> World:
    return World(rpc(endpoints=2), moving=moving)


# -- failures -----------------------------------------------------------------------------------------------


def test_no_endpoint_at_all(world: World) -> None:
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"") + dubbo.call(2, b"", oneway=True))
    world.dialled().refuse(errno.ECONNREFUSED)
    assert client.take() == dubbo.encode(0, 90, 1, dubbo.text("no server can be reached"))
    client.send(dubbo.heartbeat(3))
    assert statuses(client) == {3: 20}


def test_calls_that_never_left_go_to_another_endpoint(two: World) -> None:
    client = two.connect("rpc")
    client.send(dubbo.call(1, b"call") + dubbo.call(2, b"oneway", oneway=True))
    two.dialled().refuse()
    while two.dials:
        server = two.dialled()
        server.accept()
    assert {frame.content for frame in taken(server)} >= {b"call"}


@pytest.mark.parametrize("end", ["rst", "fin"])
def test_a_server_that_ends_fails_the_calls_under_way_on_it(world: World, end: str) -> None:
    client, server, _ = pair(world)
    getattr(server, end)()
    assert client.take() == dubbo.encode(0, 35, 7, dubbo.text("the connection to the server was lost"))
    client.send(dubbo.call(8, b"again"))
    server = world.dialled()
    server.accept()
    assert sole(server).content == b"again"


def test_frames_that_were_torn_or_whole_when_the_connection_ended(world: World) -> None:
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"left"))
    server = world.dialled()
    server.accept()
    server.take()
    server.accept_bytes(20)
    client.send(dubbo.call(2, b"torn") + dubbo.call(3, b"whole") + dubbo.call(4, b"oneway", oneway=True))
    server.rst()
    assert statuses(client) == {1: 35, 2: 35}
    again = world.dialled()
    again.accept()
    assert [frame.content for frame in taken(again)] == [b"whole", b"oneway"]


def test_what_is_no_dubbo_ends_that_connection_alone(world: World) -> None:
    client, server, there = pair(world)
    other = world.connect("rpc")
    other.send(b"status\r\n")
    assert other.ended
    server.send(dubbo.answer(there.id, b"x") + b"\r\n")
    assert statuses(client) == {7: 20}
    assert server.ended
    (endpoint,) = world.proxy.clusters["app"].endpoints
    assert endpoint.in_flight == 0, "answers before what cannot be followed are counted"


def test_slow_clients_are_reset(world: World) -> None:
    client, server, there = pair(world)
    client.accept_bytes(0)
    client.send(b"".join(dubbo.call(number, b"") for number in range(100, 104)))
    for frame in [there, *taken(server)]:
        server.send(dubbo.answer(frame.id, bytes(15 << 20)))
    assert client.reset


@pytest.mark.parametrize("frame", [dubbo.heartbeat(1), dubbo.call(1, b"", interface="none")])
def test_a_client_that_asks_and_does_not_read_is_not_read_either(moving: bool, frame: bytes) -> None:
    world = World(rpc(routes=BY_INTERFACE), moving=moving)
    client = world.connect("rpc")
    client.accept_bytes(0)
    many = 65536 // len(frame)
    for _ in range(8):
        client.send(frame * many)
    (value,) = [one for one in world.proxy.values().values() if one.kind == "dubbo.downstream"]
    assert value.paused
    assert len(value.outbox) < HIGH + 65536 * 8
    client.accept_bytes(None)
    assert len(taken(client)) == 8 * many


def test_a_server_that_asks_and_does_not_read_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.multiplexed.upstream.MOST_UNREAD", 1 << 17)
    client, server, _ = pair(world)
    server.accept_bytes(0)
    for _ in range(2):
        assert not server.closed
        server.send(dubbo.heartbeat(1) * (1 << 12))
    server.send(dubbo.heartbeat(1))
    assert statuses(client) == {7: 35}


# -- silence ------------------------------------------------------------------------------------------------


def test_heartbeats_break_silence_while_a_call_is_under_way(world: World) -> None:
    client, server, there = pair(world)
    world.wait(15.1)
    assert server.take() == dubbo.heartbeat(2)
    server.send(dubbo.heartbeat_answer(2))
    world.wait(10)
    server.send(dubbo.answer(there.id, b"late"))
    assert statuses(client) == {7: 20}
    for _ in range(4):
        assert not server.ended
        world.wait(15.1)
    assert server.ended


def test_an_idle_client_is_closed_and_one_with_a_call_is_not(moving: bool) -> None:
    world = World(rpc(request_timeout=500.0, listener={"keepalive_timeout": 30.0}), moving=moving)
    idle = world.connect("rpc")
    client, server, there = pair(world)
    for _ in range(4):
        world.wait(10)
        for frame in taken(server):
            server.send(dubbo.heartbeat_answer(frame.id))
    assert idle.ended
    assert not client.ended
    server.send(dubbo.answer(there.id, b""))
    assert statuses(client) == {7: 20}


# -- readonly -----------------------------------------------------------------------------------------------


def test_a_server_that_wants_no_new_calls_gets_none(world: World) -> None:
    client, server, there = pair(world)
    server.send(dubbo.READONLY)
    assert not server.ended
    client.send(dubbo.call(8, b"elsewhere"))
    again = world.dialled()
    again.accept()
    assert sole(again).content == b"elsewhere"
    assert server.take() == b""
    server.send(dubbo.call(5, b"push"))
    client.send(dubbo.answer(sole(client).id, b"pushed"))
    assert server.take() == dubbo.answer(5, b"pushed")
    server.send(dubbo.answer(there.id, b"last"))
    assert sole(client).content == b"last"
    assert server.ended


def test_readonly_of_a_server_in_json_and_other_events(world: World) -> None:
    client, server, there = pair(world)
    server.send(dubbo.encode(0xA0, 0, 0, b"\1W") + dubbo.encode(0xA0, 0, 0, b"N"))
    client.send(dubbo.call(8, b""))
    assert len(taken(server)) == 1
    server.send(dubbo.encode(0xA0, 0, 0, b'"R"\n') + dubbo.answer(there.id, b""))
    client.send(dubbo.call(9, b""))
    assert len(world.dials) == 1
    assert client.take() == dubbo.answer(7, b"")


def test_events_of_a_client_go_nowhere(world: World) -> None:
    client, server, _ = pair(world)
    client.send(dubbo.READONLY + dubbo.encode(0xE0, 0, 4, b"\1X"))
    assert client.take() == dubbo.encode(0x20, 20, 4, b"\1X")
    assert server.take() == b""


def test_a_drain_tells_clients_and_gives_them_a_moment(world: World) -> None:
    client, server, there = pair(world)
    idle = world.connect("rpc")
    world.proxy.drain(world.kernel.clock() + 30.0)
    world.settle()
    assert (client.take(), idle.take()) == (dubbo.READONLY, dubbo.READONLY)
    world.wait(0.5)
    idle.send(dubbo.call(1, b"crossed the event"))
    servers = [server]
    while world.dials:
        servers.append(world.dialled())
        servers[-1].accept()
    for one in servers:
        for frame in taken(one):
            one.send(dubbo.answer(frame.id, frame.content))
    assert sole(idle).content == b"crossed the event"
    assert not idle.ended
    world.wait(0.6)
    assert idle.ended
    assert not client.ended
    server.send(dubbo.answer(there.id, b"last"))
    assert sole(client).content == b"last"
    assert client.ended


def test_a_client_that_ends_in_a_drain_is_not_waited_for(world: World) -> None:
    idle = world.connect("rpc")
    world.proxy.drain(world.kernel.clock() + 30.0)
    world.settle()
    assert idle.take() == dubbo.READONLY
    idle.fin()
    assert idle.ended
