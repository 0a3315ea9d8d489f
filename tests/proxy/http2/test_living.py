"""The life of a connection to an endpoint of HTTP/2: dialled, kept alive, told to go, lost, idle, drained."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `socket.ended` cannot change between two asserts on it)

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hotswap.handover.rounds import Limits
from proxy.http2 import frame
from proxy.http2.upstream import Http2Upstream
from tests.proxy.http1.scene import GET, HELLO, HELLO_GOT, post, status, web
from tests.proxy.http2.backend import Backend, Site, behind
from tests.proxy.http2.browser import Browser

if TYPE_CHECKING:
    from proxy.config.model import Config

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


def test_a_drain_lets_requests_end(world: Site) -> None:
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    world.proxy.drain(world.kernel.clock() + 30)
    world.settle()
    server.answer(1)
    server.listen()
    assert server.goaways == []
    server.answer(3)
    assert status(client.take()) == 200
    assert browser.heard(stream).ended
    server.listen()
    assert server.goaways == [0]
    assert server.socket.ended
    world.at_rest()


def test_a_drain_ends_what_is_idle(world: Site) -> None:
    server = there(world)
    world.proxy.drain(world.kernel.clock() + 30)
    world.settle()
    server.listen()
    assert server.goaways == [0]
    assert server.socket.ended


# ---- idle ----


def test_an_idle_connection_ends(site: Build) -> None:
    world = site(keepalive_timeout=20.0)
    server = there(world)
    world.wait(19)
    world.ask()
    server.answer(3)
    world.wait(19)
    server.listen()
    assert (server.goaways, server.pings) == ([], 0)
    world.wait(1.1)
    server.listen()
    assert server.goaways == [0]
    assert server.socket.ended
    assert not server.socket.closed
    world.wait(2.1)
    assert server.socket.closed, "though the server does not"
    world.ask()
    assert world.dials


def test_one_that_its_server_closes_is_forgotten(world: Site) -> None:
    server = there(world)
    server.goaway(1)
    server.socket.fin()
    assert server.socket.closed
    client = world.ask()
    world.server().answer(1)
    assert status(client.take()) == 200
    world.at_rest()


def test_a_connection_nobody_asks_anything_of_any_more_ends(world: Site) -> None:
    """Those who waited for it went."""
    world.ask().rst()
    server = world.server()
    world.wait(61)
    server.listen()
    assert server.goaways == [0]
    assert server.streams == {}


# ---- reloads ----


class File:
    """Where the configuration comes from."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self) -> Config:
        return self.config

    def limits(self, config: Config) -> Limits:
        return Limits(drain=config.drain_timeout)


def reload(world: Site, config: Config) -> None:
    """As it would be from a file."""
    world.proxy._source = File(config)
    world.proxy.reload().apply({})
    world.config = config
    world.settle()


def test_a_removed_endpoint_finishes_its_requests(site: Build) -> None:
    world = site(endpoints=2)
    clients = [world.ask() for _ in range(2)]
    servers = [world.server() for _ in range(2)]
    reload(world, behind(endpoints=1))
    other = world.ask()
    assert (len(servers[0].open), len(servers[1].open)) == (2, 1)
    assert not servers[1].socket.ended
    servers[1].answer(1)
    assert status(clients[1].take()) == 200
    assert servers[1].socket.ended
    for stream in (1, 3):
        servers[0].answer(stream)
    assert (status(clients[0].take()), status(other.take())) == (200, 200)
    world.at_rest()


def test_an_idle_one_of_a_removed_endpoint_ends(site: Build) -> None:
    world = site(endpoints=2)
    servers = [there(world) for _ in range(2)]
    reload(world, behind(endpoints=1))
    assert [server.socket.ended for server in servers] == [False, True]


def test_a_reload_keeps_what_listeners_speak(world: Site) -> None:
    reload(world, behind(listener={"max_headers": 77}))
    browser = Browser(world)
    stream = browser.ask()
    world.server().answer(1)
    assert browser.heard(stream).status == 200


def test_a_reload_teaches_a_listener_http2() -> None:
    world = Site(web(http2=True))
    client = world.connect("web")
    client.send(frame.PREFACE)
    assert b"HTTP/1.1 400" in client.take() or client.ended
    reload(world, behind())
    browser = Browser(world)
    stream = browser.ask()
    server = world.server()
    reload(world, web(http2=True))
    server.answer(1)
    assert browser.heard(stream).status == 200, "one that is there goes on"
    client = world.connect("web")
    client.send(frame.PREFACE)
    assert not client.take().startswith(b"\0")
    world.leave()


def test_a_reload_switches_a_cluster_on_and_off(world: Site) -> None:
    waiting = world.ask()
    server = world.server()
    reload(world, behind(http2=False))
    client = world.ask()
    old = world.dialled()
    old.accept()
    assert old.take().startswith(b"GET / HTTP/1.1\r\n")
    server.answer(1)
    assert status(waiting.take()) == 200
    old.send(HELLO)
    assert client.take() == HELLO_GOT
    reload(world, behind())
    client.send(GET)
    again = server if not world.dials else world.server()
    again.answer(again.latest)
    assert status(client.take()) == 200
    world.wait(61)
    assert old.ended
    assert again.socket.ended
    reload(world, behind(http2=False))
    client.send(GET)
    world.dialled().accept()
    assert world.proxy.clusters["app"].connections == 1, "the ones of before do not stand for it"
    client.rst()
    world.at_rest()
