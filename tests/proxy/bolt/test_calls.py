"""Calls and their answers: ids, order, dialects, routes, and what the proxy says itself."""

from __future__ import annotations

import pytest

from proxy.config.model import RouteConfig
from tests.kit import bolt
from tests.kit.bolt import DIALECTS, Dialect
from tests.proxy.bolt.scene import (
    BY_SERVICE,
    V1,
    V2,
    V2_CRC,
    Captured,
    captured,
    exchanges,
    pair,
    rpc,
    sole,
    statuses,
    taken,
)
from tests.proxy.simulation import World

CALLS = [both for both in exchanges() if both[0].kind == "rpc-request"]


@pytest.mark.parametrize(("asked", "answer"), CALLS, ids=lambda one: f"{one.source}-{one.number}")
def test_captured_calls_pass_byte_by_byte(world: World, asked: Captured, answer: Captured) -> None:
    """The first id of a connection is 1, so a call with id 1 passes unchanged; others come back with theirs."""
    client = world.connect("rpc")
    client.send(asked.frame)
    server = world.dialled()
    server.accept()
    there = sole(server)
    at = 5 if asked.proto == 1 else 6
    as_ours = bytearray(asked.frame)
    as_ours[at : at + 4] = b"\0\0\0\1"
    if asked.crc:
        as_ours[-4:] = bolt_crc(as_ours)
    assert there.raw == as_ours
    reply = bytearray(answer.frame)
    reply[at : at + 4] = b"\0\0\0\1"
    if answer.crc:
        reply[-4:] = bolt_crc(reply)
    server.send(bytes(reply))
    assert client.take() == answer.frame


def bolt_crc(frame: bytearray) -> bytes:
    import zlib

    return zlib.crc32(frame[:-4]).to_bytes(4, "big")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_clients_with_the_same_ids_get_their_own_answers(world: World, dialect: Dialect) -> None:
    first, server, one = pair(world, dialect, 7)
    second = world.connect("rpc")
    second.send(bolt.call(dialect, 7, b"second"))
    two = sole(server)
    assert one.id != two.id
    server.send(bolt.answer(dialect, two.id, b"to the second") + bolt.answer(dialect, one.id, b"to the first"))
    assert sole(first).raw == bolt.answer(dialect, 7, b"to the first")
    assert sole(second).raw == bolt.answer(dialect, 7, b"to the second")


def test_answers_come_in_any_order(world: World) -> None:
    client, server, _ = pair(world)
    client.send(b"".join(bolt.call(V1, number, b"%d" % number) for number in range(100, 110)))
    there = taken(server)
    assert [frame.content for frame in there] == [b"%d" % number for number in range(100, 110)]
    server.send(b"".join(bolt.answer(V1, frame.id, frame.content) for frame in reversed(there)))
    assert [(frame.id, frame.content) for frame in taken(client)] == [(n, b"%d" % n) for n in range(109, 99, -1)]


def test_versions_have_connections_of_their_own(world: World) -> None:
    client = world.connect("rpc")
    client.send(bolt.call(V2, 1, b"two") + bolt.call(V1, 2, b"one") + bolt.call(V2_CRC, 3, b"two with crc"))
    two, one = world.dialled(), world.dialled()
    assert world.dials == []
    two.accept()
    one.accept()
    assert [frame.content for frame in taken(two)] == [b"two", b"two with crc"]
    assert sole(one).content == b"one"


def test_frames_without_crc_stay_without(world: World) -> None:
    client, server, first = pair(world, V2_CRC, 7)
    client.send(bolt.call(V2, 8, b"plain"))
    plain = sole(server)
    assert first.dialect.crc
    assert not plain.dialect.crc
    server.send(bolt.answer(V2, first.id, b"a") + bolt.answer(V2_CRC, plain.id, b"b"))
    assert [frame.raw for frame in taken(client)] == [bolt.answer(V2, 7, b"a"), bolt.answer(V2_CRC, 8, b"b")]


def test_switch_without_variant_two_means_no_crc(world: World) -> None:
    (odd,) = [one for one in captured() if "NO crc" in one.kind]
    client = world.connect("rpc")
    client.send(odd.frame)
    server = world.dialled()
    server.accept()
    assert server.take() == odd.frame[:6] + b"\0\0\0\1" + odd.frame[10:]
    assert not client.ended


def test_clients_share_a_connection_and_busy_ones_get_more(moving: bool) -> None:
    world = World(rpc(shared_connections=2), moving=moving)
    clients = [world.connect("rpc") for _ in range(6)]
    for client in clients:
        client.send(bolt.call(V1, 1, b"x"))
    first = world.dialled()
    assert world.dials == [], "nobody else is dialled while this is under way"
    first.accept()
    assert len(taken(first)) == 6
    clients[0].send(bolt.call(V1, 2, b"x"))
    second = world.dialled()
    assert len(taken(first)) == 1, "nobody waits for the second"
    second.accept()
    clients[1].send(bolt.call(V1, 2, b"x"))
    assert taken(first) == []
    assert len(taken(second)) == 1
    assert world.dials == []


def test_endpoints_take_turns_call_by_call(moving: bool) -> None:
    world = World(rpc(endpoints=2), moving=moving)
    client = world.connect("rpc")
    client.send(b"".join(bolt.call(V1, number, b"%d" % number) for number in range(4)))
    servers = [world.dialled(), world.dialled()]
    for server in servers:
        server.accept()
    assert [[frame.content for frame in taken(server)] for server in servers] == [[b"0", b"2"], [b"1", b"3"]]


def test_oneway_calls_pass_and_want_no_answer(world: World) -> None:
    client, server, _ = pair(world)
    client.send(bolt.call(V1, 9, b"fire", oneway=True) + bolt.call(V1, 10, b"call"))
    fire, call = taken(server)
    assert (fire.type, fire.content) == (bolt.ONEWAY, b"fire")
    server.send(bolt.answer(V1, fire.id, b"?") + bolt.answer(V1, call.id, b"!"))
    assert sole(client).raw == bolt.answer(V1, 10, b"!")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", [bolt.REQUEST, bolt.ONEWAY])
def test_heartbeats_are_answered_here(world: World, dialect: Dialect, kind: int) -> None:
    client = world.connect("rpc")
    client.send(bolt.encode(dialect, kind, bolt.HEARTBEAT, 5, 3000))
    assert client.take() == bolt.heartbeat_answer(dialect, 5)
    assert world.dials == []


def test_heartbeat_of_a_server_is_answered(world: World) -> None:
    client, server, _ = pair(world)
    server.send(bolt.heartbeat(V1, 5))
    assert server.take() == bolt.heartbeat_answer(V1, 5)
    assert client.take() == b""


def test_calls_go_where_their_service_is(moving: bool) -> None:
    world = World(rpc(routes=BY_SERVICE), moving=moving)
    client = world.connect("rpc")
    services = ["com.acme.Orders:1.0", "com.other.A", "com.acme.Orders:1.0", "nobody", "com.other.B"]
    client.send(b"".join(bolt.call(V1, n, b"%d" % n, service=service) for n, service in enumerate(services)))
    app, other = world.dialled(), world.dialled()
    assert (str(app.address), str(other.address)) == ("127.0.0.1:9000", "127.0.0.1:9500")
    app.accept()
    other.accept()
    assert [frame.content for frame in taken(app)] == [b"0", b"2"]
    assert [frame.content for frame in taken(other)] == [b"1", b"4"]
    assert statuses(client) == {3: 6}


def test_calls_are_routed_by_other_headers(moving: bool) -> None:
    world = World(rpc(routes=BY_SERVICE), moving=moving)
    client = world.connect("rpc")
    header = bolt.headers(service="com.third.C", **{"X-Lane": "blue"})
    client.send(bolt.encode(V2_CRC, bolt.REQUEST, bolt.CALL, 1, 3000, header=header))
    assert str(world.dialled().address) == "127.0.0.1:9500"
    client.send(bolt.encode(V1, bolt.REQUEST, bolt.CALL, 2, 3000, header=header[:-1]))
    assert statuses(client) == {2: 9}, "the header cannot be read"
    client.send(bolt.encode(V1, bolt.ONEWAY, bolt.CALL, 3, 3000, header=header[:-1]))
    assert client.take() == b""


def test_only_the_call_without_a_route_fails(moving: bool) -> None:
    routes = (RouteConfig(cluster="app", match=BY_SERVICE[0].match),)
    world = World(rpc(routes=routes), moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(V2, 1, b"", service="x") + bolt.call(V2, 2, b"", service="com.acme.Orders:1.0"))
    assert statuses(client) == {1: 6}
    world.dialled().accept()
    assert not client.ended


def test_unknown_command_fails_alone(world: World) -> None:
    client, server, there = pair(world)
    client.send(bolt.encode(V1, bolt.REQUEST, 77, 8) + bolt.encode(V1, bolt.ONEWAY, 78, 9) + bolt.heartbeat(V1, 10))
    assert statuses(client) == {8: 9, 10: 0}
    server.send(bolt.encode(V1, bolt.REQUEST, 77, 8) + bolt.answer(V1, there.id, b""))
    assert statuses(server) == {8: 9}
    assert statuses(client) == {7: 0}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_frame_over_the_limit_fails_alone(moving: bool, dialect: Dialect) -> None:
    world = World(rpc(listener={"max_frame": 1 << 17}), moving=moving)
    client, server, there = pair(world, dialect)
    long = bolt.call(dialect, 8, bytes(1 << 17))
    client.send(long[:70_000])
    client.send(long[70_000:] + bolt.call(dialect, 9, b"short"))
    assert statuses(client) == {8: 9}
    assert sole(server).content == b"short"
    client.send(bolt.call(dialect, 10, bytes((1 << 17) - 200), oneway=True) + bolt.call(dialect, 11, b"", oneway=True))
    assert len(taken(server)) == 2
    longest = bolt.answer(dialect, there.id, bytes(1 << 24))
    for start in range(0, len(longest), 1 << 20):
        server.send(longest[start : start + (1 << 20)])
    assert statuses(client) == {7: 9}
    assert not server.ended


def test_ids_go_round_and_leave_out_those_in_use(world: World) -> None:
    client, server, there = pair(world)
    assert there.id == 1
    (upstream,) = [one for one in world.proxy.values().values() if one.kind == "bolt.upstream"]
    upstream.calls.last = 0x7FFFFFFE  # type: ignore[attr-defined]
    upstream.changes += 1
    client.send(b"".join(bolt.call(V1, number, b"") for number in range(2)))
    assert [frame.id for frame in taken(server)] == [0x7FFFFFFF, 2]
