"""Calls that somebody looks at: the access log, filters, terms of a route; straight and with handovers."""

from __future__ import annotations

import pytest

from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.bolt.scene import sole, statuses, taken
from tests.proxy.simulation import World

LOG = "access_log: {to: /log, template: '{kind} {service} {status} {outcome} {endpoint}'}"
ENDPOINT = "127.0.0.1:9000"


def rpc(listener: str, *, moving: bool, route: str = "", endpoints: str = ENDPOINT) -> World:
    return World(
        loads(
            f"""\
name: edge
listeners:
  - {{name: rpc, address: 127.0.0.1:80, protocol: bolt, routes: [{{cluster: app{route}}}], {listener}}}
clusters:
  - {{name: app, endpoints: [{endpoints}], shared_connections: 1}}
"""
        ).config,
        moving=moving,
    )


@pytest.mark.parametrize("dialect", bolt.DIALECTS)
def test_one_line_for_each_call_and_none_for_heartbeats(moving: bool, dialect: bolt.Dialect) -> None:
    world = rpc(LOG, moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 7, b"a") + bolt.heartbeat(dialect, 8) + bolt.call(dialect, 9, b"", oneway=True))
    server = world.dialled()
    server.accept()
    asked = taken(server)
    assert statuses(client) == {8: 0}
    client.send(bolt.call(dialect, 10, b"late", timeout=500) + bolt.call(dialect, 11, b"left"))
    server.send(bolt.answer(dialect, asked[0].id, b"b"))
    assert sole(client).raw == bolt.answer(dialect, 7, b"b")
    world.wait(0.6)
    assert statuses(client) == {10: 7}
    server.send(bolt.call(dialect, 5, b"push"))
    client.send(bolt.answer(dialect, sole(client).id, b"pushed"))
    client.rst()
    assert sorted(world.lines["/log"]) == [
        f"call kit - aborted {ENDPOINT}",
        f"call kit 0 ok {ENDPOINT}",
        f"call kit 7 own {ENDPOINT}",
        f"oneway kit - ok {ENDPOINT}",
        f"push kit 0 ok {ENDPOINT}",
    ]


@pytest.mark.parametrize("dialect", bolt.DIALECTS)
def test_headers_are_edited_in_both_directions(moving: bool, dialect: bolt.Dialect) -> None:
    edits = "{request: {set: {x-edge: one}, remove: [service]}, response: {set: {x-back: two}}}"
    world = rpc(f"filters: [{{name: headers, config: {edits}}}]", moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 7, b"content"))
    server = world.dialled()
    server.accept()
    there = sole(server)
    assert (there.header, there.content) == (bolt.headers(**{"x-edge": "one"}), b"content")
    server.send(bolt.answer(dialect, there.id, b"answer"))
    back = sole(client)
    assert (back.id, back.header, back.content) == (7, bolt.headers(**{"x-back": "two"}), b"answer")


def test_refused_calls_get_an_error_frame_and_the_others_go_on(moving: bool) -> None:
    dialect = bolt.DIALECTS[0]
    rules = "{rules: [{action: allow, headers: {service: kit}}]}"
    world = rpc(
        f"filters: [{{name: rbac, config: {rules}}}, {{name: rate_limit, config: {{rate: 1, burst: 1}}}}], {LOG}",
        moving=moving,
    )
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 1, b"", service="x") + bolt.call(dialect, 2, b"") + bolt.call(dialect, 3, b""))
    assert statuses(client) == {1: 1, 3: 4}
    server = world.dialled()
    server.accept()
    server.send(bolt.answer(dialect, sole(server).id, b""))
    assert statuses(client) == {2: 0}
    assert world.lines["/log"] == ["call x 1 own -", "call kit 4 own -", f"call kit 0 ok {ENDPOINT}"]


def test_delayed_call_lets_others_pass_and_keeps_its_own_time(moving: bool) -> None:
    dialect = bolt.DIALECTS[2]
    config = "{delay: 1, headers: {service: slow}}"
    world = rpc(f"filters: [{{name: fault, config: {config}}}], {LOG}", moving=moving)
    client = world.connect("rpc")
    client.send(
        bolt.call(dialect, 1, b"slow", service="slow")
        + bolt.call(dialect, 2, b"slow", service="slow", timeout=600)
        + bolt.call(dialect, 3, b"quick")
    )
    server = world.dialled()
    server.accept()
    quick = sole(server)
    assert quick.content == b"quick"
    world.wait(0.7)
    assert statuses(client) == {2: 7}
    world.wait(0.4)
    slow = sole(server)
    assert slow.content == b"slow"
    server.send(bolt.answer(dialect, slow.id, b"s") + bolt.answer(dialect, quick.id, b"q"))
    assert {frame.id: frame.content for frame in taken(client)} == {1: b"s", 3: b"q"}
    assert len(world.lines["/log"]) == 3


def test_client_that_leaves_with_a_delayed_call_has_its_line(moving: bool) -> None:
    world = rpc(f"filters: [{{name: fault, config: {{delay: 1}}}}], {LOG}", moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(bolt.DIALECTS[0], 1, b""))
    client.rst()
    world.wait(2)
    assert world.lines["/log"] == ["call kit - aborted -"]
    assert world.dials == []


def test_subset_and_request_timeout_of_a_route_hold_for_its_calls(moving: bool) -> None:
    endpoints = "127.0.0.1:9000, {address: 127.0.0.1:9001, labels: {v: b}}"
    world = rpc("backlog: 10", moving=moving, route=", subset: {v: b}, request_timeout: 2s", endpoints=endpoints)
    client = world.connect("rpc")
    client.send(bolt.call(bolt.DIALECTS[0], 1, b"", timeout=0) + bolt.call(bolt.DIALECTS[0], 2, b"", timeout=9000))
    server = world.dialled()
    assert str(server.address) == "127.0.0.1:9001"
    server.accept()
    assert world.dials == []
    world.wait(2.1)
    assert statuses(client) == {1: 7}


@pytest.mark.parametrize("retries", [0, 1])
def test_retries_of_a_route_send_calls_again_that_never_left(moving: bool, retries: int) -> None:
    dialect = bolt.DIALECTS[0]
    world = rpc("backlog: 10", moving=moving, route=f", retries: {retries}")
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 1, b"first"))
    server = world.dialled()
    server.accept()
    server.take()
    server.accept_bytes(0)
    client.send(bolt.call(dialect, 2, b"second"))
    server.rst()
    assert statuses(client) == ({1: 16} if retries else {1: 16, 2: 8})
    assert len(world.dials) == retries


def test_call_waits_for_room_at_a_slow_server(moving: bool) -> None:
    dialect = bolt.DIALECTS[1]
    world = rpc(LOG, moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 1, b""))
    server = world.dialled()
    server.accept()
    server.take()
    server.accept_bytes(0)
    other = world.connect("rpc")
    client.send(bolt.call(dialect, 2, bytes(70_000)))
    other.send(bolt.call(dialect, 3, b"other"))
    server.accept_bytes(None)
    frames = taken(server)
    assert [len(frame.content) for frame in frames] == [70_000, 5]
    server.send(b"".join(bolt.answer(dialect, frame.id, b"") for frame in frames))
    assert statuses(client) == {2: 0}
    assert statuses(other) == {3: 0}
    assert len(world.lines["/log"]) == 2


def test_every_call_behind_one_that_had_to_wait_for_room_goes_on(moving: bool) -> None:
    dialect = bolt.DIALECTS[1]
    world = rpc(LOG, moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(dialect, 1, b""))
    server = world.dialled()
    server.accept()
    server.take()
    server.accept_bytes(0)
    client.inbox += b"".join(bolt.call(dialect, 10 + number, bytes(30_000)) for number in range(2))
    world.settle()
    client.send(b"".join(bolt.call(dialect, 20 + number, bytes(15_000)) for number in range(8)))
    server.accept_bytes(None)
    frames = taken(server)
    assert len(frames) == 10
    server.send(b"".join(bolt.answer(dialect, frame.id, b"") for frame in frames))
    assert len(statuses(client)) == 10


def test_calls_behind_as_many_as_a_filter_may_hold_go_on(moving: bool) -> None:
    dialect = bolt.DIALECTS[1]
    world = rpc("filters: [{name: fault, config: {delay: 1}}]", moving=moving)
    client = world.connect("rpc")
    client.send(b"".join(bolt.call(dialect, 10 + number, bytes(12_000)) for number in range(8)))
    world.wait(1.1)
    server = world.dialled()
    server.accept()
    frames = taken(server)
    world.wait(1.1)
    assert len(frames) + len(taken(server)) == 8


def test_reset_by_a_filter_leaves_a_line_for_each_call_that_it_costs(moving: bool) -> None:
    config = "{abort_percent: 100, status: 0, headers: {service: bad}}"
    world = rpc(f"filters: [{{name: fault, config: {config}}}], {LOG}", moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(bolt.DIALECTS[0], 1, b""))
    world.dialled().accept()
    client.send(bolt.call(bolt.DIALECTS[0], 2, b"", service="bad"))
    assert client.ended
    assert sorted(world.lines["/log"]) == ["call bad - aborted -", f"call kit - aborted {ENDPOINT}"]
