"""Headers for the endpoints of clusters with ``proxy_protocol``.

A connection of tcp announces its client. One of http1 does, too, and then serves requests of that client's connection
only: what a receiver has read once holds for all that follows. Connections that all clients share (bolt), and those of
health checks, announce that nobody stands behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.address import Address
from hotswap.errors import CannotRestore
from proxy.proxy_protocol.header import Pair, encode
from proxy.sides import Upstream

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.plane import Plane
    from proxy.pool import Pool
    from proxy.sides import Downstream


def announcement(cluster: Cluster, client: Downstream | None) -> bytes:
    """The header that a connection to this cluster begins with, for a client or for nobody; empty: none."""
    version = cluster.announces
    if version is None:
        return b""
    if client is not None and client.introduced is None:
        client.introduced = _ends(client)
    return encode(version, None if client is None else client.introduced)


def _ends(client: Downstream) -> Pair | None:
    """Who the client is, and where it wanted to go; None if it is gone."""
    pair = client.plane.ends(client.fd)
    if pair is None or not client.destination:
        return pair
    wanted = Address.parse(client.destination)  # a rule of the kernel's sent it here, see `proxy.origins`
    return Pair(pair.source, pair.source_port, wanted.host, wanted.port)


def introduced_to(pool: Pool, cluster: Cluster, client: Downstream) -> Announced | None:
    """An idle connection that announced this client, the most recently used one; None if there is none."""
    header = announcement(cluster, client)
    idle: list[Announced] = pool.connections()  # type: ignore[assignment]  # a pool of http1
    for upstream in reversed(idle):
        if upstream.announced == header:
            return upstream
    return None


def abandon(client: Downstream) -> None:
    """The client is gone: have the idle connections that announced it end with the next tick."""
    now = client.plane.now
    for cluster in client.listener.clusters.values():
        if cluster.announces is None:
            continue
        header = announcement(cluster, client)
        for endpoint in cluster.endpoints:
            idle: list[Announced] = endpoint.pool.connections()  # type: ignore[assignment]
            for upstream in idle:
                if upstream.announced == header:
                    upstream.endpoint.pool.discard(upstream)
                    upstream.active = now - endpoint.pool.keepalive
                    upstream.changes += 1
                    upstream.wake(now)


class Announced(Upstream):
    """A connection that serves one client only, if it announced one."""

    __slots__ = ("announced",)

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.announced = b""
        """The header that it began with; empty without one."""

    def announce(self, client: Downstream) -> None:
        """Begin with the header, if the cluster wants one. Dialled already."""
        self.announced = announcement(self.endpoint.cluster, client)
        self.introduce(self.announced)

    def load_announced(self, header: bytes) -> None:
        """Part of `load`; `CannotRestore` for a connection of one client that its cluster would give to others now."""
        cluster = self.endpoint.cluster
        if header and cluster.announces is None:
            raise CannotRestore(f"it announced one client, and cluster {cluster.name!r} has no proxy_protocol any more")
        self.announced = header
