"""Requests that a server sends to its client."""

from __future__ import annotations

import pytest

from tests.kit import bolt
from tests.kit.bolt import DIALECTS, Dialect
from tests.proxy.bolt.scene import V1, V2, pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_of_the_server_reaches_who_called_last_and_comes_back(world: World, dialect: Dialect) -> None:
    first, server, one = pair(world, dialect)
    second = world.connect("rpc")
    second.send(bolt.call(dialect, 7, b""))
    sole(server)
    server.send(bolt.call(dialect, one.id, b"hello"))  # ids of both directions overlap
    assert first.take() == b""
    asked = sole(second)
    assert (asked.type, asked.content) == (bolt.REQUEST, b"hello")
    second.send(bolt.answer(dialect, asked.id, b"hi"))
    assert server.take() == bolt.answer(dialect, one.id, b"hi")
    server.send(bolt.answer(dialect, one.id, b"first"))
    assert sole(first).raw == bolt.answer(dialect, 7, b"first")


def test_a_oneway_request_of_the_server_passes(world: World) -> None:
    client, server, _ = pair(world)
    server.send(bolt.call(V1, 5, b"news", oneway=True))
    assert sole(client).content == b"news"


def test_another_client_that_waits_takes_the_place_of_one_that_is_gone(world: World) -> None:
    first, server, _ = pair(world)
    second = world.connect("rpc")
    second.send(bolt.call(V1, 7, b""))
    second.rst()
    server.send(bolt.call(V1, 5, b"hello"))
    assert sole(first).content == b"hello"


def test_without_any_client_the_server_gets_an_error(world: World) -> None:
    client, server, one = pair(world)
    client.rst()
    server.take()
    server.send(bolt.answer(V1, one.id, b"late") + bolt.call(V1, 5, b"hello") + bolt.call(V1, 6, b"news", oneway=True))
    assert statuses(server) == {5: 16}


def test_two_servers_may_use_the_same_ids(moving: bool) -> None:
    world = World(rpc(endpoints=2), moving=moving)
    client = world.connect("rpc")
    client.send(bolt.call(V1, 1, b"") + bolt.call(V1, 2, b""))
    servers = [world.dialled(), world.dialled()]
    for number, server in enumerate(servers):
        server.accept()
        server.take()
        server.send(bolt.call(V1, 77, b"%d" % number))
    asked = taken(client)
    client.send(b"".join(bolt.answer(V1, frame.id, b"to " + frame.content) for frame in reversed(asked)))
    assert [sole(server).raw for server in servers] == [bolt.answer(V1, 77, b"to %d" % number) for number in range(2)]


def test_a_client_that_goes_answers_by_an_error(world: World) -> None:
    client, server, _ = pair(world)
    server.send(bolt.call(V1, 77, b""))
    client.rst()
    assert statuses(server) == {77: 16}


def test_a_client_that_is_silent_answers_by_the_timeout_of_the_call(world: World) -> None:
    client, server, _ = pair(world)
    server.send(bolt.call(V1, 77, b"", timeout=3000) + bolt.call(V1, 78, b"", timeout=-1))
    asked = taken(client)
    world.wait(2.9)
    assert server.take() == b""
    world.wait(0.2)
    assert statuses(server) == {77: 7}
    client.send(bolt.answer(V1, asked[0].id, b"late"))
    assert server.take() == b""
    client.send(bolt.answer(V1, asked[1].id, b"in time"))
    assert statuses(server) == {78: 0}


def test_an_answer_for_a_server_that_is_gone_is_dropped(world: World) -> None:
    client, server, _ = pair(world)
    server.send(bolt.call(V1, 77, b""))
    answer = bolt.answer(V1, sole(client).id, b"")
    server.fin()
    assert statuses(client) == {7: 16}
    client.send(answer)
    client.send(bolt.answer(V2, 12345, b"nobody asked"))
    assert not client.ended
