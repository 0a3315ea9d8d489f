"""Writes docs/config.md from the table of keys: ``python -m proxy.config.reference > docs/config.md``.

A test compares the page with what this makes, so the page cannot lag behind.
"""

from __future__ import annotations

import sys

from hotswap.settings.reference import table
from proxy.config.cluster_keys import (
    BROKER,
    CLUSTER,
    ENDPOINT,
    HEALTH_CHECK,
    LIMITS,
    OUTLIER,
    RETRY_BUDGET,
    SHARE,
)
from proxy.config.dns_keys import DNS
from proxy.config.filter_keys import FILTER
from proxy.config.keys import APP, ROOT, UPGRADE
from proxy.config.listener_keys import ACCESS_LOG, LISTENER, PROXY_PROTOCOL
from proxy.config.metrics_keys import METRICS
from proxy.config.route_keys import MATCH, ROUTE
from proxy.config.tls_keys import CERTIFICATE, CLIENT_CERTIFICATES, CLUSTER_TLS, ENCRYPTION, LISTENER_TLS

HEAD = """\
# Configuration

<!-- Made by `python -m proxy.config.reference > docs/config.md`; change proxy/config/keys.py instead. -->

One YAML file describes one proxy. [examples/edge.yaml](../examples/edge.yaml) is a complete one with comments;
the shortest is

```yaml
name: edge
listeners:
  - {name: db, address: 127.0.0.1:5432, protocol: tcp, cluster: db}
clusters:
  - {name: db, endpoints: [127.0.0.1:15432]}
```

`hotswap check -c FILE` tells everything that is wrong with a file, with line, key and remedy
([check](check.md)). `hotswap schema` prints a JSON Schema, with which editors complete and explain the
keys ([schema](schema.md)).

The file is read when a generation starts. To apply a change, [reload](reload.md): `hotswap reload NAME` takes it in
place. Or [upgrade](upgrade.md): `hotswap upgrade NAME` starts a new generation with the new file and hands every
connection over. A file with an error stops either before anything changed. In the new generation the timeouts and
limits of its file hold for the connections that moved, too; a deadline that runs already, such as that of a request,
goes on as it was set. Connections whose listener's address or whose cluster is gone, or whose listener speaks another
protocol now, stay with the old generation and may finish there for `upgrade.drain_timeout`.

## Forms

| form | written |
|---|---|
| duration | a number and a unit, `ms`, `s`, `m`, `h` or `d`: `500ms`, `1.5s`, `5m`; a number alone is refused |
| size | a number of bytes, or a number and `KB`, `MB` or `GB` (1KB is 1024 bytes) |
| name | 1 to 64 of the characters `A-Z a-z 0-9 _ . -`, the first a letter, a digit or `_` |
| address | `127.0.0.1:8080`, `"[::1]:8080"` (in quotes) or `unix:/path`; `localhost` is 127.0.0.1 |
| path | of a file; relative to the directory of the configuration file, or absolute |

YAML 1.1 reads some unquoted words as numbers or booleans (`1`, `on`, `yes`): where a text is
wanted, such as the value of a header, write them in quotes. Aliases (`*name`), merge keys (`<<`),
tags and repeated keys are refused.
"""

TITLES = (
    (ROOT, "The file"),
    (LISTENER, "listeners"),
    (ROUTE, "listeners: routes"),
    (MATCH, "listeners: routes: match"),
    (ACCESS_LOG, "listeners: access_log"),
    (FILTER, "listeners: filters"),
    (PROXY_PROTOCOL, "listeners: proxy_protocol"),
    (SHARE, "listeners: routes: clusters"),
    (LISTENER_TLS, "listeners: tls"),
    (CERTIFICATE, "listeners: tls: certificates"),
    (CLIENT_CERTIFICATES, "listeners: tls: client_certificates"),
    (CLUSTER, "clusters"),
    (ENDPOINT, "clusters: endpoints"),
    (OUTLIER, "clusters: outlier"),
    (HEALTH_CHECK, "clusters: health_check"),
    (LIMITS, "clusters: limits"),
    (RETRY_BUDGET, "clusters: retry_budget"),
    (BROKER, "clusters: broker"),
    (CLUSTER_TLS, "clusters: tls"),
    (ENCRYPTION, "clusters: encryption"),
    (UPGRADE, "upgrade"),
    (APP, "app"),
    (DNS, "dns"),
    (METRICS, "metrics"),
)


def page() -> str:
    """The whole page."""
    return HEAD + "".join(table(section, title) for section, title in TITLES)


if __name__ == "__main__":
    sys.stdout.write(page())
