"""The parts of a cluster that have keys of their own. See `keys`."""

from __future__ import annotations

from typing import get_args

from proxy.config import model
from proxy.config.kinds import Choice, Count, Duration, HeaderValues, Name, RequestPath
from proxy.config.sections import Key, Section

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
            "What counts as an answer: `tcp`, a connection; `http`, a status below 400 to a GET; `bolt`, the answer to "
            "a heartbeat.",
        ),
        Key("path", RequestPath(), "What `http` asks for."),
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
    "status 4, tcp by a reset. Bolt knows `max_requests` only; calls that come in one read count together.",
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

SHARE = Section(
    "share",
    model.ShareConfig,
    "A cluster and its share of the requests: one in twenty for weight 5 beside 95.",
    (
        Key("name", Name(), "The cluster.", required=True, example="app"),
        Key("weight", Count(1, 1000), "Its share."),
    ),
)
