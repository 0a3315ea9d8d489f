"""What `hotswap reload` shows of a changed file."""

from __future__ import annotations

import pytest

from hotswap.reload import Change
from proxy.config.difference import difference
from proxy.config.loader import loads

BASE = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:8080
    protocol: http1
    routes:
      - {match: {prefix: /v1}, cluster: one}
      - {cluster: two}
  - {name: raw, address: 127.0.0.1:9090, protocol: tcp, cluster: one}
clusters:
  - {name: one, endpoints: [127.0.0.1:9000]}
  - {name: two, endpoints: [127.0.0.1:9001]}
"""

RAW = "  - {name: raw, address: 127.0.0.1:9090, protocol: tcp, cluster: one}\n"


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("name: edge\n", "name: edge # a comment\n", []),
        (RAW, "", [Change("listener", "raw", "removed", "127.0.0.1:9090")]),
        (
            RAW,
            RAW + RAW.replace("raw", "more").replace("9090", "9091"),
            [Change("listener", "more", "added", "127.0.0.1:9091")],
        ),
        (RAW, RAW.replace("raw", "other"), [Change("listener", "other", "changed", "name raw -> other")]),
        (
            RAW,
            RAW.replace("9090", "9091"),
            [
                Change("listener", "raw", "removed", "127.0.0.1:9090"),
                Change("listener", "raw", "added", "127.0.0.1:9091"),
            ],
        ),
        (
            "protocol: http1",
            "protocol: http1\n    max_body: 1KB",
            [Change("listener", "web", "changed", "max_body none -> 1024")],
        ),
        (
            "      - {match: {prefix: /v1}, cluster: one}\n",
            "",
            [Change("route", "web: prefix /v1", "removed", "to one")],
        ),
        (
            "{match: {prefix: /v1}, cluster: one}",
            "{match: {prefix: /v1}, cluster: two}",
            [Change("route", "web: prefix /v1", "changed", "cluster one -> two")],
        ),
        (
            "[127.0.0.1:9001]",
            "[127.0.0.1:9002], retries: 3",
            [
                Change(
                    "cluster",
                    "two",
                    "changed",
                    "endpoint 127.0.0.1:9001 removed, endpoint 127.0.0.1:9002 added, retries 1 -> 3",
                )
            ],
        ),
        (
            "name: edge\n",
            "name: edge\ndrain_delay: 2s\nupgrade: {max_rounds: 3}\n",
            [
                Change("setting", "drain_delay", "changed", "0.0 -> 2.0"),
                Change("setting", "upgrade", "changed", "max_rounds 6 -> 3"),
            ],
        ),
    ],
)
def test_every_difference_is_told(old: str, new: str, changes: list[Change]) -> None:
    assert old in BASE
    before, after = loads(BASE).config, loads(BASE.replace(old, new, 1)).config
    told = difference(before, after)
    told.sort(key=lambda change: (change.what, change.name, change.how == "added"))
    assert told == changes
    assert (before.id == after.id) is (not told)


def test_the_order_of_routes_counts() -> None:
    lines = BASE.splitlines(keepends=True)
    lines[6], lines[7] = "      - {match: {prefix: /v2}, cluster: two}\n", lines[6]
    before = loads("".join(lines)).config
    lines[6], lines[7] = lines[7], lines[6]
    after = loads("".join(lines)).config
    assert [change.name for change in difference(before, after)] == ["web: the order"]
