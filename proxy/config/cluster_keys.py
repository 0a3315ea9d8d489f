"""The parts of a cluster that have keys of their own. See `keys`."""

from __future__ import annotations

from proxy.config import model
from proxy.config.kinds import Count, Duration
from proxy.config.sections import Key, Section

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
