"""What is known of endpoints stays when the configuration changes in place."""

from __future__ import annotations

from typing import Any

from hotswap.handover.rounds import Limits
from proxy.config.loader import loads
from proxy.reload import ProxyReload
from tests.proxy.simulation import World

OUTLIER = "outlier: {connect_failures: 1, cooldown: 10s}"


def config(endpoints: str, more: str = OUTLIER) -> Any:
    return loads(f"""\
name: edge
listeners: [{{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}]
clusters: [{{name: app, endpoints: [{endpoints}], {more}}}]
""").config


def reload(world: World, changed: Any) -> None:
    ProxyReload(world.proxy, changed, Limits()).apply({})
    world.settle()


def goes_to(world: World) -> list[int]:
    found = set()
    for _ in range(6):
        client = world.connect("raw")
        server = world.dialled()
        assert server.address is not None
        found.add(server.address.port)
        server.accept()
        client.rst()
    return sorted(found)


def test_ejections_stay_with_the_endpoints_that_stay() -> None:
    world = World(config("127.0.0.1:9000, 127.0.0.1:9001"))
    world.connect("raw")
    world.dialled().refuse()
    world.dialled().accept()
    reload(world, config("127.0.0.1:9002, 127.0.0.1:9000, 127.0.0.1:9001"))
    assert goes_to(world) == [9001, 9002]
    world.wait(10.1)
    assert goes_to(world) == [9000, 9001, 9002]


def test_checks_begin_and_end_with_the_configuration() -> None:
    world = World(config("127.0.0.1:9000, 127.0.0.1:9001", "max_idle: 1"))
    assert world.dials == []
    reload(world, config("127.0.0.1:9000, 127.0.0.1:9001", "health_check: {unhealthy: 1, interval: 5s}"))
    first, second = world.dialled(), world.dialled()
    first.refuse()
    second.accept()
    assert goes_to(world) == [9001]
    reload(world, config("127.0.0.1:9000, 127.0.0.1:9001", "max_idle: 1"))
    assert goes_to(world) == [9000, 9001]
    world.wait(5.1)
    assert world.dials == []


def test_a_check_under_way_whose_cluster_is_checked_no_more_means_nothing() -> None:
    world = World(config("127.0.0.1:9000", "health_check: {check: http}"))
    probe = world.dialled()
    reload(world, config("127.0.0.1:9000", "max_idle: 1"))
    probe.accept()
    assert probe.closed
