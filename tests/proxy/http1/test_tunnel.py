"""Upgrade: 101 makes the connection a tunnel."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import pytest

from proxy.connection import HIGH
from tests.proxy.http1.scene import ADDED, GET, GET_SENT, HELLO, HELLO_GOT, ID, VIA, exchange, status, web
from tests.proxy.simulation import Socket, World

ASK = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" + ID + b"\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + VIA + b"\r\n"


@pytest.fixture
def world(moving: bool) -> World:
    return World(web(idle_timeout=20.0), moving=moving)


def tunnel(world: World) -> tuple[Socket, Socket]:
    client, server = exchange(world, ASK)
    server.send(SWITCH)
    assert client.take() == SWITCHED
    return client, server


def test_upgrade_is_asked_for_and_granted(world: World) -> None:
    client = world.connect("web")
    client.send(ASK)
    server = world.dialled()
    server.accept()
    assert server.take() == (
        b"GET /chat HTTP/1.1\r\nHost: a\r\n" + ID + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + ADDED
    )
    server.send(SWITCH + b"hello")
    assert client.take() == SWITCHED + b"hello"
    client.send(b"GET / HTTP/1.1\n\0\r\n\r\n")
    assert server.take() == b"GET / HTTP/1.1\n\0\r\n\r\n"
    server.send(b"\0")
    assert client.take() == b"\0"
    assert world.proxy.in_flight() == 0


def test_bytes_sent_before_the_switch_go_through_the_tunnel(world: World) -> None:
    client, server = exchange(world, ASK + b"early")
    client.send(b" bird")
    assert server.take() == b""
    server.send(SWITCH)
    assert server.take() == b"early bird"


def test_upgrade_that_is_not_granted_is_an_exchange(world: World) -> None:
    client, server = exchange(world, ASK + GET)
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert server.take() == GET_SENT


def test_tunnel_ends_when_both_sides_have(world: World) -> None:
    client, server = tunnel(world)
    client.fin()
    assert server.ended
    server.send(b"last")
    assert client.take() == b"last"
    server.fin()
    assert client.closed
    assert server.closed
    assert world.proxy.values() == {}


def test_reset_goes_through_the_tunnel(world: World) -> None:
    client, server = tunnel(world)
    server.rst()
    assert client.reset
    other, server = tunnel(world)
    other.rst()
    assert server.reset


def test_tunnel_has_back_pressure_both_ways(world: World) -> None:
    client, server = tunnel(world)
    for one, other in ((client, server), (server, client)):
        other.accept_bytes(0)
        one.send(b"x" * 20 * HIGH)
        assert len(one.inbox) > 15 * HIGH
        other.accept_bytes(None)
        assert len(other.take()) == 20 * HIGH


def test_silent_tunnel_is_closed_after_the_idle_timeout(world: World) -> None:
    client, server = tunnel(world)
    for one in (client, server, client):
        world.wait(19)
        one.send(b"x")
    assert not client.ended
    world.wait(21)
    assert client.closed
    assert server.closed


def test_client_half_closed_before_the_switch(world: World) -> None:
    client, server = exchange(world, ASK + b"all")
    client.fin()
    server.send(SWITCH)
    assert server.take() == b"all"
    assert server.ended
    server.send(b"answer")
    assert client.take() == SWITCHED + b"answer"


def test_upgrade_request_with_a_body_is_switched_after_it(world: World) -> None:
    client, server = exchange(world, ASK.replace(b"Upgrade: w", b"Content-Length: 2\r\nUpgrade: w") + b"a")
    client.send(b"b")
    server.send(SWITCH)
    assert client.take() == SWITCHED


def test_switch_within_the_request_body_is_a_bad_gateway(world: World) -> None:
    client, server = exchange(world, ASK.replace(b"Upgrade: w", b"Content-Length: 2\r\nUpgrade: w") + b"a")
    server.send(SWITCH)
    assert status(client.take()) == 502
    assert server.closed


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b"HTTP/2.0", b"TLS/1.0"])
def test_protocols_that_would_pass_our_routes_are_not_asked_for(world: World, protocol: bytes) -> None:
    client = world.connect("web")
    client.send(ASK.replace(b"websocket", protocol))
    server = world.dialled()
    server.accept()
    sent = server.take()
    assert b"Upgrade" not in sent
    assert b"upgrade" not in sent
    server.send(SWITCH)
    assert status(client.take()) == 502
