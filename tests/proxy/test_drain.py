"""The end on purpose, as clients see it."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import pytest

from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.bolt.scene import V1, rpc, taken
from tests.proxy.simulation import Socket, World
from tests.proxy.test_reload import BASE, GET, OK, exchange


@pytest.fixture(params=[False, True], ids=["straight", "moving"])
def world(request: pytest.FixtureRequest) -> World:
    return World(loads(BASE).config, moving=request.param)


def test_a_drain_that_was_announced_says_close_and_accepts_on(world: World) -> None:
    client, server = exchange(world)
    world.proxy.announce_drain()
    server.send(OK)
    assert b"\r\nConnection: close\r\n" in client.take()
    if not world.moving:
        exchange(world)


def test_a_drain_serves_out_the_queue_and_closes_the_listeners() -> None:
    world = World(loads(BASE).config)
    late = Socket(world)
    late.inbox += GET
    spare = next(iter(world.kernel.open.values()))
    world.queue("web").append(late)
    world.proxy.drain(world.kernel.clock() + 30)
    world.settle()
    assert not [thing for thing in world.kernel.open.values() if thing in world.queues.values() and thing is not spare]
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert b"\r\nConnection: close\r\n" in late.take()
    late.fin()
    assert world.proxy.idle()


def test_a_response_under_way_at_a_drain_is_the_last_of_its_connection(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    world.proxy.drain(world.kernel.clock() + 30)
    world.settle()
    server.send(b"k")
    assert client.take().endswith(b"\r\n\r\nok")
    assert client.ended


# -- what was counted, see `hotswap.bake` -----------------------------------------------------------


def test_the_tally_counts_answers_and_failures_of_every_protocol() -> None:
    world = World(loads(BASE.replace(", 127.0.0.1:9001", "")).config)
    client, server = exchange(world)
    assert world.proxy.tally() == (0, 0, 0)
    server.send(OK)
    client.send(GET)
    server.send(OK.replace(b"200 OK", b"500 No"))
    assert world.proxy.tally() == (2, 1, 0)
    client.send(GET)
    server.send(OK[:-1])
    server.rst()
    assert world.proxy.tally() == (3, 2, 0)
    world.refusing = {"127.0.0.1:9100": 111, "127.0.0.1:9000": 111, "127.0.0.1:9001": 111}
    world.connect("raw")
    assert world.proxy.tally() == (4, 3, 0)
    world.connect("web").send(GET)
    assert world.proxy.tally() == (5, 4, 0)


def test_the_tally_counts_calls_of_bolt() -> None:
    world = World(rpc())
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"", timeout=3000) + bolt.call(V1, 2, b"", timeout=1000))
    server = world.dialled()
    server.accept()
    first, _ = taken(server)
    server.send(bolt.answer(V1, first.id, b"x"))
    world.wait(1.1)
    assert world.proxy.tally() == (2, 1, 0)


def test_a_new_generation_counts_from_nothing() -> None:
    world = World(loads(BASE).config)
    _, server = exchange(world)
    server.send(OK)
    world.move()
    assert world.proxy.tally() == (0, 0, 0)
