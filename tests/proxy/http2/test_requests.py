"""Who gets a stream of an endpoint, who waits for one, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http1.scene import status
from tests.proxy.http2.backend import Site, behind


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site(shared_connections=1)


def test_more_requests_than_a_new_connection_takes_wait_no_longer_than_others(world: Site) -> None:
    """As long as the server did not say how many it takes, it gets a hundred."""
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
