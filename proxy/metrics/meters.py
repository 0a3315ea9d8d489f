"""What listeners, routes, clusters and endpoints count with: members of the families, looked up once.

They are slots of small objects because hot paths use them: ``listener.meters.resets.inc()``. What is told of every read
and write is collected first: see `proxy.flow`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.flow import Flow

if TYPE_CHECKING:
    from proxy.metrics.families import Families
    from shm_metrics import Counter, Histogram

CLASSES: Final = ("5xx", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx", "5xx", "5xx")
"""By the first digit of the status; what is none counts as an error."""
OK, ERROR = "ok", "error"
OUTCOMES: Final = ("done", "failed", "ended", "late", "broken")
"""Of a handshake: done; refused by either side, or what came was none; the peer went away; it took too long. Behind it
(``broken``): an alert of either side ended the connection."""
LONGEST_ROUTE: Final = 100


def encryption(*, tls: bool) -> str:
    """The value of that label."""
    return "tls" if tls else "plain"


class RouteMeters:
    """The requests of one route of a listener, or of those that none matched."""

    __slots__ = ("_families", "_where", "codes", "durations", "errors", "name", "oks", "timeouts")

    codes: list[Flow]
    """By the first digit of the response's status (http1)."""
    durations: Histogram
    """For bolt see `timed`."""
    oks: Flow
    errors: Flow
    """Of calls (bolt)."""
    timeouts: Counter

    def __init__(self, families: Families, listener: str, name: str, protocol: str) -> None:
        """A tcp listener has no requests, hence none of these."""
        self.name = name
        """The label, and what a request under way remembers of its route."""
        self._families, self._where = families, (listener, name)
        if protocol == "http1":
            self.codes = [Flow(families.requests.labels(listener, name, code).inc) for code in CLASSES]
            self.durations = families.durations.labels(listener, name)
        elif protocol in {"bolt", "dubbo"}:
            self.oks = Flow(families.requests.labels(listener, name, OK).inc)
            self.errors = Flow(families.requests.labels(listener, name, ERROR).inc)
        else:
            return
        self.timeouts = families.timeouts.labels(listener, name)

    def timed(self) -> Histogram:
        """Durations of calls (bolt), of those that somebody looks at one by one: others are timed at endpoints only."""
        return self._families.durations.labels(*self._where)


class ListenerMeters:
    """One listener."""

    __slots__ = (
        "_families",
        "_listener",
        "_protocol",
        "_routes",
        "accepted",
        "acked",
        "begun",
        "begun_tls",
        "broken_off",
        "delivered",
        "handshakes",
        "headers",
        "published",
        "received",
        "resets",
        "sent",
        "stranded",
        "turned_away",
        "unrouted",
    )

    def __init__(self, families: Families, listener: str, protocol: str) -> None:
        self._families, self._listener, self._protocol = families, listener, protocol
        self._routes: dict[str, RouteMeters] = {}
        self.accepted = families.accepted.labels(listener)
        self.begun = families.downstream.labels(listener, protocol, encryption(tls=False))
        self.begun_tls = families.downstream.labels(listener, protocol, encryption(tls=True))
        self.received = Flow(families.received.labels(listener).inc)
        self.sent = Flow(families.sent.labels(listener).inc)
        self.resets = families.downstream_resets.labels(listener)
        self.turned_away = families.refused.labels(listener, "turned_away")
        self.headers = families.refused.labels(listener, "proxy_protocol")
        if protocol == "http1":
            self.broken_off = families.failures.labels(listener, "broken_off")
        elif protocol in {"tcp", "amqp"}:
            self.stranded = families.failures.labels(listener, "no_endpoint")
        if protocol == "amqp":
            self.published = families.published.labels(listener)
            self.delivered = families.delivered.labels(listener)
            self.acked = families.acked.labels(listener)
        self.handshakes = {outcome: families.downstream_handshakes.labels(listener, outcome) for outcome in OUTCOMES}
        self.unrouted = self.route("")
        """Requests that no route matched."""

    def route_names(self) -> list[str]:
        """The labels of all routes."""
        return list(self._routes)

    def route(self, name: str) -> RouteMeters:
        """That of a route, by its label."""
        found = self._routes.get(name)
        if found is None:
            found = self._routes[name] = RouteMeters(self._families, self._listener, name, self._protocol)
        return found


class EndpointMeters:
    """One endpoint, or all of a cluster."""

    __slots__ = (
        "_families",
        "_made",
        "calls",
        "codes",
        "durations",
        "ejections",
        "received",
        "refused",
        "resets",
        "sent",
        "timed_out",
        "timeouts",
        "where",
    )

    def __init__(self, families: Families, cluster: str, endpoint: str, *, tls: bool) -> None:
        self._families = families
        self.where = where = cluster, endpoint if families.per_endpoint else ""
        self._made: dict[bool, Counter] = {}
        self.made(secure=tls)  # what is usual there is seen from the start
        self.refused = families.connect_failures.labels(*where, "refused")
        self.timed_out = families.connect_failures.labels(*where, "timeout")
        self.received = Flow(families.upstream_received.labels(*where).inc)
        self.sent = Flow(families.upstream_sent.labels(*where).inc)
        self.codes: list[Flow] = []
        """By the first digit of the response's status; empty until `http` was called."""
        self.calls: tuple[Counter, Counter] | None = None
        """Of calls of bolt: those that went well, and errors; None until `shared` was called."""
        self.durations = families.answer_durations.labels(*where)
        self.timeouts = families.upstream_timeouts.labels(*where)
        self.resets = families.upstream_resets.labels(*where)
        self.ejections = families.ejections.labels(*where)

    def made(self, *, secure: bool) -> Counter:
        """Connections that were made, encrypted or not."""
        found = self._made.get(secure)
        if found is None:
            found = self._made[secure] = self._families.upstream.labels(*self.where, encryption(tls=secure))
        return found

    def retired(self, how: str) -> Counter:
        """Connections that were replaced, by how they ended: only where encryption changes there are any."""
        return self._families.retired.labels(*self.where, how)

    def encryption_failures(self, reason: str) -> Counter:
        """TLS could not be had, or a successor: `proxy.encryption.reasons`."""
        return self._families.encryption_failures.labels(*self.where, reason)

    def fallbacks(self) -> Counter:
        """Connections in plaintext for want of TLS."""
        return self._families.fallbacks.labels(*self.where)

    def http(self) -> list[Flow]:
        """Its `codes`: only endpoints that speak HTTP have them."""
        self.codes = [Flow(self._families.answers.labels(*self.where, code).inc) for code in CLASSES]
        return self.codes

    def shared(self) -> tuple[Counter, Counter]:
        """Its `calls`: only endpoints of shared connections have them."""
        answers = self._families.answers
        self.calls = answers.labels(*self.where, OK), answers.labels(*self.where, ERROR)
        return self.calls


class ClusterMeters:
    """One cluster."""

    __slots__ = ("connects", "dropped", "handshakes", "mirrored", "overflows", "retries")

    def __init__(self, families: Families, cluster: str) -> None:
        self.connects: Histogram = families.connect_durations.labels(cluster)
        self.retries = families.retries.labels(cluster)
        self.overflows = families.overflows.labels(cluster)
        self.mirrored = families.mirrored.labels(cluster, "sent")
        self.dropped = families.mirrored.labels(cluster, "dropped")
        self.handshakes = {outcome: families.upstream_handshakes.labels(cluster, outcome) for outcome in OUTCOMES}
