"""Connections to endpoints of HTTP/2 whose requests wait in silence: asked by PING, not too often, and given up."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.http2 import frame
from tests.proxy.http1.scene import post, status
from tests.proxy.http2.backend import OK, Backend, Site
from tests.proxy.http2.browser import Browser

FIELDS = (OK, (b"content-length", b"500"))


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def pings(server: Backend) -> int:
    """How many came since the last look."""
    server.listen()
    count, server.pings = server.pings, 0
    return count


def test_silence_after_a_sign_of_life_is_asked_about_in_time(world: Site) -> None:
    """Though a server that only answered the last question is left alone for long."""
    world.ask()
    server = world.server()
    server.head(1, *FIELDS)
    world.wait(16)
    assert pings(server) == 1
    world.wait(40)
    assert pings(server) == 0
    server.say(1, b"x")
    world.wait(16)
    assert pings(server) == 1


def test_silence_is_asked_about_and_the_answer_keeps_the_connection(world: Site) -> None:
    client = world.ask()
    server = world.server()
    assert pings(server) == 0
    world.wait(14.9)
    assert pings(server) == 0
    world.wait(0.2)
    assert pings(server) == 1
    world.wait(14)
    server.answer(1)
    assert status(client.take()) == 200
    world.wait(40)
    assert pings(server) == 0, "nobody waits"
    assert not server.socket.ended
    world.at_rest()


def test_a_server_that_only_answers_that_is_left_in_peace(site: Callable[..., Site]) -> None:
    world = site(request_timeout=1000.0)
    client = world.ask()
    server = world.server()
    world.wait(15.1)
    assert pings(server) == 1
    for _ in range(20):
        world.wait(15.2)
        assert pings(server) == 0
    world.wait(2)
    assert pings(server) == 1
    server.answer(1)
    assert status(client.take()) == 200


def test_a_mute_server_is_given_up(site: Callable[..., Site]) -> None:
    world = site(request_timeout=1000.0)
    client, other, browser = world.ask(), world.ask(post(b"body")), Browser(world)
    stream = browser.ask(b"/", b"POST")
    server = world.server()
    server.head(5, OK)
    world.wait(15.1)
    world.wait(29.8)  # two intervals in which it might answer; this one is not read
    assert not server.socket.closed
    world.time += 0.3
    world.settle()
    assert server.socket.closed
    assert status(other.take()) == 502
    assert browser.heard(stream).reset == 2
    again = world.server()
    again.answer(1)
    assert status(client.take()) == 200
    world.at_rest()


def test_a_request_does_not_begin_with_a_question(world: Site) -> None:
    """However long nobody asked anything."""
    world.ask()
    server = world.server()
    server.answer(1)
    world.wait(50)
    world.ask()
    world.wait(14)
    assert pings(server) == 0
    world.wait(1.1)
    assert pings(server) == 1


def test_uploads_are_no_sign_of_life(world: Site) -> None:
    """The other way round: what the server says is, whatever it is."""
    client = world.ask(post(b"", length=100))
    server = world.server()
    for _ in range(4):
        world.wait(10)
        server.socket.send(frame.ping(b"12345678"))
    assert pings(server) == 0
    for _ in range(3):
        world.wait(6)
        client.send(b"x")
    assert pings(server) == 1
