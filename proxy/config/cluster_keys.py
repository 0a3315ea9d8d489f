"""The keys of a cluster and its parts. See `keys`."""

from __future__ import annotations

import re
from typing import get_args

from hotswap.settings.kinds import Choice, Count, Duration, Flag, Name, Text
from hotswap.settings.sections import Items, Key, Section
from proxy.config import model
from proxy.config.hosts import EndpointAddress
from proxy.config.kinds import HeaderValues, RequestPath
from proxy.config.tls_keys import ANNOUNCES, CLUSTER_TLS, ENCRYPTION, WANTED
from proxy.config.tls_kinds import FILE

USER = Text("user", re.compile(r"[^\0-\x1f\x7f]{1,255}"), "the name of a user")
LABELS = HeaderValues("mapping of label to value")

OUTLIER = Section(
    "outlier",
    model.OutlierConfig,
    "An endpoint that fails gets no new connections and requests for a while; `{}` takes the defaults. Failures count "
    "when they come in a row, each kind for itself. What is under way on it goes on. Ejections move with an upgrade.",
    (
        Key(
            "connect_failures",
            Count(0, 1000),
            "Connections in a row that failed or took too long; 0 does not count them.",
        ),
        Key(
            "lost",
            Count(0, 1000),
            "Requests in a row whose connection ended before the answer was complete, or that ran into "
            "`request_timeout`; for tcp, connections that the endpoint reset; 0 does not count them.",
        ),
        Key(
            "server_errors",
            Count(0, 1000),
            "Answers in a row with status 500 and above; 0 does not count them.",
        ),
        Key("window", Duration(), "A row that takes longer begins anew."),
        Key("cooldown", Duration(), "For how long it is ejected the first time; then twice as long, and so on."),
        Key(
            "max_cooldown",
            Duration(),
            "The longest cool-down. An endpoint that worked for as long as the last one begins at `cooldown` again.",
        ),
        Key("max_ejected", Count(1, 100), "Percent of the endpoints that are ejected at a time; never all of them."),
    ),
)

HEALTH_CHECK = Section(
    "health_check",
    model.HealthCheckConfig,
    "Every endpoint is asked again and again, each time on a connection of its own, whether it works; `{}` takes the "
    "defaults. One that does not gets no new connections and requests. An endpoint counts as healthy until its checks "
    "say otherwise. The judgement moves with an upgrade.",
    (
        Key(
            "check",
            Choice(get_args(model.AppCheck)),
            "What counts as an answer: `tcp`, a connection; `http` and `http2`, a status below 400 to a GET; `grpc`, "
            "SERVING to `grpc.health.v1.Health/Check`; `bolt` and `dubbo`, the answer to a heartbeat.",
        ),
        Key("path", RequestPath(), "What `http` and `http2` ask for."),
        Key("interval", Duration(), "From the beginning of a check to that of the next."),
        Key("timeout", Duration(), "A check without an answer by then has failed."),
        Key("unhealthy", Count(1, 1000), "Failures in a row after which it is left alone."),
        Key("healthy", Count(1, 1000), "Successes in a row after which it is used again."),
        Key(
            "panic",
            Count(0, 100),
            "If fewer than so many percent of the endpoints are healthy, all are used: then the checks are more likely "
            "wrong than the endpoints. With 0, requests get 503 when none is healthy.",
        ),
    ),
)

LIMITS = Section(
    "limits",
    model.LimitsConfig,
    "How much of a cluster is used at a time. What exceeds it is refused at once: http1 by 503 with a reason, bolt by "
    "status 4, dubbo by 100, tcp by a reset. Bolt and dubbo know `max_requests` only; calls that come in one read "
    "count together.",
    (
        Key(
            "max_connections",
            Count(1, 10_000_000),
            "Connections to all endpoints together, idle ones included. A request that finds an idle one is served.",
            example="1000",
            absent="no limit",
        ),
        Key(
            "max_pending",
            Count(1, 10_000_000),
            "Requests, or tcp connections, that wait for a connection to be made.",
            example="100",
            absent="no limit",
        ),
        Key(
            "max_requests",
            Count(1, 10_000_000),
            "Requests under way; for tcp connections.",
            example="1000",
            absent="no limit",
        ),
    ),
)

RETRY_BUDGET = Section(
    "retry_budget",
    model.RetryBudgetConfig,
    "Requests are sent again (`retries`) only as long as few are at a time, so that retries never bury a cluster that "
    "is struggling; `{}` takes the defaults.",
    (
        Key("percent", Count(0, 100), "Of the requests under way on the cluster."),
        Key("at_least", Count(0, 10_000), "So many are always allowed."),
    ),
)

BROKER = Section(
    "broker",
    model.BrokerConfig,
    "What becomes of connections of AMQP whose broker is no longer among the endpoints. See [amqp](amqp.md).",
    (
        Key(
            "when_gone",
            Choice(get_args(model.WhenGone)),
            "`stay`: they go on as long as both sides want. `move`: they change to another broker, if the client "
            "logged in as `username`, else stay. `end`: they end once what was delivered is acked.",
        ),
        Key(
            "username",
            USER,
            "Who logs in at the next broker. Only connections of the same user, with the same password, move.",
            example="app",
            absent="none moves",
        ),
        Key(
            "password_file",
            FILE,
            "The file with the password; a line end behind it does not count.",
            example="/etc/edge/broker.password",
            absent="none moves",
        ),
    ),
)

SHARE = Section(
    "share",
    model.ShareConfig,
    "A cluster and its share of the requests: one in twenty for weight 5 beside 95.",
    (
        Key("name", Name(), "The cluster.", required=True, example="app"),
        Key("weight", Count(1, 1000), "Its share."),
    ),
)

ENDPOINT = Section(
    "endpoint",
    model.EndpointConfig,
    "A plain address, or a mapping with a weight: `{address: 127.0.0.1:9000, weight: 3}`.",
    (
        Key(
            "address",
            EndpointAddress(),
            "`host:port`, `[ipv6]:port`, `unix:/path`, or a name and a port: every address of [its answer](dns.md) "
            "is an endpoint with this weight and these labels.",
            required=True,
            example="127.0.0.1:9000",
        ),
        Key("weight", Count(1, 1000), "Its share with `balance: weighted`."),
        Key("labels", LABELS, "What the `subset` of a route asks for.", example="{version: v2}", absent="none"),
        Key(
            "encryption",
            WANTED,
            "Whether connections to it are encrypted, in place of the `wanted` of its cluster's `encryption`.",
            example="follow",
            absent="as the cluster says",
        ),
        Key(
            "announces",
            ANNOUNCES,
            "What it accepts, where that is to be followed. Its announcement in the file or on the control socket "
            "goes before this.",
            example="tls",
            absent="`plaintext`",
        ),
    ),
    shorthand="address",
)

CLUSTER = Section(
    "cluster",
    model.ClusterConfig,
    "Upstreams that are equivalent, and how to talk to them.",
    (
        Key("name", Name(), "What routes and listeners call it.", required=True, example="app"),
        Key(
            "endpoints",
            Items(ENDPOINT, "original_dst"),
            "Its members. `original_dst`: wherever each client wanted to go, see [transparent](transparent.md).",
            required=True,
            example="[127.0.0.1:9000]",
        ),
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
            "this is for those without. Of dubbo see [dubbo](dubbo.md).",
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
            "response: kept-alive connections are closed by the upstream at any time. Of bolt and dubbo: only "
            "calls of which not a byte left.",
        ),
        Key(
            "max_idle",
            Count(0, 65535),
            "Idle connections kept open per endpoint for the next request (http1); 0 closes each after its response. "
            "With `endpoints: original_dst`, to all destinations together.",
        ),
        Key(
            "keepalive_timeout",
            Duration(),
            "How long such a connection is kept. Stay below the timeout of the upstream, which would close it first.",
        ),
        Key(
            "shared_connections",
            Count(1, 1024),
            "Connections per endpoint that the calls of all clients share: bolt, for version 1 and 2 each, and dubbo. "
            "With `http2`, another one is made when all streams of the others are taken.",
        ),
        Key(
            "heartbeat_interval",
            Duration(),
            "Silence after which such a connection is asked for a sign of life; after three without an answer it is "
            "closed. Stay below the idle timeout of the upstream.",
        ),
        Key(
            "http2",
            Flag(),
            "The endpoints speak [HTTP/2](http2.md): with `tls` if they agree on it by ALPN, else at once (prior "
            "knowledge). For listeners of http1, whatever their clients speak.",
        ),
        Key(
            "transparent_source",
            Flag(),
            "Connect from the client's own address, which the endpoints then see; they must answer through this "
            "machine. Connections are kept for the same client only. See [transparent](transparent.md).",
        ),
        Key(
            "mark",
            Count(0, 4294967295),
            "SO_MARK of all connections to the endpoints, checks included, for rules and routes of the kernel.",
            example="1",
            absent="none",
        ),
        Key("outlier", OUTLIER, "Ejects endpoints that fail.", absent="none is ejected"),
        Key("health_check", HEALTH_CHECK, "Asks endpoints whether they work.", absent="none is asked"),
        Key("limits", LIMITS, "Bounds what is under way.", absent="no limits"),
        Key("retry_budget", RETRY_BUDGET, "Bounds what is sent again.", absent="`retries` alone decides"),
        Key("family", Choice(get_args(model.Family)), "Which addresses of names are used."),
        Key(
            "proxy_protocol",
            Choice(get_args(model.ProxyVersion)),
            "The PROXY protocol header that every connection begins with, see [PROXY protocol](proxy-protocol.md).",
            example="v2",
            absent="no header",
        ),
        Key("broker", BROKER, "How AMQP follows a change of endpoints.", absent="connections stay"),
        Key("tls", CLUSTER_TLS, "Connections to the endpoints speak TLS, see below.", absent="plaintext"),
        Key(
            "encryption",
            ENCRYPTION,
            "Whether they do, and how they change over, see below.",
            absent="all of them do, strictly, if there is `tls`",
        ),
    ),
)
