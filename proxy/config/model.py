"""The configuration as values: what the data plane takes. `loader.load` makes it from a file.

Units: every duration is in seconds (float), every size in bytes (int). ``None`` means "no limit", and
only the fields that say so can be None. Names are checked, references resolve, lists that the data
plane needs are not empty (but see `ClusterConfig.original_dst`): nobody has to check again.

`keys` describes the same things for people: what may be written in the file, how, and why.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from hotswap.address import Address
from proxy.config.tls_model import Announced, ClusterTlsConfig, EncryptionConfig, ListenerTlsConfig, TlsMode, Wanted
from proxy.dns.host import HostName

Protocol = Literal["tcp", "http1", "bolt", "amqp", "dubbo"]
Balance = Literal["round_robin", "least_request", "weighted"]
LogFormat = Literal["text", "json"]
AppCheck = Literal["tcp", "http", "http2", "grpc", "bolt", "dubbo"]
Family = Literal["any", "ipv4", "ipv6"]
ProxyVersion = Literal["v1", "v2"]
Others = Literal["refuse", "direct"]
Handover = Literal["value", "quiet"]
WhenGone = Literal["stay", "move", "end"]
WhenDead = Literal["announce", "close", "reset"]
OriginalDst = Literal["redirect", "tproxy"]


class EndpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream address, or a name that stands for several. The weight counts with ``balance: weighted`` only.

    ``encryption`` None: as its cluster says. ``announces``: what it accepts, for who follows.
    """

    address: Address | HostName
    weight: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    encryption: Wanted | None = None
    announces: Announced | None = None


class OutlierConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint gets no new streams for a while.

    After this many connections in a row that could not be made, streams lost before their answer, or answers with a
    status of 500 and above (0: these do not count), all within ``window``. The first ``cooldown`` doubles with each
    further ejection up to ``max_cooldown``. ``max_ejected`` percent of the endpoints are ejected at a time, never all.
    """

    connect_failures: int = 3
    lost: int = 5
    server_errors: int = 0
    window: float = 30.0
    cooldown: float = 10.0
    max_cooldown: float = 300.0
    max_ejected: int = 50


class HealthCheckConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How every endpoint is asked whether it works, and what its answers mean.

    It is left alone after ``unhealthy`` failures in a row, used again after ``healthy`` successes. If fewer than
    ``panic`` percent of the endpoints are healthy, all are used.
    """

    check: AppCheck = "tcp"
    path: str = "/"
    interval: float = 5.0
    timeout: float = 2.0
    unhealthy: int = 3
    healthy: int = 2
    panic: int = 50


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a cluster is used at a time; what exceeds it is refused at once. None: no limit."""

    max_connections: int | None = None
    max_pending: int | None = None
    max_requests: int | None = None


class RetryBudgetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Requests may be sent again as long as these are few: ``percent`` of those under way, or ``at_least``."""

    percent: int = 20
    at_least: int = 3


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """AMQP: what becomes of connections to a broker that is no longer an endpoint, and how we log in at another."""

    when_gone: WhenGone = "stay"
    username: str | None = None
    password_file: str | None = None


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Equivalent upstreams, and how to talk to them.

    ``request_timeout`` runs from the complete request to the first byte of the response;
    ``idle_timeout`` is the longest silence on a stream or a tunnel; ``max_duration`` limits a stream
    or a tunnel as a whole (None: no limit). ``retries`` counts further attempts of a request of
    which not a byte of the response came. ``max_idle`` connections per endpoint wait in the pool for the
    next request, each ``keepalive_timeout`` at most. The calls of bolt and dubbo share ``shared_connections`` per
    endpoint, which are asked for a sign of life after ``heartbeat_interval`` of silence; so do the requests of http1
    if the endpoints speak ``http2``.
    No ``endpoints`` at all: wherever the client wanted to go (``endpoints: original_dst``). With
    ``transparent_source`` dials come from the client's address; ``mark`` is that of their packets (None: the default).
    ``tls`` says how TLS is spoken; ``encryption`` whether it is (None: by all, as soon as there is ``tls``).
    """

    name: str
    endpoints: tuple[EndpointConfig, ...]
    balance: Balance = "round_robin"
    connect_timeout: float = 5.0
    request_timeout: float = 30.0
    idle_timeout: float = 300.0
    max_duration: float | None = None
    retries: int = 1
    max_idle: int = 256
    keepalive_timeout: float = 60.0
    shared_connections: int = 4
    heartbeat_interval: float = 15.0
    http2: bool = False
    outlier: OutlierConfig | None = None
    health_check: HealthCheckConfig | None = None
    limits: LimitsConfig | None = None
    retry_budget: RetryBudgetConfig | None = None
    family: Family = "any"
    proxy_protocol: ProxyVersion | None = None
    transparent_source: bool = False
    mark: int | None = None
    tls: ClusterTlsConfig | None = None
    encryption: EncryptionConfig | None = None
    broker: BrokerConfig | None = None

    @property
    def original_dst(self) -> bool:
        """Connections go where the client wanted to go."""
        return not self.endpoints


class MatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests a route takes: all conditions that are there must hold; none takes every request.

    ``host`` is in lower case, without a port; ``*.example.com`` takes every name below example.com.
    ``path`` compares the whole path (without the query), ``prefix`` its beginning; at most one of both is there.
    ``headers`` are (name in lower case, exact value). ``service`` is a pattern for bolt, which knows neither hosts
    nor paths; ``interface``, ``method``, ``version`` and ``group`` are patterns for dubbo, whose ``headers`` are
    attachments. ``sni`` is the host that a client of tcp names in its TLS handshake; the same form as ``host``.
    """

    host: str | None = None
    path: str | None = None
    prefix: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    service: str | None = None
    sni: str | None = None
    interface: str | None = None
    method: str | None = None
    version: str | None = None
    group: str | None = None


class ShareConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster's share in a route."""

    name: str
    weight: int = 1


class FilterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A filter by its name in `proxy.filters.registry`; ``config`` is what it takes."""

    name: str
    config: dict[str, Any] = {}


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The first route of a listener that matches decides.

    With ``clusters`` the traffic is divided among these, and ``cluster`` is the first of them. ``subset`` are labels
    that the endpoint must have. What is None is as the cluster says. Metrics call it by its ``name``.
    """

    cluster: str
    match: MatchConfig = MatchConfig()
    clusters: tuple[ShareConfig, ...] = ()
    subset: tuple[tuple[str, str], ...] = ()
    request_timeout: float | None = None
    idle_timeout: float | None = None
    retries: int | None = None
    filters: tuple[FilterConfig, ...] = ()
    name: str | None = None


class AccessLogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the lines of an access log go, ``stdout``, ``journald`` or a path, and how they look.

    ``template`` is what `proxy.accesslog.template` takes; None stands for the usual one of the protocol.
    """

    to: str
    format: LogFormat = "text"
    template: str | None = None


class ProxyProtocolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Whose connections begin with a PROXY protocol header: those from ``trusted``, networks or ``unix``."""

    trusted: tuple[str, ...]
    others: Others = "refuse"
    timeout: float = 5.0


class ListenerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A bound address and what is spoken there.

    ``original_dst``: how to learn where clients wanted to go before a rule sent them here; None: do not ask.
    ``routes`` has one entry at least. A tcp listener has exactly one, which matches everything, so `cluster` is where
    its connections go; or several that match ``sni``, of which the last may match everything.
    From ``header_timeout`` to ``max_body`` the fields concern http1 only: the time for a whole request head, the
    longest silence inside a request body, the wait for the next request, and the limits whose excess is answered by
    431 and 413 (``max_body`` None: no limit). ``http2``: that is spoken, too. ``max_frame`` concerns bolt, dubbo and
    amqp; from ``max_channels`` to ``settle_timeout`` they concern amqp only, single connections. ``max_connections``
    None: no limit but that of open files. ``tls_mode`` permissive: clients of ``tls`` and of plaintext on one port.
    Their first bytes tell, and the host that a route by ``sni`` looks for; these may take ``first_bytes_timeout``
    (None: as a header).
    """

    name: str
    address: Address
    protocol: Protocol
    routes: tuple[RouteConfig, ...]
    backlog: int = 4096
    max_connections: int | None = None
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    keepalive_timeout: float = 75.0
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    max_body: int | None = None
    max_frame: int = 16 * 1024 * 1024
    max_channels: int = 2047
    max_consumers: int = 10_000
    handover: Handover = "value"
    settle_timeout: float = 10.0
    access_log: AccessLogConfig | None = None
    filters: tuple[FilterConfig, ...] = ()
    proxy_protocol: ProxyProtocolConfig | None = None
    original_dst: OriginalDst | None = None
    tls: ListenerTlsConfig | None = None
    tls_mode: TlsMode = "required"
    first_bytes_timeout: float | None = None
    http2: bool = False

    @property
    def cluster(self) -> str:
        """The cluster of a listener without a choice: that of its last route, the one that takes the rest."""
        return self.routes[-1].cluster


class UpgradeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How this proxy gives itself to its successor.

    An attempt is taken back after ``deadline``. Copying rounds go on while serving until the rest is copied
    in ``downtime_budget``, ``max_rounds`` at most. What cannot move, and the connections of removed
    listeners, may finish in the old generation for ``drain_timeout``. ``peer_uids``, in ascending order, are users
    besides its own and root that may be on the other side.
    """

    deadline: float = 30.0
    downtime_budget: float = 0.002
    max_rounds: int = 6
    drain_timeout: float = 600.0
    peer_uids: tuple[int, ...] = ()


class AppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The application behind this proxy, and what its death means. ``listeners`` None: all of them."""

    address: Address
    check: AppCheck = "tcp"
    path: str = "/"
    interval: float = 5.0
    timeout: float = 1.0
    failures: int = 3
    when_dead: WhenDead = "announce"
    listeners: tuple[str, ...] | None = None


class DnsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How names are looked up. No ``nameservers``, no ``timeout``: as the system says."""

    nameservers: tuple[Address, ...] = ()
    timeout: float | None = None
    min_ttl: float = 1.0
    max_ttl: float = 3600.0
    wait: float = 10.0


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How it counts. Buckets of durations double from ``first_bucket``, in seconds."""

    shared: bool = True
    per_endpoint: bool = True
    first_bucket: float = 0.0001
    buckets: int = 18


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration.

    ``drain_timeout`` is the time that SIGTERM leaves to the work under way; for the first ``drain_delay`` of it the
    listeners still accept.
    """

    name: str
    listeners: tuple[ListenerConfig, ...]
    clusters: tuple[ClusterConfig, ...]
    runtime_dir: str | None = None
    admin: Address | None = None
    workers: int = 1
    drain_timeout: float = 30.0
    drain_delay: float = 0.0
    upgrade: UpgradeConfig = UpgradeConfig()
    app: AppConfig | None = None
    dns: DnsConfig = DnsConfig()
    metrics: MetricsConfig = MetricsConfig()

    @property
    def id(self) -> str:
        """A digest of the meaning: layout, comments, the order of clusters and written-out defaults do not count.

        Fields at their default are left out, so a version that adds a key gives old files their old id.
        """
        ordered = msgspec.structs.replace(
            self,
            listeners=tuple(sorted(self.listeners, key=lambda listener: listener.name)),
            clusters=tuple(sorted(self.clusters, key=lambda cluster: cluster.name)),
        )
        return hashlib.sha256(msgspec.json.encode(meaning(ordered), order="sorted")).hexdigest()[:16]


def meaning(value: Any) -> Any:
    """The value as JSON types, without the fields that have their default."""
    if isinstance(value, msgspec.Struct):
        fields = [(field, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        return {field.name: meaning(entry) for field, entry in fields if entry != field.default}
    if isinstance(value, Address | HostName):
        return str(value)
    return [meaning(item) for item in value] if isinstance(value, tuple) else value
