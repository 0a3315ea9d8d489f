"""A proxy with two tcp listeners, and relays through it, for the tests of a handover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.address import Address
from hotswap.swappable import Saved
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig

if TYPE_CHECKING:
    from proxy.server import ProxyServer
    from tests.proxy.simulation import Socket, World


def listener(name: str, port: int, cluster: str = "db", protocol: str = "tcp") -> ListenerConfig:
    return ListenerConfig(
        name=name,
        address=Address.parse(f"127.0.0.1:{port}"),
        protocol="http1" if protocol == "http1" else "tcp",
        routes=(RouteConfig(cluster=cluster),),
    )


def cluster(name: str, *ports: int) -> ClusterConfig:
    return ClusterConfig(
        name=name,
        endpoints=tuple(EndpointConfig(address=Address.parse(f"127.0.0.1:{port}")) for port in ports),
        connect_timeout=1.0,
        idle_timeout=60.0,
    )


TWO = Config(
    name="edge",
    listeners=(listener("db", 5432), listener("cache", 6379, "cache")),
    clusters=(cluster("db", 9000, 9001), cluster("cache", 9100)),
)


def relay(world: World, name: str = "db") -> tuple[Socket, Socket]:
    client = world.connect(name)
    server = world.dialled()
    server.accept()
    return client, server


def both_ways(client: Socket, server: Socket) -> bool:
    client.send(b"question")
    server.send(b"answer")
    return server.take() == b"question" and client.take() == b"answer"


def save(proxy: ProxyServer) -> list[Saved]:
    now = proxy.reactor.kernel.clock()
    return [Saved(value.kind, serial, value.changes, value.save(now)) for serial, value in proxy.values().items()]
