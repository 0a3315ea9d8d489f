"""Who gets a stream of an endpoint, who waits for one, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http1.scene import GET, post, status
from tests.proxy.http2.backend import OK, Backend, Site, behind
from tests.proxy.http2.browser import Browser

Build = Callable[..., Site]


@pytest.fixture
def world(site: Build) -> Site:
    return site(shared_connections=1)


def test_more_requests_than_a_new_connection_takes_wait_no_longer_than_others() -> None:
    """As long as the server did not say how many it takes, it gets a hundred."""
    world = Site(behind(shared_connections=1))
    clients = [world.ask() for _ in range(102)]
    server = world.server(hello=False)
    world.wait(1.5)
    assert [status(one.take()) for one in clients[100:]] == [504, 504]
    server.begin()
    for stream in server.open:
        server.answer(stream)
    assert {status(one.take()) for one in clients[:100]} == {200}
    world.at_rest()


def test_a_full_connection_is_not_left_for_one_that_cannot_be_made() -> None:
    world = Site(behind(shared_connections=2))
    first = world.ask()
    server = world.server(streams=1)
    second = world.ask()
    world.dialled().refuse()
    assert status(second.take()) == 503
    third = world.ask()
    assert not world.dials
    server.answer(1)
    server.answer(3)
    assert (status(first.take()), status(third.take())) == (200, 200)
    world.leave()


def served(world: Site, **about: int) -> Backend:
    """A connection whose server's settings are known."""
    client = world.ask()
    server = world.server(**about)
    server.answer(1)
    assert status(client.take()) == 200
    return server


def test_one_more_connection_for_those_that_find_no_stream(site: Build) -> None:
    world = site(shared_connections=2)
    servers = [served(world, streams=1)]
    clients = [world.ask() for _ in range(2)]
    servers.append(world.server(streams=1))
    clients.append(world.ask())
    assert not world.dials, "no third"
    clients.append(world.ask())
    assert [len(server.open) for server in servers] == [2, 1]
    servers[1].answer(1)
    servers[0].answer(3)
    for server in servers:
        server.answer(server.latest)
    assert [status(client.take()) for client in clients] == [200] * 4
    world.at_rest()


def test_those_that_wait_take_turns(world: Site) -> None:
    server = served(world, streams=1)
    clients = [world.ask(post(b"%d" % number)) for number in range(4)]
    for number in range(4):
        stream = server.latest
        assert server.asked(stream).body == b"%d" % number
        assert len(server.open) == number + 2
        server.answer(stream)
        assert status(clients[number].take()) == 200
    world.at_rest()


def test_one_that_goes_while_it_waits_leaves_its_turn(world: Site) -> None:
    server = served(world, streams=1)
    first, second, third = (world.ask(post(b"%d" % number)) for number in range(3))
    second.rst()
    server.answer(3)
    assert server.asked(5).body == b"2"
    server.answer(5)
    assert (status(first.take()), status(third.take())) == (200, 200)
    world.at_rest()


def test_waiting_is_bounded(world: Site) -> None:
    server = served(world, streams=1)
    first, waiting, browser = world.ask(), world.ask(), Browser(world)
    stream = browser.ask()
    world.wait(0.9)
    later = world.ask()
    world.wait(0.2)
    assert status(waiting.take()) == 504
    assert browser.heard(stream).status == 504
    assert later.take() == b""
    server.answer(3)
    server.answer(5)
    assert (status(first.take()), status(later.take())) == (200, 200)
    world.at_rest()


def test_a_waiting_one_takes_the_next_endpoint_when_its_time_is_over(site: Build) -> None:
    world = site(endpoints=2, shared_connections=1)
    there = [served(world, streams=1) for _ in range(2)]
    clients = [world.ask() for _ in range(3)]
    there[1].answer(3)
    assert status(clients[1].take()) == 200
    world.wait(1.1)
    there[1].answer(5)
    assert status(clients[2].take()) == 200
    there[0].answer(3)
    assert status(clients[0].take()) == 200


def test_a_server_that_permits_more(world: Site) -> None:
    server = served(world, streams=1)
    clients = [world.ask() for _ in range(3)]
    server.permit(streams=2)
    assert server.open == [1, 3, 5]
    server.permit(streams=100)
    assert server.open == [1, 3, 5, 7]
    for stream in (3, 5, 7):
        server.answer(stream)
    assert [status(client.take()) for client in clients] == [200] * 3
    world.at_rest()


def test_a_server_that_permits_fewer(world: Site) -> None:
    server = served(world)
    clients = [world.ask() for _ in range(3)]
    server.permit(streams=1)
    clients.append(world.ask())
    for stream in (3, 5):
        server.answer(stream)
        assert server.latest == 7
    server.answer(7)
    server.answer(9)
    assert [status(client.take()) for client in clients] == [200] * 4
    world.at_rest()


def test_a_server_that_permits_none(world: Site) -> None:
    server = served(world)
    server.permit(streams=0)
    client = world.ask()
    world.wait(1.1)
    assert status(client.take()) == 504
    assert server.open == [1]
    world.at_rest()


def test_pipelined_requests_take_streams_one_after_the_other(world: Site) -> None:
    client = world.ask(GET * 3)
    server = world.server(streams=1)
    for stream in (1, 3, 5):
        assert server.latest == stream
        server.answer(stream)
        assert status(client.take()) == 200
    world.at_rest()


# ---- a response that is complete before its stream has ended ----


def test_a_stream_that_ends_behind_its_content_length_is_not_reset(world: Site) -> None:
    """It has its place until then."""
    client = world.ask()
    server = world.server(streams=1)
    server.head(1, OK, (b"content-length", b"5"))
    server.say(1, b"hello")
    assert client.take().endswith(b"hello")
    world.at_rest()
    client.send(GET)
    assert server.open == [1]
    server.say(1, b"", end=True)
    assert server.asked(1).reset is None
    assert server.open == [1, 3]
    server.answer(3)
    assert status(client.take()) == 200


def test_a_stream_that_never_ends_is_reset_after_a_while(world: Site) -> None:
    client = world.ask()
    server = world.server()
    server.head(1, OK, (b"content-length", b"5"))
    server.say(1, b"hello")
    world.wait(4.9)
    assert server.asked(1).reset is None
    world.wait(0.2)
    assert server.asked(1).reset == 0
    client.send(GET)
    assert server.latest == 3


def test_more_than_content_length_breaks_the_stream_alone(world: Site) -> None:
    client = world.ask()
    server = world.server()
    server.head(1, OK, (b"content-length", b"2"))
    server.say(1, b"hello")
    assert server.asked(1).reset == 1
    assert client.ended
    other = world.ask()
    server.answer(3)
    assert status(other.take()) == 200
