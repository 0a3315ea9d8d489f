"""The endpoints of a cluster that are used: the healthy ones without the ejected ones.

A share of them at most is ejected at a time (`max_ejected`), so a cluster of one endpoint never ejects it: what
looks broken everywhere is more likely broken elsewhere. For the same reason all count as healthy once too few are
(`panic`).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxy.health.probe import Probe
from proxy.health.watch import Watch
from proxy.state import WatchState

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.config.model import ClusterConfig
    from proxy.endpoint import Endpoint
    from proxy.plane import Plane


class Healing:
    """What a cluster with `outlier` or `health_check` has. Its endpoints have a `Watch` each."""

    __slots__ = ("_cluster", "_watches", "check", "due", "outlier")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watches: dict[str, Watch] = {}
        self.outlier = cluster.config.outlier
        self.check = cluster.config.health_check
        self.due = inf
        """When `alarm` has something to do, monotonic seconds."""

    @staticmethod
    def wanted(config: ClusterConfig) -> bool:
        """Whether a cluster has one."""
        return config.outlier is not None or config.health_check is not None

    def follow(self) -> None:
        """The cluster's configuration or endpoints changed; records of endpoints that stay are kept."""
        self.outlier = self._cluster.config.outlier
        self.check = self._cluster.config.health_check
        known = self._watches
        self._watches = {}
        for endpoint in self._cluster.endpoints:
            watch = known.get(endpoint.name) or Watch(self, endpoint.meters.ejections)
            watch.follow(self)
            self._watches[endpoint.name] = watch
            endpoint.heal_by(watch)
        self.changed()

    def may_eject(self) -> bool:
        """One more may be ejected."""
        watches = self._watches.values()
        ejected = 1 + sum(watch.ejected for watch in watches)
        share = 0 if self.outlier is None else self.outlier.max_ejected
        return ejected < len(watches) and ejected * 100 <= share * len(watches)

    def changed(self) -> None:
        """An endpoint is used no longer, or again."""
        self.due = min((watch.due for watch in self._watches.values()), default=inf)
        self._cluster.use(self._usable())

    def _usable(self) -> tuple[Endpoint, ...]:
        endpoints = self._cluster.endpoints
        watches = self._watches
        healthy = tuple(endpoint for endpoint in endpoints if watches[endpoint.name].healthy)
        if self.check is None or len(healthy) * 100 < self.check.panic * len(endpoints):
            healthy = endpoints
        return tuple(endpoint for endpoint in healthy if not watches[endpoint.name].ejected) or healthy

    def alarm(self, now: float, plane: Plane) -> None:
        """`due` has passed."""
        check = self.check
        for endpoint in self._cluster.endpoints:
            watch = self._watches[endpoint.name]
            watch.alarm(now)
            if check is not None and watch.check_at <= now:
                watch.check_at = now + check.interval
                if watch.probe is None:
                    Probe(plane).dial_for(endpoint, check.timeout)
        self.changed()

    def save(self, now: float) -> dict[str, WatchState]:
        """The records by address of the endpoint."""
        return {name: watch.save(now) for name, watch in self._watches.items()}

    def load(self, saved: dict[str, WatchState], now: float) -> None:
        """The counterpart of `save`."""
        for name, watch in self._watches.items():
            watch.load(saved.get(name, WatchState()), now)
        self.changed()
