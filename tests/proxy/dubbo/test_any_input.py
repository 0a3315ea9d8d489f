"""Whatever comes, from either side: no exception, no bystander lost, bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.model import RouteConfig
from proxy.connection import HIGH
from tests.kit import dubbo
from tests.proxy.damage import damaged, feed
from tests.proxy.dubbo.scene import BY_GROUP, BY_INTERFACE, captured, edited, pair, rpc, statuses, taken
from tests.proxy.simulation import Socket, World

CORPUS = Path(__file__).parent / "corpus"
SEEDS = {path.stem: bytes.fromhex(path.read_text()) for path in sorted(CORPUS.glob("*.hex"))}
FRAMES = (
    [*SEEDS.values()]
    + [one.frame for one in captured()]
    + [
        dubbo.encode(flags, status, 1, body)
        for flags in range(0, 256, 32)
        for status in (0, 20, 80)
        for body in (b"", b"N", b"\1R", b"\x91\x91")
    ]
)


INPUT = st.one_of(damaged(FRAMES), st.binary(max_size=200))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("routes", [BY_INTERFACE, (*BY_GROUP, *BY_INTERFACE), None])
def test_the_corpus_costs_one_connection_at_most(seed: str, routes: tuple[RouteConfig, ...] | None) -> None:
    """Without routes: filters edit everything."""
    world = World(edited() if routes is None else rpc(routes=routes), moving=True)
    bystander = world.connect("rpc")
    bystander.send(dubbo.call(1, b"", interface="com.acme.Orders"))
    server = world.dialled()
    server.accept()
    client = world.connect("rpc")
    feed(client, SEEDS[seed], 20)
    for frame in taken(server):
        server.send(dubbo.answer(frame.id, b""))
    assert not server.ended
    assert statuses(bystander) == {1: 20}
    feed(server, SEEDS[seed], 20)
    check_bystander(world, bystander)


def check_bystander(world: World, client: Socket) -> None:
    """It is still served: by the connection there is, or by another one."""
    client.take()
    client.send(dubbo.heartbeat(1000) + dubbo.call(1001, b"alive", interface="com.acme.Orders"))
    assert statuses(client)[1000] == 20
    while world.dials:
        world.dialled().accept()
    assert not client.ended


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=INPUT,
    cut=st.integers(0, 100),
    moves=st.booleans(),
    routes=st.sampled_from([BY_INTERFACE, (*BY_GROUP, *BY_INTERFACE)]),
)
def test_any_input_of_a_client(data: bytes, cut: int, moves: bool, routes: tuple[RouteConfig, ...]) -> None:
    world = World(rpc(routes=routes), moving=moves)
    bystander = world.connect("rpc")
    bystander.send(dubbo.call(1, b"", interface="com.acme.Orders"))
    server = world.dialled()
    server.accept()
    client = world.connect("rpc")
    feed(client, data, cut)
    while world.dials:
        world.dialled().accept()
    for frame in taken(server):
        server.send(dubbo.answer(frame.id, b""))
    assert not server.ended
    assert statuses(bystander) == {1: 20}
    check_bystander(world, bystander)
    world.wait(100)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUT, cut=st.integers(0, 100), moves=st.booleans())
def test_any_input_of_a_server(data: bytes, cut: int, moves: bool) -> None:
    world = World(rpc(), moving=moves)
    client, server, _ = pair(world)
    other = world.connect("rpc")
    feed(server, data, cut)
    check_bystander(world, client)
    check_bystander(world, other)
    world.wait(100)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(0, 0xFFFFFFFF), flags=st.integers(0, 255))
def test_any_stated_length_is_bounded_in_memory(length: int, flags: int) -> None:
    world = World(rpc(listener={"max_frame": 1 << 17}))
    client = world.connect("rpc")
    client.send(dubbo.encode(flags, 0, 1, b"")[:12] + length.to_bytes(4, "big"))
    for _ in range(20):
        client.send(bytes(65536))
        values: list[Any] = list(world.proxy.values().values())
        held = sum(len(one.inbox) + len(one.outbox) for one in values)
        assert held < (1 << 17) + 2 * HIGH
        if client.closed:
            break
