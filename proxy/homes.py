"""Which connections live here, and where those that are restored find what they belong to.

The half of the server that is `proxy.plane.Places`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.errors import CannotRestore
from proxy.protocols import KINDS, connections
from proxy.sides import Upstream

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Mapping

    from hotswap.swappable import Saved
    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.encryption.control import TlsOrder
    from proxy.endpoint import Endpoint
    from proxy.links import Links
    from proxy.listener import Listener
    from proxy.reactor import Reactor


class Homes:
    """Implements `proxy.plane.Places` over the listeners and clusters of a configuration."""

    clusters: dict[str, Cluster]
    reactor: Reactor
    _by_address: dict[str, Listener]
    _links: Links
    arrived: Counter[str]
    _unordered: bool
    """A connection came that is not the last by serial."""
    companions = 0
    """Other processes of this generation that count."""
    _highest: int
    """The highest serial that came."""

    def values(self) -> Mapping[int, Connection]:
        """The live connections; a view: it changes with every tick."""
        return self.live()

    def live(self) -> Mapping[int, Connection]:
        """The connections of this process, in the order of their serials; a view: it changes with every tick."""
        connections = self.reactor.connections
        self.reactor.guests.reckon()  # whoever asks for the values compares them by their changes
        if self._unordered:
            self._unordered = False
            ordered = sorted(connections.items())
            connections.clear()
            connections.update(ordered)
        return connections

    def survey(self, sent: dict[int, int]) -> tuple[list[Connection], list[int]]:
        """See `Swappable`. `values` was called before."""
        return self.reactor.survey(sent)

    def count(self) -> int:
        """See `Swappable`."""
        return len(self.reactor.connections)

    def ordered(self, order: TlsOrder) -> None:
        """An order about encryption was carried out: other processes may have to do it, too."""

    def recruit(self) -> None:
        """Start the other processes of this generation, if there are to be any."""

    def guard(self, lock: int) -> None:
        """Nobody else gets the listeners."""

    def with_workers(self, clusters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is told of the encryption of clusters, with what other processes of this generation have."""
        return clusters

    def gathered(self) -> bool:
        """All are here."""
        return True

    def unrestored(self) -> Mapping[int, str]:
        """`restore` said so itself."""
        return {}

    def restore(self, saved: Saved, now: float) -> None:
        """Rebuild or update one connection."""
        connection = self.reactor.connections.get(saved.serial)
        known = connection is not None
        self.reactor.tls.take_from(saved.worker)
        try:
            if connection is None:
                connection = self._blank(saved)
            connection.load(saved.state, now, self)
        except (msgspec.DecodeError, CannotRestore) as error:
            if saved.fd >= 0:
                self.reactor.kernel.close(saved.fd)
            if isinstance(error, CannotRestore):
                raise
            raise CannotRestore(
                f"the state of connection {saved.serial} ({saved.kind}) is malformed: {error}"
            ) from None
        connection.changes = saved.changes
        if known:
            if saved.fd >= 0:
                self.reactor.kernel.close(saved.fd)
            if isinstance(connection, Upstream):
                connection.recount()
            self.reactor.restored(connection)
        else:
            if saved.serial < max(self._highest, self.reactor.next_serial):
                self._unordered = True
            self._highest = max(self._highest, saved.serial)
            self.reactor.sharing = True  # the source holds the original descriptor until it ends
            self.reactor.restore(connection, saved.fd)
            self._links.arrived(connection)
            self.arrived[saved.kind] += 1

    def _blank(self, saved: Saved) -> Connection:
        if saved.kind not in KINDS:
            raise CannotRestore(f"this version does not know connections of the kind {saved.kind!r}")
        if saved.fd < 0:
            raise CannotRestore(f"connection {saved.serial} ({saved.kind}) came without its descriptor")
        connection = connections(saved.kind)(self.reactor)
        connection.serial = saved.serial
        return connection

    def forget(self, serial: int) -> None:
        """Drop a value that is no longer coming."""
        connection = self.reactor.connections.get(serial)
        if connection is not None:
            self._links.gone(connection)
            connection.dropped(self)
            self.arrived[connection.kind] -= 1
            self.reactor.forget(connection)

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

    def hosted(self, connection: Connection) -> None:
        """See `proxy.plane.Places`."""
        self.reactor.hosted[connection.serial] = connection
        self._links.arrived(connection)

    def unhosted(self, connection: Connection) -> None:
        """See `proxy.plane.Places`."""
        self._links.gone(connection)
        self.reactor.hosted.pop(connection.serial, None)

    def expect(self, connection: Connection, serials: Collection[int]) -> dict[int, Connection]:
        """See `proxy.plane.Places`."""
        return self._links.expect(connection, serials)
