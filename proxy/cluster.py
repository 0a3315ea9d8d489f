"""Clusters: equivalent upstreams, one of which each stream is given to.

An `Endpoint` counts what is under way on it, so that `least_request` can compare, and owns the pool of
idle connections. Both are derived from the connections themselves, hence not saved: `load` of an
upstream connection counts itself again. Saved is only what no connection knows: the balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.address import Address
from hotswap.errors import CannotRestore, ConfigError
from proxy.balance import BALANCES
from proxy.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.bolt.pool import SharedPool
    from proxy.config.model import ClusterConfig


class Endpoint:
    """One member of a cluster.

    A layer calls `begin` when a stream starts to use it (also: when it dials for one) and `end` when
    that use is over, exactly once each.
    """

    __slots__ = ("address", "cluster", "current", "in_flight", "name", "pool", "shared", "weight")

    def __init__(self, cluster: Cluster, address: Address, weight: int) -> None:
        self.cluster = cluster
        self.address = address
        self.name = str(address)
        """The canonical text of the address: the endpoint's identity across generations."""
        self.weight = weight
        self.in_flight = 0
        self.current = 0
        """The balance's own number, see `proxy.balance`."""
        self.pool = Pool(cluster.config.max_idle, cluster.config.keepalive_timeout)
        self.shared: dict[int, SharedPool] = {}
        """The connections that bolt clients share, by version of bolt."""

    def begin(self) -> None:
        """One more stream uses this endpoint."""
        self.in_flight += 1

    def end(self) -> None:
        """One fewer."""
        self.in_flight -= 1

    def follow(self, settings: Endpoint) -> None:
        """Take the settings of another."""
        self.weight = settings.weight
        self.pool.limit, self.pool.keepalive = settings.pool.limit, settings.pool.keepalive

    def leave(self) -> bool:
        """Close what is idle, and what will be. True while something is under way."""
        self.pool.limit = 0
        for connection in self.pool.connections():
            connection.close()
        for pool in self.shared.values():
            for shared in list(pool.members.values()):
                shared.retire()
        return self.in_flight > 0


class Cluster:
    """The endpoints of one `ClusterConfig` and the balance between them."""

    __slots__ = ("_former", "_pick", "config", "endpoints", "name")

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.name = config.name
        self._pick = BALANCES[config.balance]
        weighted = config.balance == "weighted"
        self.endpoints = tuple(Endpoint(self, one.address, one.weight if weighted else 1) for one in config.endpoints)
        self._former: dict[str, Endpoint] = {}

    def follow(self, config: ClusterConfig) -> None:
        """Take another configuration in place. Endpoints that stay keep their pool, their balance and their counts."""
        known = {endpoint.name: endpoint for endpoint in (*self._former.values(), *self.endpoints)}
        fresh = Cluster(config)
        endpoints = []
        for endpoint in fresh.endpoints:
            endpoint.cluster = self
            old = known.pop(endpoint.name, endpoint)
            old.follow(endpoint)
            endpoints.append(old)
        self.config = config
        self._pick = fresh._pick
        self.endpoints = tuple(endpoints)
        self._former = {endpoint.name: endpoint for endpoint in known.values() if endpoint.leave()}

    def close(self) -> None:
        """No configuration has it any more. What is under way finishes."""
        for endpoint in (*self._former.values(), *self.endpoints):
            endpoint.leave()

    def pick(self, tried: Collection[str] = ()) -> Endpoint | None:
        """The endpoint for the next stream, none of those whose names were `tried`; None if none is left."""
        candidates = self.endpoints
        if tried:
            candidates = tuple(endpoint for endpoint in candidates if endpoint.name not in tried)
            if not candidates:
                return None
        return candidates[0] if len(candidates) == 1 else self._pick(candidates)

    def endpoint(self, address: str) -> Endpoint:
        """The endpoint of that address.

        One that the configuration dropped lives on for the connections it still has; it is never picked.
        """
        for endpoint in self.endpoints:
            if endpoint.name == address:
                return endpoint
        former = self._former.get(address)
        if former is None:
            try:
                former = Endpoint(self, Address.parse(address), 0)
            except ConfigError as error:
                raise CannotRestore(str(error)) from None
            former.pool.limit = 0
            self._former[address] = former
        return former
