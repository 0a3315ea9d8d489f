"""Gauges, set from the true state right before a scrape: so they cost nothing while nobody asks, and are never off.

Looking at every connection takes a millisecond for some thousands, so `refresh` works in slices: whoever drives it lets
the data plane tick in between.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from proxy.health.probe import Probe
from proxy.metrics.meters import encryption
from proxy.sides import Downstream, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.endpoint import Endpoint
    from proxy.listener import Listener
    from proxy.metrics.families import Families
    from proxy.metrics.home import Home
    from shm_metrics import Family, Gauge, Shape

SLICE: Final = 1000
"""Connections looked at in one go: half a millisecond."""


THINGS: Final = (("listener",), ("listener", "route"), ("cluster",), ("cluster", "endpoint"))
"""What members belong to, by the labels that tell which."""


class Counted(Protocol):
    """What is looked at."""

    families: Families
    clusters: dict[str, Cluster]
    home: Home
    companions: int
    """Other processes of this generation that count."""

    def every_listener(self) -> Iterable[Listener]:
        """Those that have connections, or may get some."""

    def live(self) -> Mapping[int, Connection]:
        """The live connections of this process."""


class Gauges:
    """Sets the gauges of one server."""

    def __init__(self, server: Counted) -> None:
        self._server = server
        self._known: frozenset[tuple[str, ...]] = frozenset()
        self._build_shown = False

    def refresh(self, *, owns: bool) -> Iterator[None]:
        """Look at everything; yields where others may go on in between.

        One that gave everything away (`owns` False) tells of the connections that it kept, and of nothing else.
        """
        yield from self._server.home.look()
        families = self._server.families
        downstream: Counter[tuple[str, ...]] = Counter()
        upstream: Counter[tuple[str, ...]] = Counter()
        requests: Counter[tuple[str, ...]] = Counter()
        retiring: Counter[tuple[str, ...]] = Counter()
        for number, connection in enumerate(list(self._server.live().values()), start=1):
            if not number % SLICE:
                yield
            if connection.closed:
                continue
            secure = encryption(tls=connection.tls is not None)
            if isinstance(connection, Downstream):
                listener = connection.listener
                downstream[listener.name, listener.config.protocol, secure] += 1
                under_way = connection.in_flight()
                if under_way:
                    requests[listener.name,] += under_way
            elif isinstance(connection, Upstream) and not isinstance(connection, Probe):
                for name, under_way in connection.under_way().items():
                    requests[name,] += under_way
                where = connection.endpoint.meters.where
                upstream[(*where, secure, _state(connection))] += 1
                if connection.retires:
                    retiring[where] += connection.in_flight()
        yield
        if not owns:
            _publish(families.downstream_now, downstream)
            _publish(families.requests_now, requests)
            _publish(families.upstream_now, upstream)
            _publish(families.retiring_requests, retiring)
            return
        if not self._build_shown:
            self._build_shown = True
            self._server.home.upgrades.show_build()
        self._follow(upstream)
        for listener in self._server.every_listener():
            requests[listener.name,] += 0
            downstream[listener.name, listener.config.protocol, encryption(tls=listener.tls is not None)] += 0
        _publish(families.downstream_now, downstream)
        _publish(families.requests_now, requests)
        at_endpoints: Counter[tuple[str, ...]] = Counter()
        healthy: Counter[tuple[str, ...]] = Counter()
        encrypted: Counter[tuple[str, ...]] = Counter()
        for endpoint, used in self._endpoints():
            where = endpoint.meters.where
            at_endpoints[where] += endpoint.in_flight
            healthy[where] += used
            wanted = endpoint.cluster.switch.wishes.wants(endpoint)
            encrypted[where] |= wanted
            retiring[where] += 0
            secure = encryption(tls=wanted)
            for state in ("active", "idle"):
                upstream[(*where, secure, state)] += 0
        _publish(families.upstream_now, upstream)
        _publish(families.upstream_requests_now, at_endpoints)
        _publish(families.retiring_requests, retiring)
        _publish(families.encryption_wanted, encrypted)
        _publish(families.healthy, healthy)

    def share(self) -> None:
        """What a worker adds to those of its crew: what sums up, and nothing else."""
        for _ in self.refresh(owns=False):
            pass
        at_endpoints: Counter[tuple[str, ...]] = Counter()
        for endpoint, _ in self._endpoints():
            at_endpoints[endpoint.meters.where] += endpoint.in_flight
        _publish(self._server.families.upstream_requests_now, at_endpoints)

    def _endpoints(self) -> Iterator[tuple[Endpoint, bool]]:
        """All that have connections or may get some, each with whether it may be picked."""
        for cluster in self._server.clusters.values():
            yield from cluster.every_endpoint()

    # ---- what is gone ----

    def _follow(self, upstream: Iterable[tuple[str, ...]]) -> None:
        """Listeners, routes, clusters and endpoints came or went: have readers see those that there are.

        With those that have connections still: `upstream` begins with their cluster and endpoint.
        """
        known: set[tuple[str, ...]] = set()
        for listener in self._server.every_listener():
            known.add(("listener", listener.name))
            known.update(("route", listener.name, name) for name in listener.meters.route_names())
        for name in self._server.clusters:
            known.add(("cluster", name))
        for endpoint, _ in self._endpoints():
            known.add(("endpoint", *endpoint.meters.where))
        for cluster, name, *_ in upstream:
            known.update((("cluster", cluster), ("endpoint", cluster, name)))
        if known != self._known and self._alone:  # others may still drain what is gone here
            for endpoint, _ in self._endpoints():
                if ("endpoint", *endpoint.meters.where) not in self._known:
                    endpoint.reappear()
            self._known = frozenset(known)
            self._server.families.registry.retain(self._wanted)

    @property
    def _alone(self) -> bool:
        """No other generation counts."""
        return self._server.families.registry.others <= self._server.companions

    def _wanted(self, shape: Shape, values: tuple[str, ...]) -> bool:
        """A member that belongs to nothing any more, in this generation or one before, is not shown."""
        labels = dict(zip(shape.labels, values, strict=True))
        things = ((names[-1], *(labels[name] for name in names)) for names in THINGS if names[-1] in labels)
        return all(thing in self._known for thing in things)


def _state(connection: Upstream) -> str:
    if connection.connecting:
        return "connecting"
    return "retiring" if connection.retires else "idle" if connection.idle else "active"


def _publish(family: Family[Gauge], counts: Counter[tuple[str, ...]]) -> None:
    """Set those that are counted, and all others of this process to nothing."""
    for values, member in family.members():
        if values not in counts:
            member.set(0)
    for values, count in counts.items():
        family.labels(*values).set(count)
