"""Calls, answers, heartbeats: straight, and with a handover after every step."""

from __future__ import annotations

import msgspec
import pytest

from hotswap.address import Address
from proxy.config.model import RouteConfig
from tests.kit import bolt, dubbo
from tests.proxy.dubbo.scene import BY_GROUP, BY_INTERFACE, Captured, exchanges, pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World

NAMES = [f"{request.source.split()[0]}-{request.number}" for request, _ in exchanges()]


@pytest.mark.parametrize(("request_", "response"), exchanges(), ids=NAMES)
def test_frames_of_real_peers_pass_but_for_their_ids(moving: bool, request_: Captured, response: Captured) -> None:
    world = World(rpc(), moving=moving)
    client = world.connect("rpc")
    client.send(request_.frame)
    server = world.dialled()
    server.accept()
    there = server.take()
    assert there[:4] + there[12:] == request_.frame[:4] + request_.frame[12:]
    back = bytearray(response.frame)
    back[4:12] = there[4:12]
    server.send(bytes(back))
    assert client.take() == response.frame


@pytest.mark.parametrize("number", [0, -1, -(1 << 63), (1 << 63) - 1, 1])
def test_any_id_of_a_client_comes_back(moving: bool, number: int) -> None:
    world = World(rpc(), moving=moving)
    client, server, there = pair(world, number)
    assert there.id == 1
    server.send(dubbo.answer(1, b"back"))
    assert client.take() == dubbo.answer(number, b"back")


def test_calls_of_all_clients_share_a_connection_and_answers_come_in_any_order(world: World) -> None:
    one, two = world.connect("rpc"), world.connect("rpc")
    one.send(dubbo.call(0, b"a") + dubbo.call(1, b"b"))
    server = world.dialled()
    server.accept()
    two.send(dubbo.call(0, b"c"))
    frames = taken(server)
    assert len({frame.id for frame in frames}) == 3
    for frame in reversed(frames):
        server.send(dubbo.answer(frame.id, frame.content))
    assert {frame.id: frame.content for frame in taken(one)} == {0: b"a", 1: b"b"}
    assert {frame.id: frame.content for frame in taken(two)} == {0: b"c"}
    assert world.dials == []


def test_bolt_and_dubbo_share_a_cluster_but_no_connection(moving: bool) -> None:
    config = rpc()
    other = msgspec.structs.replace(
        config.listeners[0], name="bolt", protocol="bolt", address=Address.parse("127.0.0.1:12200")
    )
    world = World(msgspec.structs.replace(config, listeners=(*config.listeners, other)), moving=moving)
    world.connect("rpc").send(dubbo.call(1, b""))
    world.connect("bolt").send(bolt.call(bolt.DIALECTS[0], 1, b""))
    first, second = world.dialled(), world.dialled()
    first.accept()
    second.accept()
    assert (first.take()[:2], second.take()[:2]) == (b"\xda\xbb", b"\1\1")
    told = [one.describe() for one in world.proxy.values().values() if one.kind.endswith("upstream")]
    assert [about.get("version") for about in told] == [None, 1]


def test_oneway_call_is_never_answered(moving: bool) -> None:
    routes = (RouteConfig(cluster="app", match=BY_INTERFACE[0].match),)
    world = World(rpc(routes=routes), moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"", oneway=True) + dubbo.call(2, b"", oneway=True, interface="com.acme.Orders"))
    server = world.dialled()
    server.accept()
    there = sole(server)
    assert there.flags == dubbo.REQUEST
    server.send(dubbo.answer(there.id, b"nobody asked"))
    server.send(dubbo.answer(2, b"nor here"))
    assert client.take() == b""
    world.wait(40)
    assert client.take() == b""


def test_heartbeats_are_answered_to_both_sides(world: World) -> None:
    client, server, there = pair(world)
    client.send(dubbo.heartbeat(-5) + dubbo.encode(0xA0, 0, 9, b"N"))
    assert client.take() == dubbo.heartbeat_answer(-5)
    server.send(dubbo.heartbeat(0) + dubbo.encode(0xA0, 0, 9, b"N"))
    assert server.take() == dubbo.heartbeat_answer(0)
    server.send(dubbo.answer(there.id, b"x"))
    assert statuses(client) == {7: 20}


def test_calls_go_where_their_interface_method_and_version_say(moving: bool) -> None:
    world = World(rpc(routes=BY_INTERFACE), moving=moving)
    client = world.connect("rpc")
    calls = [
        ("com.acme.Orders", "any", "2.0.0"),
        ("com.other.A", "getAll", "1.5.0"),
        ("com.other.A", "putAll", "1.5.0"),
        ("com.other.B", "get", "1.55.0"),
        ("com.acme.Orders", "x", ""),
        ("com.other.B", "get", "1.0.0"),
    ]
    client.send(
        b"".join(
            dubbo.call(n, b"%d" % n, interface=interface, method=method, version=version)
            for n, (interface, method, version) in enumerate(calls)
        )
    )
    app, other = world.dialled(), world.dialled()
    assert (str(app.address), str(other.address)) == ("127.0.0.1:9000", "127.0.0.1:9500")
    app.accept()
    other.accept()
    assert [frame.content for frame in taken(app)] == [b"0", b"4"]
    assert [frame.content for frame in taken(other)] == [b"1", b"5"]
    assert statuses(client) == {2: 60, 3: 60}


def test_calls_go_where_their_group_and_attachments_say(moving: bool) -> None:
    world = World(rpc(routes=BY_GROUP), moving=moving)
    client = world.connect("rpc")
    client.send(
        dubbo.call(1, b"1", attached={"group": "blue"})
        + dubbo.call(2, b"2", attached={"group": "red"})
        + dubbo.call(3, b"3", attached={"X-Lane": "green"})
        + dubbo.call(4, b"4", interface="other", attached={"interface": "kit.Echo"})
    )
    other, app = world.dialled(), world.dialled()
    assert (str(app.address), str(other.address)) == ("127.0.0.1:9000", "127.0.0.1:9500")
    app.accept()
    other.accept()
    assert [frame.content for frame in taken(app)] == [b"2", b"4"]
    assert [frame.content for frame in taken(other)] == [b"1", b"3"]


def test_a_body_that_cannot_be_read_fails_alone_where_a_route_needs_it(moving: bool) -> None:
    world = World(rpc(routes=BY_GROUP), moving=moving)
    client = world.connect("rpc")
    body = dubbo.introduction("kit.Echo", "echo", "1", "[B") + b"\x40"
    client.send(dubbo.encode(0xC0, 0, 1, body) + dubbo.encode(0x80, 0, 2, body) + dubbo.call(3, b"good"))
    assert statuses(client) == {1: 40}
    server = world.dialled()
    server.accept()
    assert sole(server).content == b"good"


def test_a_body_that_cannot_be_read_passes_where_no_route_needs_it(world: World) -> None:
    client = world.connect("rpc")
    client.send(dubbo.encode(0xC0, 0, 1, b"\x40"))
    server = world.dialled()
    server.accept()
    there = server.take()
    assert there == dubbo.encode(0xC0, 0, 1, b"\x40")


def test_frame_over_the_limit_fails_alone(moving: bool) -> None:
    world = World(rpc(listener={"max_frame": 1 << 17}), moving=moving)
    client, server, there = pair(world)
    long = dubbo.call(8, bytes(1 << 17))
    client.send(long[:70_000])
    client.send(long[70_000:] + dubbo.call(9, b"short"))
    assert statuses(client) == {8: 40}
    assert sole(server).content == b"short"
    client.send(dubbo.call(10, bytes(1 << 17), oneway=True) + dubbo.call(11, bytes((1 << 17) - 300)))
    assert len(taken(server)) == 1
    longest = dubbo.answer(there.id, bytes(1 << 24))
    for start in range(0, len(longest), 1 << 20):
        server.send(longest[start : start + (1 << 20)])
    assert statuses(client) == {7: 50}
    assert not server.ended


def test_ids_go_round_and_leave_out_those_in_use(world: World) -> None:
    client, server, there = pair(world)
    assert there.id == 1
    (upstream,) = [one for one in world.proxy.values().values() if one.kind == "dubbo.upstream"]
    upstream.calls.last = 0x7FFFFFFE  # type: ignore[attr-defined]
    upstream.changes += 1
    client.send(b"".join(dubbo.call(number, b"") for number in range(2)))
    assert [frame.id for frame in taken(server)] == [0x7FFFFFFF, 2]


def test_an_answer_with_the_flag_of_a_request_for_answers_is_one(world: World) -> None:
    client, server, there = pair(world)
    server.send(dubbo.encode(dubbo.TWOWAY, 20, there.id, b"\x92"))
    assert statuses(client) == {7: 20}


def test_exceptions_of_the_application_are_no_errors() -> None:
    world = World(rpc())
    client, server, there = pair(world)
    server.send(dubbo.encode(0, 20, there.id, b"\x90" + dubbo.text("boom")))
    assert sole(client).body == b"\x90" + dubbo.text("boom")
    (listener,) = world.proxy.listeners.values()
    requests = listener.meters._families.requests
    assert [requests.labels(listener.name, "*", how).value for how in ("ok", "error")] == [1, 0]
