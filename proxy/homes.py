"""Where restored connections find what they belong to: the half of the server that is `proxy.plane.Places`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.errors import CannotRestore

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.endpoint import Endpoint
    from proxy.links import Links
    from proxy.listener import Listener


class Homes:
    """Implements `proxy.plane.Places` over the listeners and clusters of a configuration."""

    clusters: dict[str, Cluster]
    _by_address: dict[str, Listener]
    _links: Links

    def listener(self, name: str, address: str, protocol: str) -> Listener:
        """See `proxy.plane.Places`."""
        listener = self._by_address.get(address)
        if listener is None:
            raise CannotRestore(f"listener {name!r} ({address}) is not in the new configuration")
        if listener.config.protocol != protocol:
            raise CannotRestore(f"listener {name!r} spoke {protocol} and now speaks {listener.config.protocol}")
        return listener

    def cluster(self, name: str) -> Cluster:
        """See `proxy.plane.Places`."""
        cluster = self.clusters.get(name)
        if cluster is None:
            raise CannotRestore(f"cluster {name!r} is not in the new configuration")
        return cluster

    def endpoint(self, cluster: str, address: str) -> Endpoint:
        """See `proxy.plane.Places`."""
        return self.cluster(cluster).endpoint(address)

    def link(self, connection: Connection, serial: int) -> None:
        """See `proxy.plane.Places`."""
        self._links.link(connection, serial)

    def expect(self, connection: Connection, serials: Collection[int]) -> dict[int, Connection]:
        """See `proxy.plane.Places`."""
        return self._links.expect(connection, serials)
