"""Every key that is only for bolt makes the difference that docs/config.md promises."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.simulation import World


def rpc(listener: str = "cluster: app", cluster: str = "", *, moving: bool) -> World:
    """A bolt listener `rpc`, the clusters `app` and `other`."""
    return World(
        loads(
            f"""\
name: edge
listeners:
  - {{name: rpc, address: 127.0.0.1:80, protocol: bolt, {listener}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]{cluster}}}
  - {{name: other, endpoints: [127.0.0.1:9001]}}
"""
        ).config,
        moving=moving,
    )


def call(number: int, size: int = 1, **more: Any) -> bytes:
    return bolt.call(bolt.DIALECTS[0], number, bytes(size), **more)


def test_service_of_a_match_takes_calls_by_a_pattern(moving: bool) -> None:
    world = rpc("routes: [{match: {service: com.acme.*}, cluster: app}, {cluster: other}]", moving=moving)
    world.connect("rpc").send(call(1, service="com.acme.Orders:1.0"))
    assert str(world.dialled().address) == "127.0.0.1:9000"
    world.connect("rpc").send(call(1, service="com.other"))
    assert str(world.dialled().address) == "127.0.0.1:9001"


def test_max_frame_is_the_limit_of_a_call(moving: bool) -> None:
    world = rpc("cluster: app, max_frame: 128KB", moving=moving)
    client = world.connect("rpc")
    client.send(call(1, 128 * 1024))
    assert client.take() == bolt.encode(bolt.DIALECTS[0], bolt.RESPONSE, bolt.ANSWER, 1, 9)


@pytest.mark.parametrize("limit", [1, 3])
def test_shared_connections_is_how_many_all_calls_share(moving: bool, limit: int) -> None:
    world = rpc(cluster=f", shared_connections: {limit}", moving=moving)
    dialled = 0
    for number in range(8):
        world.connect("rpc").send(call(number))
        while world.dials:
            world.dialled().accept()
            dialled += 1
    assert dialled == limit


def test_heartbeat_interval_is_the_longest_silence_of_a_shared_connection(moving: bool) -> None:
    world = rpc(cluster=", heartbeat_interval: 5s", moving=moving)
    world.connect("rpc").send(call(1, oneway=True))
    server = world.dialled()
    server.accept()
    server.take()
    world.wait(4.9)
    assert server.take() == b""
    world.wait(0.2)
    assert server.take() == bolt.encode(bolt.DIALECTS[0], bolt.REQUEST, bolt.HEARTBEAT, 2, -1)
