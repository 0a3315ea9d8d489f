"""Every key of the configuration file: its kind, what it is for, and where it stands.

This table is the only place that knows the keys. The loader reads by it, the JSON Schema and
docs/config.md are made from it; defaults come from the structs of `model`. A key that is missing here is
refused as unknown; one that is missing in `model` fails a test.
"""

from __future__ import annotations

from typing import get_args

from proxy.config import model
from proxy.config.cluster_keys import HEALTH_CHECK, LABELS, LIMITS, OUTLIER, RETRY_BUDGET, SHARE
from proxy.config.kinds import (
    DIRECTORY,
    HOST,
    SERVICE,
    Choice,
    Count,
    Duration,
    HeaderValues,
    Name,
    Names,
    RequestPath,
    Size,
    SocketAddress,
)
from proxy.config.listener_keys import ACCESS_LOG, FILTER
from proxy.config.sections import Items, Key, Section

HTTP1 = ("http1",)
BOLT = ("bolt",)
LOGGED = ("tcp", "http1")
ROUTED = ("http1", "bolt")
"""Protocols with a choice of routes."""

MATCH = Section(
    "match",
    model.MatchConfig,
    "All conditions that are written must hold; `{}` takes every request.",
    (
        Key(
            "host",
            HOST,
            "The host of the request, without port, in any case. `*.example.com` takes every name below example.com, "
            "not example.com itself.",
            example="api.example.com",
            absent="any host",
            only=HTTP1,
        ),
        Key(
            "path",
            RequestPath(),
            "The whole path, without the query. Not together with `prefix`.",
            example="/v1/users",
            absent="any path",
            only=HTTP1,
        ),
        Key(
            "prefix",
            RequestPath(),
            "The beginning of the path, whole segments: `/v1` takes `/v1`, `/v1/` and `/v1/x`, not `/v10`.",
            example="/v1",
            absent="any path",
            only=HTTP1,
        ),
        Key(
            "headers",
            HeaderValues(),
            "Header fields that must be there with exactly this value; the names in any case.",
            example="{x-version: beta}",
            absent="any headers",
        ),
        Key(
            "service",
            SERVICE,
            "The value of the header `service`, or of `sofa_head_target_service` where that is missing. `*` stands for "
            "any characters, `?` for one.",
            example="com.acme.Orders:1.0",
            absent="any service",
            only=BOLT,
        ),
    ),
)

ROUTE = Section(
    "route",
    model.RouteConfig,
    "The first route that matches decides; without a match the answer is 404, for bolt status 6.",
    (
        Key("match", MATCH, "Which requests go this way.", absent="every request"),
        Key("cluster", Name(), "The cluster they go to; this or `clusters`.", example="app", absent="see `clusters`"),
        Key(
            "clusters",
            Items(SHARE),
            "Several clusters, each with its share of the requests; evenly spread, also over an upgrade.",
            example="[{name: app, weight: 95}, {name: next, weight: 5}]",
            absent="see `cluster`",
            only=ROUTED,
        ),
        Key(
            "subset",
            LABELS,
            "Only endpoints with all of these labels.",
            example="{version: v2}",
            absent="any endpoint",
            only=HTTP1,
        ),
        Key("request_timeout", Duration(), "Instead of that of the cluster.", absent="as the cluster says", only=HTTP1),
        Key("idle_timeout", Duration(), "Instead of that of the cluster.", absent="as the cluster says", only=HTTP1),
        Key("retries", Count(0, 10), "Instead of that of the cluster.", absent="as the cluster says", only=HTTP1),
    ),
)

LISTENER = Section(
    "listener",
    model.ListenerConfig,
    "A bound address and the protocol that is spoken there. In an upgrade the new generation gets the listener with "
    "everything that waits in its accept queue. It is recognised by its address, so its name may change.",
    (
        Key("name", Name(), "Stands in logs, status and metrics.", required=True, example="web"),
        Key(
            "address",
            SocketAddress(),
            "`host:port`, `[ipv6]:port` or `unix:/path`, with a fixed port.",
            required=True,
            example="127.0.0.1:8080",
        ),
        Key(
            "protocol",
            Choice(get_args(model.Protocol)),
            "`tcp` relays bytes, `http1` routes requests of HTTP/1.1 and HTTP/1.0, `bolt` routes calls of SOFABolt, "
            "versions 1 and 2 ([bolt](bolt.md)).",
            required=True,
            example="http1",
        ),
        Key("routes", Items(ROUTE), "Where requests go, first match first.", absent="see `cluster`", only=ROUTED),
        Key(
            "cluster",
            Name(),
            "Where everything goes. For tcp this is required; else it is short for one route that takes every request.",
            example="app",
            absent="see `routes`",
        ),
        Key(
            "backlog",
            Count(1, 65535),
            "Connections that wait in the kernel to be accepted; the kernel's own limit is net.core.somaxconn.",
        ),
        Key(
            "max_connections",
            Count(1, 10_000_000),
            "Connections served at a time. More wait in the backlog.",
            example="10000",
            absent="as many as open files allow",
        ),
        Key(
            "header_timeout",
            Duration(),
            "From the first byte of a request to the end of its header; for the first request from the beginning of "
            "the connection. Then 408, or a mere close if not a byte came.",
            only=HTTP1,
        ),
        Key("body_timeout", Duration(), "Longest silence of a client inside a request body. Then 408.", only=HTTP1),
        Key(
            "keepalive_timeout",
            Duration(),
            "Wait for the next request on a connection. Then it is closed. Clients of bolt send heartbeats within it.",
            only=ROUTED,
        ),
        Key(
            "max_header_bytes",
            Size(1 << 10, 1 << 20),
            "Request line and header fields together. More gets 431, or 414 if it is the line.",
            only=HTTP1,
        ),
        Key(
            "max_headers",
            Count(1, 10_000),
            "Header fields of a request, and trailer fields. More get 431.",
            only=HTTP1,
        ),
        Key(
            "max_body",
            Size(),
            "Bytes of a request body. More gets 413. Bodies are streamed, so this is no memory limit.",
            example="10MB",
            absent="no limit",
            only=HTTP1,
        ),
        Key(
            "max_frame",
            Size(128 << 10, 16 << 20),
            "Bytes of a frame of either side. A longer request or response is dropped, and its call gets status 9.",
            only=BOLT,
        ),
        Key("access_log", ACCESS_LOG, "A line for each request.", absent="none", only=LOGGED),
        Key("filters", Items(FILTER), "What connections and requests pass, in this order.", absent="none"),
    ),
)

ENDPOINT = Section(
    "endpoint",
    model.EndpointConfig,
    "A plain address, or a mapping with a weight: `{address: 127.0.0.1:9000, weight: 3}`.",
    (
        Key(
            "address",
            SocketAddress(),
            "`host:port`, `[ipv6]:port` or `unix:/path`. Names are not looked up, except localhost.",
            required=True,
            example="127.0.0.1:9000",
        ),
        Key("weight", Count(1, 1000), "Its share with `balance: weighted`."),
        Key("labels", LABELS, "What the `subset` of a route asks for.", example="{version: v2}", absent="none"),
    ),
    shorthand="address",
)

CLUSTER = Section(
    "cluster",
    model.ClusterConfig,
    "Upstreams that are equivalent, and how to talk to them.",
    (
        Key("name", Name(), "What routes and listeners call it.", required=True, example="app"),
        Key("endpoints", Items(ENDPOINT), "Its members.", required=True, example="[127.0.0.1:9000]"),
        Key(
            "balance",
            Choice(get_args(model.Balance)),
            "Who is next: in turn, the one with the fewest requests (connections for tcp) under way, or in turn by "
            "weight.",
        ),
        Key(
            "connect_timeout",
            Duration(),
            "To establish a connection. Then the other endpoints are tried, each once. If none is left: 504, or 503 "
            "if they refused; a tcp connection is reset.",
        ),
        Key(
            "request_timeout",
            Duration(),
            "From the complete request to the first byte of the response. Then 504. A call of bolt brings its own; "
            "this is for those without.",
        ),
        Key(
            "idle_timeout",
            Duration(),
            "Longest silence on a stream, a tunnel or a tcp connection, counting both directions. Then it is closed.",
        ),
        Key(
            "max_duration",
            Duration(),
            "Limit of a stream, a tunnel or a tcp connection as a whole.",
            example="1h",
            absent="no limit",
        ),
        Key(
            "retries",
            Count(0, 10),
            "How often an idempotent request is sent again when its upstream connection ended before a byte of the "
            "response: kept-alive connections are closed by the upstream at any time.",
        ),
        Key(
            "max_idle",
            Count(0, 65535),
            "Idle connections kept open per endpoint for the next request (http1); 0 closes each after its response.",
        ),
        Key(
            "keepalive_timeout",
            Duration(),
            "How long such a connection is kept. Stay below the timeout of the upstream, which would close it first.",
        ),
        Key(
            "shared_connections",
            Count(1, 1024),
            "Connections per endpoint that the calls of all clients share (bolt), for version 1 and 2 each.",
        ),
        Key(
            "heartbeat_interval",
            Duration(),
            "Silence after which such a connection is asked for a sign of life; after three without an answer it is "
            "closed. Stay below the idle timeout of the upstream.",
        ),
        Key("outlier", OUTLIER, "Ejects endpoints that fail.", absent="none is ejected"),
        Key("health_check", HEALTH_CHECK, "Asks endpoints whether they work.", absent="none is asked"),
        Key("limits", LIMITS, "Bounds what is under way.", absent="no limits"),
        Key("retry_budget", RETRY_BUDGET, "Bounds what is sent again.", absent="`retries` alone decides"),
    ),
)

UPGRADE = Section(
    "upgrade",
    model.UpgradeConfig,
    "How this proxy gives its connections to the next generation.",
    (
        Key(
            "deadline",
            Duration(0.1),
            "An attempt that is not done by then is taken back and this generation serves on.",
        ),
        Key("downtime_budget", Duration(), "Copying goes on while serving until the rest can be copied in this time."),
        Key("max_rounds", Count(1, 1000), "Or until this many rounds of copying."),
        Key(
            "drain_timeout",
            Duration(),
            "How long connections that cannot move, or whose listener is gone, may finish in the old generation.",
        ),
    ),
)

APP = Section(
    "app",
    model.AppConfig,
    "The application that this proxy stands before. It is asked again and again whether it lives; while it does not, "
    "`/ready` fails, and its service port says so, too, if `when_dead` wants it.",
    (
        Key("address", SocketAddress(), "Where it answers.", required=True, example="127.0.0.1:9000"),
        Key(
            "check",
            Choice(get_args(model.AppCheck)),
            "`tcp` connects, `http` gets `path` and wants a status below 400, `bolt` sends a heartbeat.",
        ),
        Key("path", RequestPath(), "What `check: http` asks for."),
        Key("interval", Duration(), "From one check to the next."),
        Key("timeout", Duration(), "For the whole check."),
        Key("failures", Count(1, 1000), "So many in a row, and it is dead. One success, and it lives."),
        Key(
            "when_dead",
            Choice(get_args(model.WhenDead)),
            "`announce`: only `/ready` fails. `close`: `listeners` refuse connections. `reset`: they accept and reset.",
        ),
        Key(
            "listeners",
            Names(),
            "The service port: which listeners `when_dead` closes.",
            example="[web]",
            absent="all listeners",
        ),
    ),
)

ROOT = Section(
    "configuration",
    model.Config,
    "One proxy: its name, where it accepts connections and where it connects to.",
    (
        Key(
            "name",
            Name(),
            "Name of this proxy: `hotswap upgrade NAME`. A directory of this name in the runtime directory holds its "
            "sockets.",
            required=True,
            example="edge",
        ),
        Key(
            "runtime_dir",
            DIRECTORY,
            "Where that directory is. `--runtime-dir` and `HOTSWAP_RUNTIME_DIR` come first.",
            example="/run/hotswap",
            absent="`/run/hotswap` for root, `$XDG_RUNTIME_DIR/hotswap` else",
        ),
        Key(
            "admin",
            SocketAddress(),
            "Serves `/ready`, `/live` and `/status` over HTTP. Anyone who can connect can read them.",
            example="127.0.0.1:9901",
            absent="no admin address",
        ),
        Key("listeners", Items(LISTENER), "Where it accepts connections.", required=True),
        Key("clusters", Items(CLUSTER), "Where it connects to.", required=True),
        Key("drain_timeout", Duration(), "How long work under way may go on after SIGTERM or `hotswap drain`."),
        Key(
            "drain_delay",
            Duration(0.0),
            "The first part of that time, in which `/ready` fails and clients are told to go while the listeners still "
            "accept, so that load balancers notice first.",
        ),
        Key("upgrade", UPGRADE, "See below.", absent="the defaults below"),
        Key("app", APP, "The application behind this proxy, see below.", absent="not watched"),
    ),
)

SECTIONS = (
    ROOT,
    LISTENER,
    ROUTE,
    MATCH,
    ACCESS_LOG,
    FILTER,
    CLUSTER,
    ENDPOINT,
    OUTLIER,
    HEALTH_CHECK,
    LIMITS,
    RETRY_BUDGET,
    SHARE,
    UPGRADE,
    APP,
)
