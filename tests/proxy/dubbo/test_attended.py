"""Calls that somebody looks at: the access log, filters, terms of a route; straight and with handovers."""

from __future__ import annotations

import pytest

from proxy.config.loader import loads
from tests.kit import dubbo
from tests.proxy.dubbo.scene import sole, statuses, taken
from tests.proxy.simulation import World

LOG = "access_log: {to: /log, template: '{kind} {service} {method} {status} {outcome} {endpoint} {header.traceid}'}"
ENDPOINT = "127.0.0.1:9000"


def rpc(listener: str, *, moving: bool, route: str = "", endpoints: str = ENDPOINT, cluster: str = "") -> World:
    return World(
        loads(
            f"""\
name: edge
listeners:
  - {{name: rpc, address: 127.0.0.1:80, protocol: dubbo, routes: [{{cluster: app{route}}}], {listener}}}
clusters:
  - {{name: app, endpoints: [{endpoints}], shared_connections: 1, {cluster}}}
"""
        ).config,
        moving=moving,
    )


def test_one_line_for_each_call_and_none_for_heartbeats(moving: bool) -> None:
    world = rpc(LOG, moving=moving, cluster="request_timeout: 500ms")
    client = world.connect("rpc")
    client.send(
        dubbo.call(7, b"a", version="0.0.0", attached={"traceId": "t-1"})
        + dubbo.heartbeat(8)
        + dubbo.call(9, b"", oneway=True)
    )
    server = world.dialled()
    server.accept()
    asked = taken(server)
    assert statuses(client) == {8: 20}
    server.send(dubbo.answer(asked[0].id, b"b"))
    assert sole(client).raw == dubbo.answer(7, b"b")
    client.send(dubbo.call(10, b"late"))
    world.wait(0.6)
    assert statuses(client) == {10: 31}
    client.send(dubbo.call(11, b"left", interface="a.B"))
    server.send(dubbo.call(5, b"push"))
    client.send(dubbo.answer(sole(client).id, b"pushed"))
    client.rst()
    assert sorted(world.lines["/log"]) == [
        f"call a.B:1.0.0 echo - aborted {ENDPOINT} -",
        f"call kit.Echo echo 20 ok {ENDPOINT} t-1",
        f"call kit.Echo:1.0.0 echo 31 own {ENDPOINT} -",
        f"oneway kit.Echo:1.0.0 echo - ok {ENDPOINT} -",
        f"push kit.Echo:1.0.0 echo 20 ok {ENDPOINT} -",
    ]


def test_a_body_that_cannot_be_read_has_a_line_and_passes(moving: bool) -> None:
    world = rpc(LOG, moving=moving)
    client = world.connect("rpc")
    whole = dubbo.introduction("a.B", "c", "1", "I") + b"\x40"
    client.send(dubbo.encode(0xC0, 0, 1, b"\x40") + dubbo.encode(0xC0, 0, 2, whole))
    server = world.dialled()
    server.accept()
    for frame in taken(server):
        server.send(dubbo.answer(frame.id, b""))
    assert statuses(client) == {1: 20, 2: 20}
    assert world.lines["/log"] == [f"call - - 20 ok {ENDPOINT} -", f"call a.B:1 c 20 ok {ENDPOINT} -"]


def test_attachments_are_edited_in_both_directions(moving: bool) -> None:
    edits = "{request: {set: {x-edge: one}, remove: [traceid]}, response: {set: {x-back: two}}}"
    world = rpc(f"filters: [{{name: headers, config: {edits}}}]", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(-7, b"content", attached={"traceId": "t-1", "group": "blue"}))
    server = world.dialled()
    server.accept()
    there = sole(server)
    assert there.raw == dubbo.call(there.id, b"content", attached={"group": "blue", "x-edge": "one"})
    server.send(dubbo.encode(0, 20, there.id, b"\x94T" + dubbo.attachments({"dubbo": "2.0.2"})))
    back = sole(client)
    assert back.raw == dubbo.encode(0, 20, -7, b"\x94T" + dubbo.attachments({"dubbo": "2.0.2", "x-back": "two"}))


def test_answers_that_a_filter_cannot_read_fail_alone(moving: bool) -> None:
    world = rpc("filters: [{name: headers, config: {response: {set: {x-back: two}}}}]", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"") + dubbo.call(2, b""))
    server = world.dialled()
    server.accept()
    first, second = taken(server)
    server.send(dubbo.encode(0, 20, first.id, b"\x94\x40") + dubbo.answer(second.id, b""))
    assert statuses(client) == {1: 80, 2: 20}


def test_refused_calls_get_an_error_and_the_others_go_on(moving: bool) -> None:
    rules = "{rules: [{action: allow, headers: {interface: kit.Echo, method: echo}}]}"
    world = rpc(
        f"filters: [{{name: rbac, config: {rules}}}, {{name: rate_limit, config: {{rate: 1, burst: 1}}}}], {LOG}",
        moving=moving,
    )
    client = world.connect("rpc")
    client.send(
        dubbo.call(1, b"", interface="x")
        + dubbo.call(2, b"")
        + dubbo.call(3, b"")
        + dubbo.call(4, b"", method="y")
        + dubbo.encode(0xC0, 0, 5, b"\x40")
    )
    assert statuses(client) == {1: 70, 3: 100, 4: 70, 5: 40}
    server = world.dialled()
    server.accept()
    server.send(dubbo.answer(sole(server).id, b""))
    assert statuses(client) == {2: 20}


def test_delayed_call_lets_others_pass(moving: bool) -> None:
    config = "{delay: 1, headers: {interface: slow}}"
    world = rpc(f"filters: [{{name: fault, config: {config}}}]", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"slow", interface="slow") + dubbo.call(3, b"quick"))
    server = world.dialled()
    server.accept()
    quick = sole(server)
    assert quick.content == b"quick"
    world.wait(1.1)
    slow = sole(server)
    assert slow.content == b"slow"
    server.send(dubbo.answer(slow.id, b"s") + dubbo.answer(quick.id, b"q"))
    assert {frame.id: frame.content for frame in taken(client)} == {1: b"s", 3: b"q"}


def test_subset_and_request_timeout_of_a_route_hold_for_its_calls(moving: bool) -> None:
    endpoints = "127.0.0.1:9000, {address: 127.0.0.1:9001, labels: {v: b}}"
    world = rpc("backlog: 10", moving=moving, route=", subset: {v: b}, request_timeout: 2s", endpoints=endpoints)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b""))
    server = world.dialled()
    assert str(server.address) == "127.0.0.1:9001"
    server.accept()
    world.wait(2.1)
    assert statuses(client) == {1: 31}


@pytest.mark.parametrize("retries", [0, 1])
def test_retries_of_a_route_send_calls_again_that_never_left(moving: bool, retries: int) -> None:
    world = rpc("backlog: 10", moving=moving, route=f", retries: {retries}")
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"first"))
    server = world.dialled()
    server.accept()
    server.take()
    server.accept_bytes(0)
    client.send(dubbo.call(2, b"second"))
    server.rst()
    assert statuses(client) == ({1: 35} if retries else {1: 35, 2: 90})
    assert len(world.dials) == retries


def test_frame_over_the_limit_has_a_line(moving: bool) -> None:
    world = rpc(f"max_frame: 128KB, {LOG}", moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, bytes(1 << 17)))
    assert statuses(client) == {1: 40}
    assert world.lines["/log"] == ["call - - 40 own - -"]
