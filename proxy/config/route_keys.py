"""The keys of a route. See `keys`."""

from __future__ import annotations

from hotswap.settings.kinds import Count, Duration, Name
from hotswap.settings.sections import Items, Key, Section
from proxy.config import model
from proxy.config.cluster_keys import LABELS, SHARE
from proxy.config.filter_keys import FILTER
from proxy.config.kinds import HOST, PATTERN, SERVICE, HeaderValues, RequestPath
from proxy.config.tls_kinds import SNI

HTTP1 = ("http1",)
BOLT = ("bolt",)
DUBBO = ("dubbo",)
AMQP = ("amqp",)
FRAMED = ("bolt", "dubbo", "amqp")
TCP = ("tcp",)
LOGGED = ("tcp", "http1", "bolt", "dubbo", "amqp")
ROUTED = ("http1", "bolt", "dubbo")
"""Protocols with requests."""

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
            "Header fields that must be there with exactly this value; the names in any case. Of dubbo attachments.",
            example="{x-version: beta}",
            absent="any headers",
            only=ROUTED,
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
        Key(
            "interface",
            SERVICE,
            "The interface that is called. `*` stands for any characters, `?` for one; also in the three keys below.",
            example="com.acme.Orders",
            absent="any interface",
            only=DUBBO,
        ),
        Key("method", PATTERN, "The method that is called.", example="get*", absent="any method", only=DUBBO),
        Key(
            "version",
            PATTERN,
            "The version of the service; one without is called as `0.0.0` by most clients.",
            example="1.0.0",
            absent="any version",
            only=DUBBO,
        ),
        Key(
            "group",
            PATTERN,
            "The group of the service. It stands behind the arguments of a call: a listener with a route that names "
            "one, or `headers`, walks through these.",
            example="blue",
            absent="any group, or none",
            only=DUBBO,
        ),
        Key(
            "sni",
            SNI,
            "The host that a client names in its TLS handshake, which goes on to the cluster as it is: `*.example.com` "
            "takes every name below example.com. Not on a listener with `tls`.",
            example="db.example.com",
            absent="any connection, also without TLS",
            only=TCP,
        ),
    ),
)

ROUTE = Section(
    "route",
    model.RouteConfig,
    "The first route that matches decides; without a match the answer is 404, for bolt status 6, for dubbo 60, for tcp "
    "a reset.",
    (
        Key("match", MATCH, "Which requests go this way.", absent="every request"),
        Key(
            "name",
            Name(),
            "What metrics call it. Routes of one name are counted together.",
            example="orders",
            absent="its conditions as text, such as `prefix=/v1`",
            only=ROUTED,
        ),
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
            only=ROUTED,
        ),
        Key(
            "request_timeout",
            Duration(),
            "Instead of that of the cluster; of bolt for calls without a time of their own.",
            absent="as the cluster says",
            only=ROUTED,
        ),
        Key("idle_timeout", Duration(), "Instead of that of the cluster.", absent="as the cluster says", only=HTTP1),
        Key("retries", Count(0, 10), "Instead of that of the cluster.", absent="as the cluster says", only=ROUTED),
        Key("filters", Items(FILTER), "What its requests pass after those of the listener.", absent="none", only=HTTP1),
    ),
)
