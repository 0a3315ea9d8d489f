"""Connections that are one client's only: limits, reloads and upgrades around them, as playbooks."""

from __future__ import annotations

import pytest

from hotswap.handover.rounds import Limits
from proxy.config.loader import loads
from proxy.reload import ProxyReload
from tests.proxy.dns.asker import answer
from tests.proxy.honoured import GET, OK
from tests.proxy.simulated_kernel import Socket
from tests.proxy.simulation import World

OWN = "transparent_source: true"


def text(cluster: str, listener: str = "") -> str:
    return f"""\
name: edge
listeners:
  - {{name: in, address: 127.0.0.1:80, protocol: http1, cluster: there{", " * bool(listener)}{listener}}}
clusters:
  - {{name: there, endpoints: [127.0.0.1:9000]{", " * bool(cluster)}{cluster}}}
"""


def answered(world: World, remote: str) -> Socket:
    """The upstream of a client whose connection stays open, idle now."""
    client = world.connect("in", remote=remote)
    client.send(GET)
    server = world.dialled()
    server.accept()
    server.take()
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    return server


def reload(world: World, written: str) -> None:
    ProxyReload(world.proxy, loads(written).config, Limits()).apply({})
    world.settle()


@pytest.mark.parametrize("by", ["reload", "upgrade"])
def test_what_comes_from_one_client_serves_nobody_else_once_all_share(by: str) -> None:
    world = World(loads(text(OWN)).config)
    first = answered(world, "192.0.2.1")
    if by == "reload":
        reload(world, text(""))
    else:
        world.move(loads(text("")).config)
    second = world.connect("in", remote="192.0.2.99")
    second.send(GET)
    assert first.take() == b""
    world.dialled().accept()


def test_limits_hold_for_connections_that_announce_their_client(moving: bool) -> None:
    world = World(loads(text("proxy_protocol: v1, limits: {max_connections: 2}")).config, moving=moving)
    answered(world, "192.0.2.1")
    answered(world, "192.0.2.2")
    third = world.connect("in", remote="192.0.2.3")
    third.send(GET)
    assert third.take().startswith(b"HTTP/1.1 503 ")
    assert world.proxy.clusters["there"].connections == 2


def test_a_smaller_limit_closes_idle_ones_of_all_clients() -> None:
    world = World(loads(text(f"{OWN}, max_idle: 8")).config)
    servers = [answered(world, f"192.0.2.{number}") for number in range(1, 9)]
    reload(world, text(f"{OWN}, max_idle: 2"))
    servers.append(answered(world, "192.0.2.20"))
    assert sum(not server.ended for server in servers) == 2
    assert len(world.proxy.clusters["there"].endpoints[0].pool) == 2


def test_an_endpoint_is_not_to_blame_for_a_client_of_another_family(moving: bool) -> None:
    gate = "proxy_protocol: {trusted: [192.0.2.0/24]}"
    world = World(loads(text(f"{OWN}, outlier: {{}}", gate)).config, moving=moving)
    client = world.connect("in", remote="192.0.2.1")
    client.send(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n" + GET)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert world.dials == []


def test_a_reload_that_takes_a_listener_away_knows_the_answers_of_names() -> None:
    before = text("").replace("127.0.0.1:9000", "app.internal:9000")
    gone = "  - {name: gone, address: 127.0.0.1:81, protocol: http1, cluster: there}\n"
    world = World(loads(before.replace("clusters:", f"{gone}clusters:")).config)
    answer("app.internal", "10.0.0.1")
    world.settle()
    client = world.connect("in")
    client.send(GET)
    server = world.dialled()
    server.accept()
    server.take()
    server.send(OK)
    client.take()
    client.inbox += GET  # waits to be read while the listener leaves
    reload(world, before.replace("there", "renamed"))
    assert client.take() == b""
    world.dialled().accept()
