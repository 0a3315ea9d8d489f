"""Mirrors: the copy, and that it never holds the request up."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.http1.mirror import MAX_BEHIND
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TO_SHADOW = "{name: mirror, config: {cluster: shadow}}"

Build = Callable[..., World]


def text(filters: str, more: str = "", protocol: str = "http1") -> str:
    return f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: {protocol}, cluster: app, filters: [{filters}]}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]}}
  - {{name: shadow, endpoints: [127.0.0.1:9100], connect_timeout: 1s, request_timeout: 3s{more}}}
"""


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args: World(loads(text(*args)).config, moving=moving)


def begin(world: World, request: bytes) -> tuple[Socket, Socket, Socket]:
    """A client that asked, the mirror, the server; both accepted."""
    client = world.connect("web")
    client.send(request)
    by_port = {one.address.port: one for one in world.dials if one.address is not None}
    world.dials.clear()
    by_port[9000].accept()
    by_port[9100].accept()
    return client, by_port[9100], by_port[9000]


def mirrored(world: World) -> Any:
    shadow = world.proxy.clusters["shadow"]
    return shadow.meters.mirrored.value, shadow.meters.dropped.value


def test_copy_goes_to_the_other_cluster_and_its_answer_is_thrown_away(proxy: Build) -> None:
    world = proxy(TO_SHADOW)
    client, shadow, server = begin(world, GET)
    asked, copied = server.take(), shadow.take()
    assert copied == asked[:-2] + b"Connection: close\r\n\r\n"
    shadow.send(b"HTTP/1.1 500 No\r\n\r\nwhatever")
    assert client.take() == b""
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    shadow.fin()
    assert shadow.ended
    assert [one["kind"] for one in world.proxy.connections()] == ["http1.downstream", "http1.upstream"]


@pytest.mark.parametrize("chunked", [False, True])
def test_body_is_copied_as_it_comes(proxy: Build, chunked: bool) -> None:
    world = proxy(TO_SHADOW)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else POST % 100_000
    client, shadow, server = begin(world, head)
    for _ in range(10):
        client.send((b"2710\r\n%b\r\n" if chunked else b"%b") % (b"x" * 10_000))
    if chunked:
        client.send(b"0\r\n\r\n")
    body = server.take().partition(b"\r\n\r\n")[2]
    assert len(body) >= 100_000
    assert shadow.take().partition(b"\r\n\r\n")[2] == body
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    shadow.fin()
    assert shadow.ended
    client.send(GET)  # the next one has a copy of its own
    assert len(world.dials) == 1


def test_mirror_that_is_slow_is_dropped_and_the_request_is_not(proxy: Build) -> None:
    world = proxy(TO_SHADOW)
    client, shadow, server = begin(world, POST % (4 * MAX_BEHIND))
    shadow.accept_bytes(0)
    for _ in range(16):
        client.send(b"x" * (MAX_BEHIND // 4))
    assert shadow.reset
    assert len(server.take().partition(b"\r\n\r\n")[2]) == 4 * MAX_BEHIND
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("how", ["refused", "slow", "silent"])
def test_mirror_that_does_not_work_costs_the_request_nothing(proxy: Build, how: str) -> None:
    world = proxy(TO_SHADOW)
    client = world.connect("web")
    client.send(GET)
    by_port = {one.address.port: one for one in world.dials if one.address is not None}
    if how == "refused":
        by_port[9100].refuse()
    elif how == "silent":
        by_port[9100].accept()
    by_port[9000].accept()
    world.wait(3.1)
    by_port[9000].send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    assert [one["kind"] for one in world.proxy.connections()] == ["http1.downstream", "http1.upstream"]


@pytest.mark.parametrize("end", ["reset", "early answer"])
def test_copy_of_a_body_that_is_given_up_is_dropped(proxy: Build, end: str) -> None:
    world = proxy(TO_SHADOW)
    client, shadow, server = begin(world, POST % 1_000_000)
    client.send(b"x" * 1000)
    if end == "reset":
        client.rst()
    else:
        server.send(OK)
    world.wait(0)
    assert shadow.reset


def test_endpoint_that_closes_its_mirror_early_is_forgotten(proxy: Build) -> None:
    world = proxy(TO_SHADOW)
    client, shadow, server = begin(world, POST % 10)
    shadow.fin()
    client.send(b"0123456789")
    assert server.take().endswith(b"\r\n\r\n0123456789")
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


def test_share_is_counted_across_generations_and_refused_requests_are_not_copied(proxy: Build) -> None:
    fault = "{name: fault, config: {abort_percent: 100, headers: {x-no: 'yes'}}}"
    delay = "{name: fault, config: {delay: 1, headers: {x-late: 'yes'}}}"
    world = proxy(f"{{name: mirror, config: {{cluster: shadow, percent: 50}}}}, {fault}, {delay}")
    for number in range(1, 5):
        client = world.connect("web")
        client.send(GET[:-2] + (b"X-No: yes\r\n\r\n" if number == 2 else b"X-Late: yes\r\n\r\n"))
        assert world.dials == []
        world.wait(1.1)
        ports = sorted(one.address.port for one in world.dials if one.address is not None)
        assert ports == {2: [], 4: [9000, 9100]}.get(number, [9000])
        world.dials.clear()


def test_mirrors_keep_to_the_limits_of_their_cluster(proxy: Build) -> None:
    world = proxy(TO_SHADOW, ", limits: {max_requests: 1}")
    for _ in range(2):
        world.connect("web").send(GET)
    ports = [one.address.port for one in world.dials if one.address is not None]
    assert sorted(ports) == [9000, 9000, 9100]


def test_what_was_sent_and_dropped_is_counted() -> None:
    world = World(loads(text(TO_SHADOW)).config)
    _, shadow, _ = begin(world, GET)
    shadow.fin()
    assert mirrored(world) == (1, 0)
    _, shadow, _ = begin(world, POST % 9)
    shadow.rst()
    assert mirrored(world) == (1, 1)
    about = next(one for one in world.proxy.status()["clusters"] if one["name"] == "shadow")
    assert about["mirrored"] == {"sent": 1, "dropped": 1}


def test_cluster_of_a_mirror_must_be_there_and_only_http1_is_mirrored() -> None:
    with pytest.raises(InvalidConfig) as caught:
        loads(text("{name: mirror, config: {cluster: shadwo}}"))
    assert "there is no cluster shadwo; did you mean shadow?" in str(caught.value).replace("'", "")
    with pytest.raises(InvalidConfig) as caught:
        loads(text(TO_SHADOW, "", "bolt"))
    assert "mirror looks at http1, not at bolt" in str(caught.value)


def test_drain_does_not_wait_for_the_answer_to_a_copy(proxy: Build) -> None:
    world = proxy(TO_SHADOW)
    client, shadow, server = begin(world, GET)
    world.proxy.drain(world.kernel.clock() + 100)
    world.tick()
    assert shadow.ended
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


def test_copy_whose_client_timed_out_can_move(proxy: Build) -> None:
    """Its client is gone in the last moment of a tick, and a handover may come next."""
    world = proxy(TO_SHADOW)
    client, shadow, _ = begin(world, POST % 9)
    world.wait(61)
    assert client.take().startswith(b"HTTP/1.1 408 ")
    world.wait(3)
    world.move()
    world.tick()
    assert shadow.reset
    assert [one["kind"] for one in world.proxy.connections() if one["kind"] == "http1.mirror"] == []


@settings(max_examples=40, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=10), moves=st.sets(st.integers(0, 9)))
def test_copy_is_the_request_wherever_that_is_cut_and_moved(pieces: list[bytes], moves: set[int]) -> None:
    world = World(loads(text(TO_SHADOW)).config)
    whole = b"".join(pieces)
    client, shadow, server = begin(world, POST % len(whole))
    for number, piece in enumerate(pieces):
        client.send(piece)
        if number in moves:
            world.move()
            world.tick()
    asked = server.take()
    assert asked.endswith(b"\r\n\r\n" + whole)
    assert shadow.take() == asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    shadow.fin()
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
