"""What is counted of requests of HTTP/1.1, for each way in which one can end. Playbooks run through handovers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.metrics.scene import GET, OK, POST, SORRY, Counted, ask, edge
from tests.proxy.simulated_kernel import SimulatedCalls

AT = "app 127.0.0.1:9000"
TIMED = {"request_duration web *": 1}
ANSWERED = {"upstream_request_duration app 127.0.0.1:9000": 1}

Build = Callable[..., Counted]


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args, **settings: Counted(edge(*args, **settings), moving=moving)


def test_answer_of_an_endpoint_is_counted_there_and_at_its_route(proxy: Build) -> None:
    world = proxy()
    client, server = ask(world)
    server.send(OK)
    client.send(GET)
    server.send(SORRY)
    assert world.told() == {
        "requests web * 2xx": 1,
        "requests web * 5xx": 1,
        "request_duration web *": 2,
        f"upstream_requests {AT} 2xx": 1,
        f"upstream_requests {AT} 5xx": 1,
        f"upstream_request_duration {AT}": 2,
    }


def test_routes_are_told_apart_by_name_or_conditions(proxy: Build) -> None:
    routes = "{name: orders, match: {prefix: /o}, cluster: app}, {match: {path: /x, headers: {a: b}}, cluster: app}"
    world = proxy(listener=f", routes: [{routes}]")
    client, server = ask(world, GET.replace(b" / ", b" /o/1 "))
    server.send(OK)
    client.send(GET.replace(b" / ", b" /x ").replace(b"\r\n\r\n", b"\r\na: b\r\n\r\n"))
    server.send(OK)
    client.send(GET)  # 404
    assert world.only("requests", "request_duration") == {
        "requests web orders 2xx": 1,
        'requests web path=/x headers=[["a","b"]] 2xx': 1,
        "requests web - 4xx": 1,
        "request_duration web orders": 1,
        'request_duration web path=/x headers=[["a","b"]]': 1,
        "request_duration web -": 1,
        f"upstream_requests {AT} 2xx": 2,
        f"upstream_request_duration {AT}": 2,
    }


def test_requests_that_come_in_one_piece_are_counted_one_by_one(proxy: Build) -> None:
    world = proxy()
    _, server = ask(world, GET * 3)
    for _ in range(3):
        server.send(OK)
    assert world.only("requests") == {"requests web * 2xx": 3, f"upstream_requests {AT} 2xx": 3}


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n", b"GET /" + b"x" * 100_000])
def test_what_is_no_request_is_answered_without_a_route_and_without_a_duration(proxy: Build, head: bytes) -> None:
    world = proxy()
    world.wait(1000.0)
    world.connect("web").send(head)
    assert world.told() == {"requests web - 4xx": 1}


def test_head_that_does_not_come_is_a_timeout(proxy: Build) -> None:
    world = proxy()
    client, server = ask(world)
    server.send(OK)
    client.send(GET[:10])
    world.wait(61.0)
    assert world.told() == {
        "requests web * 2xx": 1,
        "requests web - 4xx": 1,
        "request_timeouts web -": 1,
        f"upstream_requests {AT} 2xx": 1,
        **TIMED,
        **ANSWERED,
    }


def test_body_that_does_not_come_is_a_timeout_of_its_route(proxy: Build) -> None:
    world = proxy()
    ask(world, POST)
    world.wait(61.0)
    assert world.told() == {"requests web * 4xx": 1, "request_timeouts web *": 1, **TIMED}


def test_endpoint_that_does_not_answer_is_a_timeout_of_both(proxy: Build) -> None:
    world = proxy(", request_timeout: 1s")
    ask(world)
    world.wait(1.1)
    assert world.told() == {
        "requests web * 5xx": 1,
        "request_timeouts web *": 1,
        f"upstream_timeouts {AT}": 1,
        **TIMED,
    }


def test_endpoints_that_cannot_be_reached_are_failures_to_connect(proxy: Build) -> None:
    world = proxy(", connect_timeout: 1s", endpoints=2)
    world.connect("web").send(GET)
    first = world.dialled()
    first.refuse()
    world.wait(1.1)
    assert world.told() == {
        "requests web * 5xx": 1,
        "request_timeouts web *": 1,  # the last of them took too long
        f"upstream_connect_failures app {first.address} refused": 1,
        f"upstream_connect_failures app 127.0.0.1:{9001 if str(first.address).endswith('0') else 9000} timeout": 1,
        **TIMED,
    }
    assert world.only("upstream_connect_duration", "upstream_connections") == {}


def test_no_endpoint_at_all_is_no_timeout(proxy: Build) -> None:
    world = proxy()
    world.refusing = {"127.0.0.1:9000": 111}
    world.connect("web").send(GET)
    assert world.told() == {"requests web * 5xx": 1, f"upstream_connect_failures {AT} refused": 1, **TIMED}


def test_request_that_is_sent_again_is_one_request_and_one_retry(proxy: Build) -> None:
    world = proxy()
    client, server = ask(world)
    server.rst()
    second = world.dialled()
    second.accept()
    second.send(OK)
    assert client.take()
    assert world.told() == {
        "requests web * 2xx": 1,
        "upstream_retries app": 1,
        f"upstream_resets {AT}": 1,
        f"upstream_requests {AT} 2xx": 1,
        **TIMED,
        **ANSWERED,
    }


def test_request_that_may_not_be_sent_again_is_lost_once(proxy: Build) -> None:
    world = proxy()
    _, server = ask(world, POST + b"123456789")
    server.rst()
    assert world.told() == {"requests web * 5xx": 1, f"upstream_resets {AT}": 1, **TIMED}


def test_answer_that_is_malformed_is_ours(proxy: Build) -> None:
    world = proxy()
    _, server = ask(world)
    server.send(b"HTTP/1.1 nonsense\r\n\r\n")
    assert world.told() == {"requests web * 5xx": 1, **TIMED}


def test_response_that_is_broken_off_has_its_class_and_a_reset(proxy: Build) -> None:
    world = proxy()
    _, server = ask(world)
    server.send(OK[:-1])
    server.rst()
    assert world.told() == {
        "requests web * 2xx": 1,
        "downstream_failures web broken_off": 1,
        f"upstream_requests {AT} 2xx": 1,
        f"upstream_resets {AT}": 1,
        **TIMED,
    }


def test_client_that_goes_before_the_answer_has_none(proxy: Build) -> None:
    world = proxy()
    client, _ = ask(world)
    client.rst()
    assert world.told() == {"downstream_resets web": 1}


def test_tunnel_is_one_answer_without_an_end(proxy: Build) -> None:
    world = proxy()
    client, server = ask(world, GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    server.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.send(b"there")
    server.send(b"and back")
    server.fin()
    client.fin()
    assert world.told() == {"requests web * 1xx": 1, f"upstream_requests {AT} 1xx": 1}


def test_interim_responses_do_not_count(proxy: Build) -> None:
    world = proxy()
    _, server = ask(world)
    server.send(b"HTTP/1.1 103 Hints\r\n\r\n" + OK)
    assert world.only("requests") == {"requests web * 2xx": 1, f"upstream_requests {AT} 2xx": 1}


def test_limits_are_overflows(proxy: Build) -> None:
    world = proxy(", limits: {max_requests: 1}")
    ask(world)
    world.connect("web").send(GET)
    assert world.connect("raw").reset
    refused = {"requests web * 5xx": 1, "downstream_failures raw no_endpoint": 1}
    assert world.told() == {**refused, "upstream_overflows app": 2, **TIMED}


@pytest.mark.parametrize(("status", "code"), [(504, "5xx"), (403, "4xx")])
def test_what_a_filter_refuses_is_no_timeout_and_counts_at_the_route_whose_filter_it_is(
    proxy: Build, status: int, code: str
) -> None:
    fault = f"{{name: fault, config: {{abort_percent: 100, status: {status}}}}}"
    of_a_route = f", routes: [{{name: r, cluster: app, filters: [{fault}]}}]"
    for keys, route in ((f", cluster: app, filters: [{fault}]", "-"), (of_a_route, "r")):
        world = proxy(listener=keys)
        world.connect("web").send(GET)
        assert world.told() == {f"requests web {route} {code}": 1, f"request_duration web {route}": 1}


def test_delay_of_a_filter_is_part_of_the_duration(proxy: Build) -> None:
    world = proxy(listener=", cluster: app, filters: [{name: fault, config: {delay: 2}}]")
    client = world.connect("web")
    client.send(GET)
    world.wait(2.1)
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert client.take()
    assert 2.0 < seconds(world, "hotswap_request_duration_seconds") < 2.2
    assert seconds(world, "hotswap_upstream_request_duration_seconds") < 0.1


def test_durations_go_on_through_handovers(moving: bool) -> None:
    world = Counted(edge(), moving=moving)
    _, server = ask(world)
    world.wait(3.0)
    server.send(OK[:-1])
    world.wait(4.0)
    server.send(OK[-1:])
    for name in ("hotswap_request_duration_seconds", "hotswap_upstream_request_duration_seconds"):
        assert seconds(world, name) == pytest.approx(7.0)


def seconds(world: Counted, name: str) -> float:
    """The sum of a histogram over all generations."""
    collected = [one for generation in world.generations for one in generation.metrics.collect()]
    return sum(numbers[0] for shape, members in collected if shape.name == name for _, numbers in members)


def test_mirrors_count_as_copies_and_connections_and_as_no_requests(proxy: Build) -> None:
    world = proxy(
        listener=", cluster: app, filters: [{name: mirror, config: {cluster: shadow}}]",
        more=", {name: shadow, endpoints: [127.0.0.1:9100]}",
    )
    client = world.connect("web")
    client.send(GET)
    shadow, server = sorted(world.dials, key=lambda one: str(one.address), reverse=True)
    world.dials.clear()
    shadow.accept()
    server.accept()
    shadow.fin()
    server.send(OK)
    client.send(GET)
    world.dialled().refuse()
    server.send(OK)
    assert world.only("mirrored", "upstream_requests", "failures", "upstream_connections") == {
        "upstream_connect_failures shadow 127.0.0.1:9100 refused": 1,
        f"upstream_connections {AT} plain": 1,
        "upstream_connections shadow 127.0.0.1:9100 plain": 1,
        "upstream_mirrored shadow sent": 1,
        "upstream_mirrored shadow dropped": 1,
        f"upstream_requests {AT} 2xx": 2,
    }


def test_answer_is_counted_before_it_is_written() -> None:
    """A process that is killed at a write has never told a client of something that is not counted."""
    world = Counted(edge())
    client, server = ask(world)
    kernel = world.kernel
    seen = []

    class Watched(SimulatedCalls):
        def write(self, fd: int, data: bytes | bytearray) -> int:
            if kernel.socket(fd) is client:
                seen.append({text: value for text, value in world.only("requests").items() if " web " in text})
            return super().write(fd, data)

    kernel.calls = Watched(kernel)
    server.send(OK)
    client.send(b"nonsense\r\n\r\n")
    assert seen == [{"requests web * 2xx": 1}, {"requests web * 2xx": 1, "requests web - 4xx": 1}]
