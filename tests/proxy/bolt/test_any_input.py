"""Whatever comes, from either side: no exception, no bystander lost, bounded memory."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.connection import HIGH
from tests.kit import bolt
from tests.kit.bolt import DIALECTS
from tests.proxy.bolt.scene import BY_SERVICE, V1, captured, pair, rpc, statuses, taken
from tests.proxy.damage import damaged, feed
from tests.proxy.simulation import Socket, World

FRAMES = [one.frame for one in captured()] + [
    bolt.encode(dialect, kind, command, 1, 0, content=b"x")
    for dialect in DIALECTS
    for kind in (0, 1, 2)
    for command in (0, 1, 2, 3, 100)
]


INPUT = st.one_of(damaged(FRAMES), st.binary(max_size=200))


def check_bystander(world: World, client: Socket) -> None:
    """It is still served: by the connection there is, or by another one."""
    client.take()
    client.send(bolt.heartbeat(V1, 1000) + bolt.call(V1, 1001, b"alive", service="com.acme.Orders:1.0"))
    assert statuses(client)[1000] == 0
    while world.dials:
        world.dialled().accept()
    assert not client.ended


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUT, cut=st.integers(0, 100), moves=st.booleans())
def test_any_input_of_a_client(data: bytes, cut: int, moves: bool) -> None:
    world = World(rpc(routes=BY_SERVICE), moving=moves)
    bystander = world.connect("rpc")
    bystander.send(bolt.call(V1, 1, b"", service="com.acme.Orders:1.0"))
    server = world.dialled()
    server.accept()
    client = world.connect("rpc")
    feed(client, data, cut)
    while world.dials:
        world.dialled().accept()
    for frame in taken(server):
        server.send(bolt.answer(frame.dialect, frame.id, frame.content))
    assert not server.ended
    assert statuses(bystander) == {1: 0}
    check_bystander(world, bystander)
    world.wait(100)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUT, cut=st.integers(0, 100), moves=st.booleans())
def test_any_input_of_a_server(data: bytes, cut: int, moves: bool) -> None:
    world = World(rpc(), moving=moves)
    client, server, _ = pair(world)
    other = world.connect("rpc")
    feed(server, data, cut)
    check_bystander(world, client)
    check_bystander(world, other)
    world.wait(100)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 0xFFFFFFFF), kind=st.sampled_from([0, 1, 2]), dialect=st.sampled_from(DIALECTS))
def test_any_stated_length_is_bounded_in_memory(length: int, kind: int, dialect: bolt.Dialect) -> None:
    world = World(rpc(listener={"max_frame": 1 << 17}))
    client = world.connect("rpc")
    frame = bytearray(bolt.encode(dialect, kind, bolt.CALL, 1))
    at = (22 if kind else 20) + 2 * (dialect.version - 1) - 4
    frame[at : at + 4] = length.to_bytes(4, "big")
    client.send(bytes(frame))
    for _ in range(20):
        client.send(bytes(65536))
        values: list[Any] = list(world.proxy.values().values())
        held = sum(len(one.inbox) + len(one.outbox) for one in values)
        assert held < (1 << 17) + 2 * HIGH
        if client.closed:
            break
