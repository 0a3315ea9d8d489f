"""Endpoints: the members of a cluster, and the guises in which single clients reach them.

An `Endpoint` counts what is under way on it, so that `least_request` can compare, and owns the pool of
idle connections. Both are derived from the connections themselves, hence not saved: `load` of an
upstream connection counts itself again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hotswap.address import Address
from proxy.encryption.mix import Mix
from proxy.pool import Corner, Pool
from proxy.shared_pool import SharedPool

if TYPE_CHECKING:
    from typing import Any, Protocol

    from proxy.cluster import Cluster
    from proxy.config.tls_model import Announced, Wanted
    from proxy.health.watch import Watch
    from proxy.metrics.meters import EndpointMeters
    from proxy.sides import Upstream

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
        "announces",
        "calls",
        "cluster",
        "current",
        "encryption",
        "guises",
        "host",
        "in_flight",
        "key",
        "labels",
        "meters",
        "mix",
        "name",
        "pool",
        "rests_until",
        "shared",
        "source",
        "watch",
        "weight",
    )

    def __init__(
        self,
        cluster: Cluster,
        address: Address,
        weight: int,
        labels: tuple[tuple[str, str], ...] = (),
        host: str = "",
        meters: EndpointMeters | None = None,
    ) -> None:
        self.cluster = cluster
        self.address = address
        self.name = str(address)
        """The canonical text of the address."""
        self.host = host or address.host
        """What it is called in the configuration: the name in its certificate."""
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
        """The connections that clients share: by the version of bolt, and one number for each other protocol."""
        self.meters = meters or cluster.endpoint_meters(self.name)
        self.calls = 0
        """Answers that it gave on shared connections since this generation owns."""
        self.rests_until = 0.0
        """It said that it wants no new calls: until this moment others are asked first. See `MultiplexedUpstream`."""
        self.watch: Watch | None = None
        """Who wants to know what becomes of its streams; None unless the cluster is to heal itself."""
        self.encryption: Wanted | None = None
        """In place of what its cluster wants."""
        self.announces: Announced | None = None
        """What it accepts, by the configuration."""
        self.mix = Mix()

    @property
    def whole(self) -> Endpoint:
        """The member of the cluster that this is, or is a guise of."""
        return self

    def begin(self) -> None:
        """One more stream uses this endpoint."""
        self.in_flight += 1

    def end(self) -> None:
        """One fewer."""
        self.in_flight -= 1

    def connected(self, *, secure: bool = False) -> None:
        """A connection was made."""
        self.meters.made(secure=secure).inc()
        if self.watch is not None:
            self.watch.connected()

    def unreachable(self, now: float, *, late: bool = False) -> None:
        """A connection failed, or took too long: `late`."""
        (self.meters.timed_out if late else self.meters.refused).inc()
        if self.watch is not None:
            self.watch.unreachable(now)

    def lost(self, now: float) -> None:
        """A connection ended before the answer was complete."""
        self.meters.resets.inc()
        if self.watch is not None:
            self.watch.lost(now)

    def overdue(self, now: float) -> None:
        """The answer did not come in time."""
        self.meters.timeouts.inc()
        if self.watch is not None:
            self.watch.lost(now)

    def answered(self, now: float, *, error: bool = False) -> None:
        """The answer came. Where that is done for every request, look at `watch` first."""
        if self.watch is not None:
            self.watch.answered(now, error=error)

    def follow(self, settings: Endpoint) -> None:
        """Take the settings of another."""
        self.weight, self.labels, self.host = settings.weight, settings.labels, settings.host
        self.encryption, self.announces = settings.encryption, settings.announces
        self.pool.limit, self.pool.keepalive = settings.pool.limit, settings.pool.keepalive
        for guise in self.guises.values():
            guise.pool.keepalive = settings.pool.keepalive
            guise.encryption, guise.announces = settings.encryption, settings.announces

    def heal_by(self, watch: Watch | None) -> None:
        """Tell this one what becomes of its streams, and of those of its guises."""
        self.watch = watch
        for guise in self.guises.values():
            guise.watch = watch

    def reappear(self) -> None:
        """Readers may have lost sight of what it counts."""
        self.meters = self.cluster.endpoint_meters(self.meters.where[1] or self.name)
        for guise in self.guises.values():
            guise.meters = self.meters

    @property
    def connections(self) -> int:
        """In use, being made, idle, shared."""
        spares = len(self.mix.spares)
        if any(self.shared.values()):  # not only once, before a reload
            return sum(len(pool) for pool in self.shared.values()) + spares
        return self.in_flight + len(self.pool) + spares

    def shared_pool(self, key: int) -> SharedPool:
        """Its connections of that protocol, see `shared`."""
        pool = self.shared.get(key)
        if pool is None:
            pool = self.shared[key] = SharedPool()
        return pool

    def unshare(self, key: int, connection: Any) -> None:
        """No further calls for it; no harm if it is not there."""
        pool = self.shared.get(key)
        if pool is not None:
            pool.discard(connection)

    def pooled(self) -> list[Upstream]:
        """What may be picked for the next stream: those in the pool, oldest first, and those that are shared."""
        return [*self.pool.connections(), *(one for pool in self.shared.values() for one in pool.members.values())]

    def describe(self, now: float) -> dict[str, Any]:
        """For people: what is under way, and how it does where that is watched."""
        about = {"address": self.name, "in_flight": self.in_flight, "idle": len(self.pool)}
        return about if self.watch is None else {**about, "health": self.watch.describe(now)}

    def leave(self) -> bool:
        """Close what is idle, and what will be. True while something is under way."""
        self.pool.limit = 0
        for spare in self.mix.spares:
            spare.close()
        for connection in self.pool.connections():
            connection.close()
        for pool in self.shared.values():
            for shared in list(pool.members.values()):
                shared.wind_down()
        return self.in_flight > 0

    def seen_by(self, client: Client) -> Endpoint | None:
        """The endpoint as this client reaches it, in a cluster that is `personal`. None: not at all."""
        return self.guise(self.address, client.remote) if _reaches(client.remote, self.address) else None

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
        host = whole.host if address == whole.address else ""
        super().__init__(whole.cluster, address, whole.weight, host=host, meters=whole.meters)
        self.source = source
        self.key = key
        self.pool = Corner(whole.pool)
        self.encryption, self.announces, self.mix = whole.encryption, whole.announces, whole.mix
        self.watch = whole.watch

    @property
    def whole(self) -> Endpoint:
        """See `Endpoint`."""
        return self._whole

    @property
    def connections(self) -> int:
        """Its own, so that it is not forgotten meanwhile."""
        return self.in_flight + len(self.pool) + sum(one.endpoint is self for one in self.mix.spares)

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
        super().__init__(cluster, Address(0, ORIGINAL_DST, 0), 1, meters=cluster.endpoint_meters(ORIGINAL_DST))
        self.name = self.key = ORIGINAL_DST

    def seen_by(self, client: Client) -> Endpoint | None:
        """Where the client wanted to go; None if nobody knows, or nobody is there."""
        destination = client.destination
        if not destination or destination in client.tried:
            return None
        address = Address.parse(destination)
        if not self.cluster.config.transparent_source:
            return self.guise(address, "")
        return self.guise(address, client.remote) if _reaches(client.remote, address) else None

    def describe(self, now: float) -> dict[str, Any]:
        """With the number of destinations lately, or of clients at a destination."""
        return {**super().describe(now), "destinations": len(self.guises)}


def _reaches(host: str, address: Address) -> bool:
    """A connection from that host can go there. A PROXY protocol header may name hosts of any family."""
    return host != "unix" and (":" in host) == (":" in address.host)
