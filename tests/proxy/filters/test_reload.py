"""Filters and access logs over a reload: connections that are there follow, and nothing that was counted is lost."""

from __future__ import annotations

from proxy.config.loader import loads
from tests.proxy.simulation import Socket, World
from tests.proxy.test_reload import BASE, GET, OK, File


def listener(keys: str) -> str:
    return BASE.replace("protocol: http1, cluster: app", f"protocol: http1, cluster: app{keys}")


def reload(world: World, text: str) -> None:
    world.proxy._source = File(text)
    world.proxy.reload().apply({})
    world.config = loads(text).config
    world.settle()


def ask(client: Socket) -> int:
    client.send(GET)
    return int(client.take()[9:12] or 0)


def test_bucket_is_not_filled_by_a_reload(moving: bool) -> None:
    limit = ", filters: [{name: rate_limit, config: {rate: 0.01, burst: 2%s}}]"
    world = World(loads(listener(limit % "")).config, moving=moving)
    first, second = world.connect("web"), world.connect("web")
    ask(first)
    ask(second)
    third = world.connect("web")
    assert ask(third) == 429
    reload(world, listener(limit % ", status: 503"))
    assert ask(third) == 503


def test_filters_and_log_that_are_added_hold_for_the_next_request_of_a_connection(moving: bool) -> None:
    world = World(loads(BASE).config, moving=moving)
    client = world.connect("web")
    client.send(GET)
    server = world.dialled()
    server.accept()
    logged = ", access_log: {to: /log, template: '{status}'}, filters: [{name: fault, config: {abort_percent: 100}}]"
    reload(world, listener(logged))
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    assert world.lines["/log"] == []
    assert ask(client) == 503
    assert world.lines["/log"] == ["503"]


def test_delayed_request_goes_on_when_its_filter_is_gone(moving: bool) -> None:
    world = World(loads(listener(", filters: [{name: fault, config: {delay: 5}}]")).config, moving=moving)
    client = world.connect("web")
    client.send(GET)
    reload(world, BASE)
    assert world.dials == []
    world.wait(5.1)
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
