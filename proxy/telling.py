"""What the server tells of itself: counts for a bake, and everything that people may want to know."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hotswap.swappable import Tally
from proxy import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.swappable import Took
    from proxy.accesslog.log import Sinks
    from proxy.app import App
    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.dns.names import Names
    from proxy.encryption.announcements import Announcements
    from proxy.later import Later
    from proxy.listener import Listener
    from proxy.metrics.home import Home
    from proxy.reactor import Reactor
    from proxy.tls.renewal import Renewal


class Telling:
    """The telling half of `proxy.server.ProxyServer`."""

    announcements: Announcements
    app: App
    clusters: dict[str, Cluster]
    later: Later
    listeners: dict[str, Listener]
    names: Names
    reactor: Reactor
    renewal: Renewal
    sinks: Sinks

    home: Home
    arrived: Counter[str]
    """Connections that came from the generation before and are not counted yet, by kind."""

    def owning(self, generation: int, how: str) -> None:
        """See `Swappable`. What came is counted right away: a source that dies says no goodbye."""
        came = self._arrivals()
        self.home.upgrades.owning(generation, how, {} if how == "crash" else came)

    def took_over(self, took: Took) -> None:
        """See `Swappable`."""
        self.home.upgrades.took_over(took, self._arrivals())

    def _arrivals(self) -> Counter[str]:
        came, self.arrived = +self.arrived, Counter()
        return came

    def kept_on(self, how: str, *, thawed: bool) -> None:
        """See `Swappable`."""
        self.home.upgrades.kept_on(how, thawed=thawed)

    def live(self) -> Mapping[int, Connection]:
        """The live connections of this process."""
        raise NotImplementedError

    async def look(self) -> None:
        """See `Swappable`: all is known."""

    def every_listener(self) -> tuple[Listener, ...]:
        """Those that have connections, or may get some."""
        return (*self.listeners.values(), *self.reactor.acceptor.leaving)

    def in_flight(self) -> int:
        """Requests under way."""
        return self.reactor.under_way()

    def tally(self) -> Tally:
        """Over all listeners, also those that a reload took away; bolt's answers are counted at the endpoints."""
        listeners = self.every_listener()
        answered = sum(listener.answered for listener in listeners)
        answered += sum(cluster.calls for cluster in self.clusters.values())
        return Tally(answered, sum(listener.failed for listener in listeners), self.reactor.bugs)

    def status(self) -> dict[str, Any]:
        """Listeners and clusters with what is under way on them."""
        return {
            "plane": compiled.MODE,
            **({"why_interpreted": compiled.WHY_INTERPRETED} if compiled.WHY_INTERPRETED else {}),
            "draining": self.reactor.draining,
            "app": self.app.status(),
            "dns": self.names.status(),
            "access_logs": self.sinks.status(),
            "certificates": self.renewal.status(self.reactor.kernel.wall()),
            "announcements": self.announcements.problems(),
            "accepted": self.reactor.acceptor.accepted,
            "bugs": self.reactor.bugs,
            "to_import": self.later.left,
            "accepting": self.reactor.acceptor.accepting,
            "listeners": [listener.describe() for listener in self.listeners.values()],
            "clusters": [cluster.describe(self.reactor.kernel.clock()) for cluster in self.clusters.values()],
        }

    def connections(self) -> list[dict[str, Any]]:
        """One entry a connection."""
        return [connection.describe() for connection in self.live().values()]
