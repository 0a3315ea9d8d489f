"""Connections to endpoints of HTTP/2 whose requests wait in silence: asked by PING, not too often, and given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http2.backend import OK, Backend, Site

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
