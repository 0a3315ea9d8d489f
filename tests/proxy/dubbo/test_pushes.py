"""Requests that a server sends to its client."""

from __future__ import annotations

from tests.kit import dubbo
from tests.proxy.dubbo.scene import pair, rpc, sole, statuses, taken
from tests.proxy.simulation import World


def test_a_request_of_the_server_reaches_who_called_last_and_comes_back(world: World) -> None:
    first, server, one = pair(world)
    second = world.connect("rpc")
    second.send(dubbo.call(7, b""))
    sole(server)
    server.send(dubbo.call(one.id, b"hello"))  # ids of both directions overlap
    assert first.take() == b""
    asked = sole(second)
    assert (asked.flags, asked.content) == (dubbo.REQUEST | dubbo.TWOWAY, b"hello")
    second.send(dubbo.answer(asked.id, b"hi"))
    assert server.take() == dubbo.answer(one.id, b"hi")
    server.send(dubbo.answer(one.id, b"first"))
    assert sole(first).raw == dubbo.answer(7, b"first")


def test_a_oneway_request_of_the_server_passes(world: World) -> None:
    client, server, _ = pair(world)
    server.send(dubbo.call(5, b"news", oneway=True))
    assert sole(client).content == b"news"


def test_another_client_that_waits_takes_the_place_of_one_that_is_gone(world: World) -> None:
    first, server, _ = pair(world)
    second = world.connect("rpc")
    second.send(dubbo.call(7, b""))
    second.rst()
    server.send(dubbo.call(5, b"hello"))
    assert sole(first).content == b"hello"


def test_without_any_client_the_server_gets_an_error(world: World) -> None:
    client, server, one = pair(world)
    client.rst()
    server.take()
    server.send(dubbo.answer(one.id, b"late") + dubbo.call(5, b"hello") + dubbo.call(6, b"news", oneway=True))
    assert statuses(server) == {5: 35}


def test_two_servers_may_use_the_same_ids(moving: bool) -> None:
    world = World(rpc(endpoints=2), moving=moving)
    client = world.connect("rpc")
    client.send(dubbo.call(1, b"") + dubbo.call(2, b""))
    servers = [world.dialled(), world.dialled()]
    for number, server in enumerate(servers):
        server.accept()
        server.take()
        server.send(dubbo.call(77, b"%d" % number))
    asked = taken(client)
    client.send(b"".join(dubbo.answer(frame.id, b"to " + frame.content) for frame in reversed(asked)))
    assert [sole(server).raw for server in servers] == [dubbo.answer(77, b"to %d" % number) for number in range(2)]


def test_a_client_that_goes_answers_by_an_error(world: World) -> None:
    client, server, _ = pair(world)
    server.send(dubbo.call(77, b""))
    client.rst()
    assert statuses(server) == {77: 35}


def test_a_client_that_is_silent_answers_by_the_timeout_of_the_cluster(moving: bool) -> None:
    world = World(rpc(request_timeout=3.0), moving=moving)
    client, server, _ = pair(world)
    server.send(dubbo.call(77, b""))
    asked = taken(client)
    world.wait(1)
    server.send(dubbo.call(78, b""))
    asked += taken(client)
    world.wait(1.9)
    assert server.take() == b""
    statuses(client)
    world.wait(0.2)
    client.take()
    assert statuses(server) == {77: 31}
    client.send(dubbo.answer(asked[0].id, b"late"))
    assert server.take() == b""
    client.send(dubbo.answer(asked[1].id, b"in time"))
    assert statuses(server) == {78: 20}


def test_an_answer_for_a_server_that_is_gone_is_dropped(world: World) -> None:
    client, server, _ = pair(world)
    server.send(dubbo.call(77, b""))
    answer = dubbo.answer(sole(client).id, b"")
    server.fin()
    assert statuses(client) == {7: 35}
    client.send(answer)
    client.send(dubbo.answer(12345, b"nobody asked"))
    assert not client.ended
