"""The life of a connection to an endpoint of HTTP/2: dialled, kept alive, told to go, lost, idle, drained."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `socket.ended` cannot change between two asserts on it)

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.http2 import frame
from proxy.http2.upstream import Http2Upstream
from tests.proxy.http1.scene import GET, post, status
from tests.proxy.http2.backend import Backend, Site

Build = Callable[..., Site]


@pytest.fixture
def world(site: Build) -> Site:
    return site()


def there(world: Site, **about: object) -> Backend:
    """A connection that served one request."""
    client = world.ask()
    server = world.server(**about)
    server.answer(1)
    assert status(client.take()) == 200
    client.fin()
    return server


# ---- GOAWAY ----


def test_streams_in_flight_finish_and_then_the_connection_ends(world: Site) -> None:
    clients = [world.ask() for _ in range(3)]
    server = world.server()
    server.goaway(3)  # the third was not looked at
    other = world.server()
    other.answer(1)
    assert status(clients[2].take()) == 200
    server.answer(3)
    assert status(clients[1].take()) == 200
    assert not server.socket.ended
    world.ask()
    assert other.latest == 3, "new ones go there"
    server.answer(1)
    assert status(clients[0].take()) == 200
    server.listen()
    assert server.goaways == [0]
    assert server.socket.ended
    server.socket.fin()
    assert server.socket.closed


def test_goaway_in_two_stages(world: Site) -> None:
    first = world.ask()
    server = world.server()
    server.goaway(2**31 - 1)
    second = world.ask()
    other = world.server()
    server.goaway(1)
    server.answer(1)
    other.answer(1)
    assert (status(first.take()), status(second.take())) == (200, 200)
    assert server.socket.ended
    assert not other.socket.ended
    world.at_rest()


def test_those_that_wait_go_elsewhere(site: Build) -> None:
    world = site(shared_connections=1)
    there(world, streams=1).socket.fin()
    world.ask()
    server = world.server(streams=1)
    waiting = [world.ask(post(b"%d" % number)) for number in range(2)]
    server.goaway(1)
    other = world.server()
    assert [other.asked(stream).body for stream in (1, 3)] == [b"0", b"1"]
    other.answer(3)
    other.answer(1)
    assert [status(client.take()) for client in waiting] == [200, 200]


def test_goaway_crosses_a_request(world: Site) -> None:
    """In one batch of events, so that the request has no stream yet."""
    client = world.ask()
    server = world.server()
    server.answer(1)
    assert status(client.take()) == 200
    client.inbox += GET
    server.socket.inbox += frame.goaway(1, 0)
    world.settle()
    world.server().answer(1)
    assert status(client.take()) == 200
    assert server.socket.ended
    world.at_rest()


def test_one_whose_ids_are_used_up_is_replaced(site: Build) -> None:
    world = site(shared_connections=1)
    server = there(world, streams=1)
    (upstream,) = (one for one in world.proxy.values().values() if isinstance(one, Http2Upstream))
    upstream.requests.session.next_id = 2**31 - 1
    server.connection.highest_inbound_stream_id = 2**31 - 3
    last, waiting = world.ask(), world.ask()
    other = world.server()
    other.answer(1)
    assert status(waiting.take()) == 200
    server.answer(2**31 - 1)
    assert status(last.take()) == 200
    assert server.socket.ended


# ---- drain ----


def test_a_request_in_a_drain_gets_a_connection_that_ends_with_it(site: Build) -> None:
    world = site(shared_connections=1)
    clients = [world.connect("web") for _ in range(2)]
    world.proxy.drain(world.kernel.clock() + 30)
    for client in clients:
        client.send(GET)
        server = world.server()
        server.answer(1)
        assert status(client.take()) == 200
        assert server.socket.ended
