"""Clusters: equivalent upstreams, one of which each stream is given to.

An `Endpoint` counts what is under way on it, so that `least_request` can compare, and owns the pool of
idle connections. Both are derived from the connections themselves, hence not saved: `load` of an
upstream connection counts itself again. Saved is only what no connection knows: the balance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hotswap.address import Address
from hotswap.errors import CannotRestore, ConfigError
from proxy.balance import BALANCES
from proxy.dns.endpoints import expanded, hosts
from proxy.health.healing import Healing
from proxy.limits import Limits
from proxy.pool import Corner, Pool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, Protocol

    from proxy.bolt.pool import SharedPool
    from proxy.config.model import ClusterConfig
    from proxy.health.watch import Watch
    from proxy.limits import Claimant

    class Client(Protocol):
        """A downstream connection, as far as it decides where its requests go."""

        remote: str
        destination: str
        tried: tuple[str, ...]


ORIGINAL_DST: Final = "original_dst"
"""The name of the one endpoint of a cluster that goes where the client wanted to go."""
FROM: Final = " from "
_SPARE: Final = 64


class Endpoint:
    """One member of a cluster.

    A layer calls `begin` when a stream starts to use it (also: when it dials for one) and `end` when
    that use is over, exactly once each. What becomes of dials and streams it tells by `connected` or `unreachable`, and
    `answered` or `lost`.
    """

    __slots__ = (
        "address",
        "calls",
        "cluster",
        "current",
        "guises",
        "in_flight",
        "key",
        "labels",
        "name",
        "pool",
        "shared",
        "source",
        "watch",
        "weight",
    )

    def __init__(
        self, cluster: Cluster, address: Address, weight: int, labels: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.cluster = cluster
        self.address = address
        self.name = str(address)
        """The canonical text of the address."""
        self.key = self.name
        """The endpoint's identity across generations."""
        self.source = ""
        """The host that dials come from; empty for that of this machine."""
        self.guises: dict[str, Guise] = {}
        """By key; see `Guise`."""
        self.weight = weight
        self.labels = frozenset(labels)
        self.in_flight = 0
        self.current = 0
        """The balance's own number, see `proxy.balance`."""
        self.pool = Pool(cluster.config.max_idle, cluster.config.keepalive_timeout)
        self.shared: dict[int, SharedPool] = {}
        """The connections that bolt clients share, by version of bolt."""
        self.calls = 0
        """Answers that it gave on shared connections since this generation owns."""
        self.watch: Watch | None = None
        """Who wants to know what becomes of its streams; None unless the cluster is to heal itself."""

    def begin(self) -> None:
        """One more stream uses this endpoint."""
        self.in_flight += 1

    def end(self) -> None:
        """One fewer."""
        self.in_flight -= 1

    def connected(self) -> None:
        """A connection was made."""
        if self.watch is not None:
            self.watch.connected()

    def unreachable(self, now: float) -> None:
        """A connection failed or took too long."""
        if self.watch is not None:
            self.watch.unreachable(now)

    def lost(self, now: float) -> None:
        """A connection ended before the answer was complete, or that did not come in time."""
        if self.watch is not None:
            self.watch.lost(now)

    def answered(self, now: float, *, error: bool = False) -> None:
        """The answer came. Where that is done for every request, look at `watch` first."""
        if self.watch is not None:
            self.watch.answered(now, error=error)

    def follow(self, settings: Endpoint) -> None:
        """Take the settings of another."""
        self.weight, self.labels = settings.weight, settings.labels
        self.pool.limit, self.pool.keepalive = settings.pool.limit, settings.pool.keepalive
        for guise in self.guises.values():
            guise.pool.keepalive = settings.pool.keepalive

    @property
    def connections(self) -> int:
        """In use, being made, idle, shared."""
        if self.shared:
            return sum(len(pool) for pool in self.shared.values())
        return self.in_flight + len(self.pool)

    def describe(self, now: float) -> dict[str, Any]:
        """For people: what is under way, and how it does where that is watched."""
        about = {"address": self.name, "in_flight": self.in_flight, "idle": len(self.pool)}
        return about if self.watch is None else {**about, "health": self.watch.describe(now)}

    def leave(self) -> bool:
        """Close what is idle, and what will be. True while something is under way."""
        self.pool.limit = 0
        for connection in self.pool.connections():
            connection.close()
        for pool in self.shared.values():
            for shared in list(pool.members.values()):
                shared.retire()
        return self.in_flight > 0

    def seen_by(self, client: Client) -> Endpoint | None:
        """The endpoint as this client reaches it, in a cluster that is `personal`. None: not at all."""
        return self.guise(self.address, client.remote)

    def guise(self, address: Address, source: str) -> Endpoint:
        """As whoever comes from that host reaches it, or reaches that address through it."""
        key = f"{address}{FROM}{source}" if source else str(address)
        guise = self.guises.get(key)
        if guise is None:
            if len(self.guises) >= 2 * self.connections + _SPARE:
                self.guises = {key: one for key, one in self.guises.items() if one.connections}
            guise = self.guises[key] = Guise(self, address, source, key)
        return guise


class Guise(Endpoint):
    """An endpoint as one client reaches it: from the client's own address, or where the client wanted to go.

    Its connections are nobody else's. They count for the whole endpoint, too, and so does what becomes of them. There
    are about as many of these as are in use; others are forgotten.
    """

    __slots__ = ("_whole",)

    def __init__(self, whole: Endpoint, address: Address, source: str, key: str) -> None:
        self._whole = whole
        super().__init__(whole.cluster, address, whole.weight)
        self.source = source
        self.key = key
        self.pool = Corner(whole.pool)

    @property
    def watch(self) -> Watch | None:
        """That of the whole."""
        return self._whole.watch

    @watch.setter
    def watch(self, watch: Watch | None) -> None: ...

    def begin(self) -> None:
        """See `Endpoint`."""
        self.in_flight += 1
        self._whole.begin()

    def end(self) -> None:
        """See `Endpoint`."""
        self.in_flight -= 1
        self._whole.end()


class Anywhere(Endpoint):
    """Stands for all destinations: the one endpoint of a cluster with ``endpoints: original_dst``."""

    __slots__ = ()

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, Address(0, ORIGINAL_DST, 0), 1)
        self.name = self.key = ORIGINAL_DST

    def seen_by(self, client: Client) -> Endpoint | None:
        """Where the client wanted to go; None if nobody knows, or nobody is there."""
        destination = client.destination
        if not destination or destination in client.tried:
            return None
        source = client.remote if self.cluster.config.transparent_source else ""
        return self.guise(Address.parse(destination), source)

    def describe(self, now: float) -> dict[str, Any]:
        """With the number of destinations lately, or of clients at a destination."""
        return {**super().describe(now), "destinations": len(self.guises)}


class Cluster:
    """The endpoints of one `ClusterConfig` and the balance between them."""

    __slots__ = (
        "_former",
        "_pick",
        "_used",
        "answers",
        "calls_before",
        "config",
        "copied",
        "copies_dropped",
        "endpoints",
        "healing",
        "limits",
        "name",
        "personal",
    )

    def __init__(self, config: ClusterConfig, answers: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.config = config
        self.name = config.name
        self._pick = BALANCES[config.balance]
        weighted = config.balance == "weighted"
        known = answers or {}
        self.answers = {host: known[host] for host in hosts(config.endpoints) if host in known}
        """The addresses of its names, those that were answered."""
        self.endpoints: tuple[Endpoint, ...] = tuple(
            Endpoint(self, address, one.weight if weighted else 1, one.labels)
            for address, one in expanded(config.endpoints, self.answers)
        )
        if config.original_dst:
            self.endpoints = (Anywhere(self),)
        self.personal = config.transparent_source or config.original_dst
        """Each client reaches the endpoints in a way of its own: who picks one asks for its `Endpoint.seen_by`."""
        self._former: dict[str, Endpoint] = {}
        self.calls_before = 0
        """Those of endpoints that are gone, see `calls`."""
        self.copied = 0
        """Mirrored requests that it got whole, since this generation owns."""
        self.copies_dropped = 0
        """Those it did not get, or not whole."""
        self._used = self.endpoints
        self.healing: Healing | None = None
        self.limits = Limits(self) if Limits.wanted(config) else None
        """None if it has none."""
        self._heal()

    def _heal(self) -> None:
        """Have the endpoints watched, if they are to be."""
        if not Healing.wanted(self.config):
            self.healing = None
            for endpoint in self.endpoints:
                endpoint.watch = None
            return
        self.healing = self.healing or Healing(self)
        self.healing.follow()

    @property
    def in_flight(self) -> int:
        """Streams under way, those on endpoints that were dropped, too."""
        return sum(endpoint.in_flight for endpoint in (*self.endpoints, *self._former.values()))

    @property
    def connections(self) -> int:
        """To all endpoints: in use, being made, idle, shared."""
        return sum(endpoint.connections for endpoint in (*self.endpoints, *self._former.values()))

    @property
    def calls(self) -> int:
        """Answers on shared connections to all endpoints, also those that are gone: a bake compares them."""
        return self.calls_before + sum(one.calls for one in (*self.endpoints, *self._former.values()))

    def claim(self, claimant: Claimant) -> None:
        """This one is restored: it may wait for a connection, or try again."""
        if self.limits is not None:
            self.limits.claim(claimant)

    def may_retry(self, claimant: Claimant) -> bool:
        """This one's request may be sent again, as far as the budget is concerned."""
        return self.limits is None or self.limits.may_retry(claimant)

    def use(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Pick from these: `Healing` knows which of them work."""
        self._used = endpoints

    def resolved(self, host: str, addresses: tuple[str, ...], *, inert: bool = False) -> None:
        """A name was answered: its endpoints are these. `inert`: nothing may be closed."""
        if self.answers.get(host) != addresses:
            self.answers[host] = addresses
            self.follow(self.config, inert=inert)

    def follow(self, config: ClusterConfig, *, inert: bool = False) -> None:
        """Take another configuration in place. Endpoints that stay keep their pool, their balance and their counts.

        While none of its names is answered yet the endpoints of before serve on.
        """
        known = {endpoint.name: endpoint for endpoint in (*self._former.values(), *self.endpoints)}
        fresh = Cluster(config, self.answers)
        if not fresh.endpoints and not fresh.answers:
            fresh.endpoints = self.endpoints
        endpoints = []
        for endpoint in fresh.endpoints:
            endpoint.cluster = self
            old = known.pop(endpoint.name, endpoint)
            old.follow(endpoint)
            endpoints.append(old)
        self.config, self.answers = config, fresh.answers
        self.personal = fresh.personal
        self.limits = (self.limits or Limits(self)) if Limits.wanted(config) else None
        self._pick = fresh._pick
        self.endpoints = self._used = tuple(endpoints)
        self._former = {endpoint.name: endpoint for endpoint in known.values() if inert or endpoint.leave()}
        self.calls_before += sum(one.calls for one in known.values() if one.name not in self._former)
        self._heal()

    def close(self) -> None:
        """No configuration has it any more. What is under way finishes."""
        for endpoint in (*self._former.values(), *self.endpoints):
            endpoint.leave()

    def describe(self, now: float) -> dict[str, Any]:
        """For people."""
        about = {"name": self.name, "endpoints": [endpoint.describe(now) for endpoint in self.endpoints]}
        if not self.copied and not self.copies_dropped:
            return about
        return {**about, "mirrored": {"sent": self.copied, "dropped": self.copies_dropped}}

    def pick(self, tried: Collection[str] = (), subset: tuple[tuple[str, str], ...] = ()) -> Endpoint | None:
        """The endpoint for the next stream; None if none is left.

        None of those whose names were `tried`, and only one with all labels of the `subset`.
        """
        if subset:
            return self._pick_of(subset, tried)
        candidates = self._used
        if tried:
            candidates = tuple(endpoint for endpoint in candidates if endpoint.name not in tried)
            if not candidates:  # rather one that did not work lately than none
                candidates = tuple(endpoint for endpoint in self.endpoints if endpoint.name not in tried)
            if not candidates:
                return None
        if len(candidates) == 1:
            return candidates[0]
        return self._pick(candidates) if candidates else None

    def _pick_of(self, subset: tuple[tuple[str, str], ...], tried: Collection[str]) -> Endpoint | None:
        wanted = frozenset(subset)
        for endpoints in (self._used, self.endpoints):
            fit = [one for one in endpoints if one.labels >= wanted and one.name not in tried]
            if fit:
                return self._pick(fit)
        return None

    def endpoint(self, key: str) -> Endpoint:
        """The endpoint with that key.

        One that the configuration dropped lives on for the connections it still has; it is never picked.
        """
        address, _, source = key.partition(FROM)
        for endpoint in self.endpoints:
            if isinstance(endpoint, Anywhere):
                return endpoint.guise(_parsed(address), source)
            if endpoint.name == address:
                return endpoint.guise(endpoint.address, source) if source else endpoint
        former = self._former.get(address)
        if former is None:
            former = Endpoint(self, _parsed(address), 0)
            former.pool.limit = 0
            self._former[address] = former
        return former.guise(former.address, source) if source else former


def _parsed(address: str) -> Address:
    try:
        return Address.parse(address)
    except ConfigError as error:
        raise CannotRestore(str(error)) from None
