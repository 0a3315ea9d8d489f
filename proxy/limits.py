"""How much of one cluster may be used at a time, and how much of that for second attempts.

Only what no counter tells is kept here: who waits for a connection, and whose request is sent again. Both follow from
the downstream connections themselves, which are asked anew for each decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.portion import PORTION

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.config.model import ClusterConfig


_SPARE: Final = 64


class Claimant(Protocol):
    """A downstream connection, as far as limits are concerned."""

    serial: int

    @property
    def waiting(self) -> bool:
        """It waits for a connection to be made."""

    @property
    def retrying(self) -> bool:
        """Its request is sent for a second time, and not answered yet."""


class Limits:
    """Those of one cluster. Claims are derived, hence not saved: `claim` is called again by `load`."""

    __slots__ = ("_bound", "_claimants", "_cluster")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._claimants: dict[int, Claimant] = {}
        self._bound = _SPARE
        """When claims are looked through for those that are over, even if nobody asks."""

    @staticmethod
    def wanted(config: ClusterConfig) -> bool:
        """Whether a cluster has any."""
        return config.limits is not None or config.retry_budget is not None

    def claim(self, claimant: Claimant) -> None:
        """It waits for a connection, or tries again; no harm if it does not."""
        self._claimants[claimant.serial] = claimant
        if len(self._claimants) > self._bound:
            self._prune()
            self._bound = 2 * len(self._claimants) + _SPARE

    def admit(self, claimant: Claimant, *, dials: bool) -> str:
        """Why its request cannot be served; empty if it can, and it counts from here on."""
        excess = self.excess(dials=dials)
        if excess:
            self._cluster.meters.overflows.inc()
        elif dials:
            self.claim(claimant)
        return excess

    def busy(self) -> bool:
        """A further call on connections that are shared cannot be served. If so, that is counted."""
        if not self.excess(dials=False):
            return False
        self._cluster.meters.overflows.inc()
        return True

    def excess(self, *, dials: bool) -> str:
        """Why a further request cannot be served, empty if it can. `dials`: it takes a new connection."""
        limits = self._cluster.config.limits
        if limits is None:
            return ""
        cluster = self._cluster
        if limits.max_requests is not None and cluster.in_flight >= PORTION.of(limits.max_requests):
            return f"cluster {cluster.name} serves {limits.max_requests} requests already"
        if dials and limits.max_connections is not None and cluster.connections >= PORTION.of(limits.max_connections):
            return f"cluster {cluster.name} has {limits.max_connections} connections already"
        if dials and limits.max_pending is not None:
            self._prune()
            if sum(one.waiting for one in self._claimants.values()) >= PORTION.of(limits.max_pending):
                return f"{limits.max_pending} requests wait for a connection to cluster {cluster.name} already"
        return ""

    def may_retry(self, claimant: Claimant) -> bool:
        """This one's request may be sent again. It was lost, so the cluster does not count it any more."""
        budget = self._cluster.config.retry_budget
        if budget is None:
            return True
        self._prune()
        others = sum(one.retrying for one in self._claimants.values() if one is not claimant)
        return others < max(budget.at_least, (self._cluster.in_flight + 1) * budget.percent // 100)

    def _prune(self) -> None:
        claimants = self._claimants
        self._claimants = {serial: one for serial, one in claimants.items() if one.waiting or one.retrying}
