"""What is counted of calls of bolt. Playbooks run through handovers as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kit import bolt
from tests.proxy.bolt.scene import V1, V2, sole, statuses, taken
from tests.proxy.metrics.scene import Counted, apply, edge, gauges
from tests.proxy.simulation import Socket

AT = "app 127.0.0.1:9000"

Build = Callable[..., Counted]


@pytest.fixture
def proxy(moving: bool) -> Build:
    def build(cluster: str = "", routes: str = "{cluster: app}", listener: str = "") -> Counted:
        config = edge(cluster, rpc=f", routes: [{routes}]{listener}")
        return Counted(config, moving=moving)

    return build


def called(world: Counted, *frames: bytes) -> tuple[Socket, Socket, list[int]]:
    """A client whose calls are under way, the server, and the ids that it got."""
    client = world.connect("rpc")
    client.send(b"".join(frames))
    server = world.dialled()
    server.accept()
    return client, server, [frame.id for frame in taken(server)]


def test_answers_are_counted_by_their_status(proxy: Build) -> None:
    world = proxy()
    client, server, ids = called(world, *(bolt.call(V1, number, b"") for number in (1, 2, 3)))
    server.send(bolt.answer(V1, ids[0], b"") + bolt.answer(V1, ids[2], b"") + bolt.answer(V1, ids[1], b"", status=2))
    assert statuses(client) == {1: 0, 2: 2, 3: 0}
    assert world.told() == {
        "requests rpc * ok": 2,
        "requests rpc * error": 1,
        f"upstream_requests {AT} ok": 2,
        f"upstream_requests {AT} error": 1,
        f"upstream_request_duration {AT}": 3,
    }


def test_routes_are_told_apart_within_one_read_and_through_handovers(proxy: Build) -> None:
    world = proxy(routes="{name: orders, match: {service: orders}, cluster: app}, {match: {service: x*}, cluster: app}")
    services = ("orders", "orders", "x1", "orders", "other", "x2")
    client, server, ids = called(world, *(bolt.call(V1, n, b"", service=one) for n, one in enumerate(services)))
    server.send(b"".join(bolt.answer(V1, one, b"") for one in ids))
    assert len(statuses(client)) == 6
    assert world.only("requests") == {
        "requests rpc orders ok": 3,
        "requests rpc service=x* ok": 2,
        "requests rpc - error": 1,
        f"upstream_requests {AT} ok": 5,
    }


def test_bytes_are_those_of_the_wire(proxy: Build) -> None:
    world = proxy()
    question = bolt.call(V2, 1, b"question")
    client = world.connect("rpc")
    client.send(question)
    server = world.dialled()
    server.accept()
    asked = server.take()
    answer = bolt.answer(V2, bolt.FrameReader().feed(asked)[0].id, b"answer")
    server.send(answer)
    assert world.only("_bytes") == {
        "downstream_received_bytes rpc": len(question),
        "downstream_sent_bytes rpc": len(client.take()),
        f"upstream_received_bytes {AT}": len(answer),
        f"upstream_sent_bytes {AT}": len(asked),
    }


def test_time_that_is_up_is_a_timeout_and_the_late_answer_nothing(proxy: Build) -> None:
    world = proxy()
    client, server, ids = called(world, bolt.call(V1, 1, b"", timeout=1000))
    world.wait(1.1)
    server.send(bolt.answer(V1, ids[0], b"late"))
    assert len(taken(client)) == 1
    assert world.told() == {"requests rpc * error": 1, "request_timeouts rpc *": 1, f"upstream_timeouts {AT}": 1}


def test_server_that_goes_is_one_reset_however_many_calls_it_costs(proxy: Build) -> None:
    world = proxy()
    _, server, _ = called(world, bolt.call(V1, 1, b""), bolt.call(V1, 2, b""))
    server.rst()
    assert world.told() == {"requests rpc * error": 2, f"upstream_resets {AT}": 1}


def test_call_that_never_left_is_sent_again_and_counted_once(proxy: Build) -> None:
    world = proxy()
    client, server, ids = called(world, bolt.call(V1, 1, b""))
    server.accept_bytes(0)
    client.send(bolt.call(V1, 2, b""))
    server.rst()
    second = world.dialled()
    second.accept()
    second.send(bolt.answer(V1, sole(second).id, b""))
    assert statuses(client) == {1: 16, 2: 0}
    assert world.told() == {
        "requests rpc * ok": 1,
        "requests rpc * error": 1,
        "upstream_retries app": 1,
        f"upstream_resets {AT}": 1,
        f"upstream_requests {AT} ok": 1,
        f"upstream_request_duration {AT}": 1,
    }
    assert len(ids) == 1


def test_calls_that_limits_refuse_are_overflows(proxy: Build) -> None:
    world = proxy(", limits: {max_requests: 1}")
    client, _, _ = called(world, bolt.call(V1, 1, b""))
    client.send(bolt.call(V1, 2, b""))
    assert world.told() == {"requests rpc * error": 1, "upstream_overflows app": 1}


def test_endpoint_that_cannot_be_reached_costs_each_call_once(proxy: Build) -> None:
    world = proxy()
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"") + bolt.call(V1, 2, b""))
    world.dialled().refuse()
    assert set(statuses(client).values()) == {8}
    assert world.told() == {"requests rpc * error": 2, f"upstream_connect_failures {AT} refused": 1}


def test_call_that_is_too_long_is_answered_and_counted(proxy: Build) -> None:
    world = proxy(listener=", max_frame: 128KB")
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"x" * 200_000) + bolt.call(V1, 2, b"x" * 200_000, oneway=True))
    assert len(taken(client)) == 1
    assert world.told() == {"requests rpc - error": 1}


def test_oneway_calls_and_heartbeats_are_no_requests(proxy: Build) -> None:
    world = proxy()
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"", oneway=True) + bolt.heartbeat(V1, 2))
    world.dialled().accept()
    assert len(taken(client)) == 1
    assert world.told() == {}


def test_calls_that_are_looked_at_are_timed_at_their_route(proxy: Build) -> None:
    world = proxy(routes="{name: slow, cluster: app, request_timeout: 9s}")
    _, server, ids = called(world, bolt.call(V1, 1, b"", timeout=0), bolt.call(V1, 2, b"", timeout=0))
    world.wait(3.0)
    server.send(bolt.answer(V1, ids[0], b""))
    world.wait(6.1)
    assert world.told() == {
        "requests rpc slow ok": 1,
        "requests rpc slow error": 1,
        "request_timeouts rpc slow": 1,
        "request_duration rpc slow": 2,
        f"upstream_requests {AT} ok": 1,
        f"upstream_request_duration {AT}": 1,
        f"upstream_timeouts {AT}": 1,
    }
    times = [one.families.durations.labels("rpc", "slow").sum for one in world.generations]
    assert sum(times) == pytest.approx(12.1)


def test_calls_under_way_are_seen_at_their_listener_and_their_endpoint(proxy: Build) -> None:
    world = proxy()
    _, server, ids = called(world, bolt.call(V1, 1, b""), bolt.call(V1, 2, b""))
    seen = gauges(world.proxy)
    assert (seen["requests_active rpc"], seen[f"upstream_requests_active {AT}"]) == (2, 2)
    assert seen[f"upstream_connections_active {AT} plain active"] == 1
    server.send(bolt.answer(V1, ids[0], b"") + bolt.answer(V1, ids[1], b""))
    assert "requests_active rpc" not in gauges(world.proxy)


def test_calls_that_began_before_a_reload_keep_their_route() -> None:
    world = Counted(edge(rpc=", routes: [{name: before, cluster: app}]"))
    _, server, ids = called(world, bolt.call(V1, 1, b""))
    apply(world, edge(rpc=", routes: [{name: after, cluster: app}]"))
    server.send(bolt.answer(V1, ids[0], b""))
    assert world.only("requests")["requests rpc before ok"] == 1
