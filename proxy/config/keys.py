"""Every key of the configuration file: its kind, what it is for, and where it stands.

This table is the only place that knows the keys. The loader reads by it, the JSON Schema and
docs/config.md are made from it; defaults come from the structs of `model`. A key that is missing here is
refused as unknown; one that is missing in `model` fails a test.
"""

from __future__ import annotations

from typing import get_args

from hotswap.settings.kinds import DIRECTORY, Choice, Count, Duration, Name, Names, SocketAddress
from hotswap.settings.sections import Form, Items, Key, Section
from proxy.config import model
from proxy.config.cluster_keys import BROKER, CLUSTER, ENDPOINT, HEALTH_CHECK, LIMITS, OUTLIER, RETRY_BUDGET, SHARE
from proxy.config.dns_keys import DNS
from proxy.config.elsewhere import ELSEWHERE
from proxy.config.filter_keys import FILTER
from proxy.config.kinds import RequestPath, Uids
from proxy.config.listener_keys import ACCESS_LOG, LISTENER, PROXY_PROTOCOL
from proxy.config.metrics_keys import METRICS
from proxy.config.route_keys import MATCH, ROUTE
from proxy.config.tls_keys import TLS_SECTIONS

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
        Key(
            "peer_uids",
            Uids(),
            "Users besides its own and root that may take over from this proxy, be taken over from, and use its "
            "control socket: for containers that run under different uids. Whoever is listed gets everything this "
            "proxy has: its connections, the secrets of TLS, and the right to stop it. Both sides must list each "
            "other, and have a group in common, that of the runtime directory. A reload cannot change it.",
            example="[1001, 1002]",
            absent="nobody else",
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
            "`tcp` connects, `http` and `http2` get `path` and want a status below 400, `grpc` asks "
            "`grpc.health.v1.Health/Check` and wants SERVING, `bolt` and `dubbo` send a heartbeat.",
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
            "Serves `/ready`, `/live`, `/status` and `/metrics` over HTTP. Anyone who can connect can read them.",
            example="127.0.0.1:9901",
            absent="no admin address",
        ),
        Key(
            "workers",
            Count(1, 64),
            "Processes that serve, one for each core it may use, see [workers](workers.md). An upgrade changes it, a "
            "reload cannot.",
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
        Key("dns", DNS, "Looks up the names of endpoints, see below.", absent="the defaults below"),
        Key("metrics", METRICS, "What it counts with, see below.", absent="the defaults below"),
    ),
)

SECTIONS = (
    ROOT,
    LISTENER,
    ROUTE,
    MATCH,
    ACCESS_LOG,
    PROXY_PROTOCOL,
    FILTER,
    CLUSTER,
    ENDPOINT,
    OUTLIER,
    HEALTH_CHECK,
    LIMITS,
    RETRY_BUDGET,
    BROKER,
    SHARE,
    UPGRADE,
    APP,
    DNS,
    METRICS,
    *TLS_SECTIONS,
)

FORM = Form(ROOT, "docs/config.md", ELSEWHERE)
