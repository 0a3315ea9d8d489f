"""A listener of the data plane: its configuration, what its connections belong to, and accepting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.cluster import Cluster
    from proxy.config.model import ListenerConfig


class Listener:
    """What a downstream connection knows of where it came in (the field ``listener`` of its class)."""

    __slots__ = ("address", "clusters", "config", "connections", "fd", "name")

    def __init__(self, config: ListenerConfig, clusters: Mapping[str, Cluster]) -> None:
        self.config = config
        self.name = config.name
        self.address = str(config.address)
        self.clusters = clusters
        """All clusters of the configuration by name; routes name them."""
        self.fd = -1
        self.connections = 0
        """Downstream connections alive, counted by `Downstream`."""

    @property
    def cluster(self) -> Cluster:
        """Where a listener without a choice of routes sends its connections."""
        return self.clusters[self.config.cluster]
