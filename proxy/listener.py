"""A listener of the data plane: its configuration, what its connections belong to, and accepting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.filters.chain import Chain
from proxy.metrics.meters import ListenerMeters
from proxy.multiplexed.routes import CallRoute, CallTable
from proxy.ondemand import CALLS, call_table, server_contexts
from proxy.portion import PORTION
from proxy.proxy_protocol.receiving import Gate
from proxy.route import RouteTable
from proxy.split import Splits, identity
from proxy.tls.tally import Handshakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from proxy.accesslog.log import Sinks
    from proxy.cluster import Cluster
    from proxy.config.model import ListenerConfig
    from proxy.http1.exchange import Calls
    from proxy.metrics.families import Families
    from proxy.sides import Downstream


_OWN = frozenset({"answered", "connections", "draining", "failed", "fd", "polled", "turning_away"})
"""What a listener is, not how it is configured."""


class Listener:
    """What a downstream connection knows of where it came in (the field ``listener`` of its class)."""

    __slots__ = (
        "access_log",
        "address",
        "answered",
        "attended",
        "calls",
        "clusters",
        "config",
        "connections",
        "downstream",
        "draining",
        "failed",
        "fd",
        "filters",
        "gate",
        "handshakes",
        "http2",
        "keepalive_timeout",
        "lanes",
        "looks",
        "max_header_bytes",
        "max_headers",
        "meters",
        "name",
        "polled",
        "routes",
        "services",
        "splits",
        "tls",
        "turning_away",
    )

    def __init__(
        self,
        config: ListenerConfig,
        clusters: Mapping[str, Cluster],
        downstream: type[Downstream],
        sinks: Sinks,
        families: Families,
        http2: type[Downstream] | None = None,
        calls: Calls | None = None,
    ) -> None:
        """`sinks` is open for this configuration."""
        self.config = config
        self.keepalive_timeout = config.keepalive_timeout  # as numbers of C, for every request: 20 ns each
        self.max_header_bytes, self.max_headers = config.max_header_bytes, config.max_headers
        self.meters = ListenerMeters(families, config.name, config.protocol)
        self.access_log = sinks.log(config)
        """None where none is configured."""
        self.lanes: dict[str, Chain] = {}
        """The filters of routes by the routes' `lane`."""
        for route in config.routes:
            if route.filters:
                self.lanes.setdefault(identity(route), Chain(route.filters, config.protocol, "route "))
        self.filters = Chain(config.filters, config.protocol) if config.filters or self.lanes else None
        """None if neither the listener nor a route has any."""
        self.gate = None if config.proxy_protocol is None else Gate(config.proxy_protocol)
        """Who sends PROXY protocol headers; None: nobody."""
        self.tls = None if config.tls is None else server_contexts(config.tls)
        """What it shows to clients; None: it speaks plaintext, or passes TLS through."""
        self.looks = config.tls_mode == "permissive" or any(route.match.sni for route in config.routes)
        """The first bytes of its connections tell what they are."""
        self.handshakes = Handshakes(self.meters.handshakes)
        self.name = config.name
        self.address = str(config.address)
        self.clusters = clusters
        """All clusters of the configuration by name; routes name them."""
        self.splits = Splits(config.routes)
        self.routes = RouteTable(config.routes if config.protocol == "http1" else (), self.splits, self.meters.route)
        """Which of them serves a request (http1)."""
        self.services: CallTable[Any] = CallTable((), self.splits, CallRoute)
        """Which of them serves a call (bolt, dubbo)."""
        if config.protocol in CALLS:
            self.services = call_table(config.protocol, config.routes, self.splits)
        for one in self.services.routes:
            self.meters.route(one.label)  # defined here, not when the first call comes
        chain = self.filters
        looking = chain is not None and (chain.requests or chain.responses)
        self.attended = looking or self.access_log is not None or not self.services.plain
        """Its calls (bolt, dubbo) are looked at one by one."""
        self.downstream = downstream
        """The class of its connections."""
        self.http2 = http2
        """That of those that speak HTTP/2; None: nobody does."""
        self.calls = calls
        """How requests go to endpoints that speak HTTP/2 (http1)."""
        self.fd = -1
        self.connections = 0
        """Downstream connections alive, counted by `Downstream`."""
        self.answered = 0
        """Requests answered, and tcp connections that got an upstream or none, since this generation owns."""
        self.failed = 0
        """Those among them that failed: 5xx, no upstream, broken off. A call begun before counts, too."""
        self.polled = False
        """Registered with epoll. The reactor's own."""
        self.turning_away = ""
        """``close`` or ``reset`` while the application behind it is dead, see `proxy.app`."""
        self.draining = False
        """Its connections end after the call under way, and clients are told so."""

    def chains(self) -> Iterator[tuple[str, Chain]]:
        """Its filters, and those of its routes."""
        if self.filters is not None:
            yield "", self.filters
        for lane, chain in self.lanes.items():
            yield f" {lane}", chain

    def follow(self, changed: Listener) -> None:
        """Take the settings of another for the same address. What is under way stays."""
        before = dict(self.chains())
        for lane, chain in changed.chains():
            if lane in before:
                chain.load(before[lane].save(0.0), 0.0)
        changed.splits.load(self.splits.save())
        if self.gate is not None and changed.gate is not None:
            changed.gate.follow(self.gate)
        for slot in Listener.__slots__:
            if slot not in _OWN:
                setattr(self, slot, getattr(changed, slot))

    def describe(self) -> dict[str, Any]:
        """For people."""
        about: dict[str, Any] = {
            "name": self.name,
            "address": self.address,
            "protocol": self.config.protocol,
            "connections": self.connections,
            "answered": self.answered,
            "failed": self.failed,
        }
        if self.gate is not None:
            about["proxy_protocol"] = self.gate.describe()
        if self.tls is not None:
            about["handshakes"] = self.handshakes.describe()
        return {**about, "turning_away": self.turning_away} if self.turning_away else about

    @property
    def full(self) -> bool:
        """As many connections as the configuration allows."""
        limit = self.config.max_connections
        return limit is not None and self.connections >= PORTION.of(limit)

    @property
    def cluster(self) -> Cluster:
        """Where a listener without a choice of routes sends its connections."""
        return self.clusters[self.config.cluster]

    def cluster_of(self, server_name: str) -> Cluster | None:
        """Where a tcp connection goes whose TLS asks for this name (empty: none is known); None: nowhere."""
        for route in self.config.routes:
            if route.match.sni is None or _names(route.match.sni, server_name):
                return self.clusters[route.cluster]
        return None


def _names(pattern: str, name: str) -> bool:
    """Whether ``pattern`` is the name, or ``*.`` and one of the domains that it is in."""
    return name.endswith(pattern[1:]) and name != pattern[1:] if pattern.startswith("*.") else name == pattern
