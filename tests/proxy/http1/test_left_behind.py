"""A new configuration without the cluster of a request: the request stays with the source and finishes there."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import msgspec
import pytest

from proxy.config.model import Config
from tests.proxy.http1.scene import GET, HELLO, HELLO_GOT, HELLO_LAST, exchange, post, web
from tests.proxy.simulation import World

OTHER = GET.replace(b"GET /", b"GET /other")


@pytest.fixture
def world() -> World:
    return World(web())


def without_other() -> Config:
    config = web()
    listener = msgspec.structs.replace(config.listeners[0], routes=config.listeners[0].routes[1:])
    return msgspec.structs.replace(config, listeners=(listener,), clusters=config.clusters[:1])


def test_request_finishes_with_the_source_and_says_close(world: World) -> None:
    client, server = exchange(world, OTHER)
    source = world.move(without_other())
    assert {type(value).__name__ for value in source.values().values()} == {"Http1Downstream", "Http1Upstream"}
    assert world.proxy.values() == {}
    server.send(HELLO)
    assert client.take() == HELLO_LAST
    assert client.ended
    client.fin()
    world.settle()
    assert source.idle()


def test_upload_goes_on_with_the_source(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=4).replace(b"POST /", b"POST /other"))
    world.move(without_other())
    client.send(b"cd")
    assert server.take() == b"cd"
    server.send(HELLO)
    assert client.take() == HELLO_LAST


def test_idle_upstream_of_a_removed_cluster_is_closed(world: World) -> None:
    client, server = exchange(world, OTHER)
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    source = world.move(without_other())
    world.settle()
    assert server.closed
    assert source.idle()
    assert not client.ended
    client.send(GET)
    world.dialled().accept()


def test_pipelined_request_of_a_removed_route_meets_the_new_routes(world: World) -> None:
    client, server = exchange(world, GET + OTHER)
    world.move(without_other())
    server.send(HELLO)
    client.take()
    assert b"/other" in server.take()


def test_changed_timeouts_are_those_of_the_new_configuration(world: World) -> None:
    client, _ = exchange(world)
    world.move(web(listener={"keepalive_timeout": 3.0}, idle_timeout=5.0))
    idle = world.connect("web")
    idle.send(GET)
    world.dials[0].accept()
    world.dials[0].send(HELLO)
    world.wait(3.1)
    assert idle.closed
    assert not client.ended
