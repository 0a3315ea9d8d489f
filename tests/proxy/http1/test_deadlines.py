"""Deadlines that pass, and what the other side sees."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import pytest

from proxy.connection import HIGH
from tests.proxy.http1.scene import (
    GET,
    HELLO,
    HELLO_GOT,
    VIA,
    exchange,
    post,
    status,
    web,
)
from tests.proxy.simulation import Socket, World


@pytest.fixture
def world(moving: bool) -> World:
    return World(web(), moving=moving)


@pytest.fixture
def three(moving: bool) -> World:
    return World(web(endpoints=3), moving=moving)


def in_flight(world: World) -> int:
    return sum(endpoint.in_flight for cluster in world.proxy.clusters.values() for endpoint in cluster.endpoints)


def kept_alive(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    """A request under way on an upstream connection that served one before."""
    client, server = exchange(world)
    server.send(HELLO)
    client.take()
    client.send(request)
    server.take()
    return client, server


# ---- deadlines ----


def test_silent_client_is_closed_without_a_word(moving: bool) -> None:
    world = World(web(listener={"header_timeout": 5.0}), moving=moving)
    client = world.connect("web")
    world.wait(4.9)
    assert not client.ended
    world.wait(0.2)
    assert client.closed
    assert client.take() == b""


def test_head_that_takes_too_long_is_408(moving: bool) -> None:
    world = World(web(listener={"header_timeout": 5.0}), moving=moving)
    client, server = exchange(world)
    server.send(HELLO)
    client.take()
    world.wait(3)
    client.send(GET[:5])
    for _ in range(4):
        world.wait(1.2)
        client.send(b"A")
    world.wait(0.3)
    assert status(client.take()) == 408
    assert client.ended


def test_idle_connection_is_closed_after_the_keepalive_timeout(moving: bool) -> None:
    world = World(web(listener={"keepalive_timeout": 5.0}, keepalive_timeout=100.0), moving=moving)
    client, server = exchange(world)
    server.send(HELLO)
    client.take()
    world.wait(4.9)
    client.send(GET)
    server.send(HELLO)
    world.wait(4.9)
    assert not client.ended
    world.wait(0.2)
    assert client.closed
    assert client.take() == HELLO_GOT
    assert not server.ended


def test_idle_upstream_connection_is_closed_after_its_keepalive_timeout(moving: bool) -> None:
    world = World(web(listener={"keepalive_timeout": 100.0}, keepalive_timeout=5.0), moving=moving)
    client, server = exchange(world)
    server.send(HELLO)
    world.wait(4.9)
    assert not server.ended
    world.wait(0.2)
    assert server.closed
    assert not client.ended


def test_request_timeout_runs_from_the_complete_request(moving: bool) -> None:
    world = World(web(request_timeout=5.0), moving=moving)
    client, server = exchange(world, post(b"a", length=2))
    world.wait(10)
    client.send(b"b")
    world.wait(4.9)
    assert client.take() == b""
    world.wait(0.2)
    assert status(client.take()) == 504
    assert server.closed
    assert not client.ended
    assert in_flight(world) == 0


def test_request_timeout_ends_with_the_first_byte_of_the_response(moving: bool) -> None:
    world = World(web(request_timeout=5.0), moving=moving)
    client, server = exchange(world)
    world.wait(4)
    server.send(HELLO[:-1])
    world.wait(100)
    server.send(HELLO[-1:])
    assert client.take() == HELLO_GOT


def test_body_that_stalls_is_408(moving: bool) -> None:
    world = World(web(listener={"body_timeout": 5.0}), moving=moving)
    client, server = exchange(world, post(b"a", length=3))
    world.wait(4)
    client.send(b"b")
    world.wait(4.9)
    assert client.take() == b""
    world.wait(0.2)
    assert status(client.take()) == 408
    assert client.ended
    assert server.closed


def test_upstream_that_does_not_take_the_body_is_504(moving: bool) -> None:
    world = World(web(listener={"body_timeout": 5.0}, idle_timeout=20.0), moving=moving)
    size = 4 * HIGH
    client, server = exchange(world, post(b"", length=size))
    server.accept_bytes(0)
    client.send(b"x" * (size - 1))
    world.wait(19)
    assert client.take() == b""
    world.wait(2)
    assert status(client.take()) == 504


def test_silent_stream_is_cut_short_after_the_idle_timeout(moving: bool) -> None:
    world = World(web(idle_timeout=20.0), moving=moving)
    client, server = exchange(world)
    server.send(HELLO[:-2])
    world.wait(19)
    server.send(HELLO[-2:-1])
    world.wait(19)
    assert not client.ended
    world.wait(2)
    assert client.ended
    assert client.take() == HELLO_GOT[:-1]
    assert server.closed


def test_whole_exchange_is_bounded_if_configured(moving: bool) -> None:
    world = World(web(max_duration=30.0), moving=moving)
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(4):
        world.wait(7)
        server.send(b"x")
    assert not client.ended
    world.wait(3)
    assert client.take() == b"HTTP/1.1 200 OK\r\n" + VIA + b"Connection: close\r\n\r\nxxxx"
    assert client.reset
    assert server.closed


def test_client_that_never_takes_its_last_response_is_closed(moving: bool) -> None:
    world = World(web(listener={"body_timeout": 5.0}), moving=moving)
    client, server = exchange(world, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    client.accept_bytes(3)
    server.send(HELLO)
    world.wait(4.9)
    assert not client.closed
    world.wait(0.2)
    assert client.closed
