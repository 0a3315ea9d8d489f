"""`hotswap reload`."""

from __future__ import annotations

import msgspec

from hotswap.errors import Busy, ConfigError
from tests.hotswap.cli.server import FakeServer

CHANGES = [
    {"what": "listener", "name": "api", "how": "added", "detail": "127.0.0.1:8081"},
    {"what": "cluster", "name": "old", "how": "removed", "detail": ""},
    {"what": "cluster", "name": "app", "how": "changed", "detail": "retries 1 -> 2"},
]


def test_the_difference_is_shown(edge: FakeServer) -> None:
    edge.reloaded["changes"] = CHANGES
    done = edge.run("reload", "edge")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "  + listener api added: 127.0.0.1:8081",
            "  - cluster old removed",
            "  ~ cluster app changed: retries 1 -> 2",
            "edge: reloaded: 3 changes in force, configuration a -> b",
        ],
    )
    assert edge.orders[0]["dry_run"] is False


def test_a_dry_run_says_so(edge: FakeServer) -> None:
    edge.reloaded["changes"] = CHANGES[:1]
    done = edge.run("reload", "edge", "--dry-run")
    assert "dry run went well: 1 change could be applied; nothing was" in done.stdout
    assert edge.orders[0]["dry_run"] is True


def test_no_difference(edge: FakeServer) -> None:
    assert edge.run("reload", "edge").stdout == "edge: nothing to reload: the configuration is the same (b)\n"


def test_json(edge: FakeServer) -> None:
    assert msgspec.json.decode(edge.run("reload", "edge", "--json").stdout) == edge.reloaded


def test_a_refusal_has_its_exit_code(edge: FakeServer) -> None:
    edge.failures = [ConfigError("edge.yaml:3: name: no")]
    done = edge.run("reload", "edge")
    assert (done.exit_code, done.stderr) == (3, "hotswap: edge: edge.yaml:3: name: no\n")


def test_whoever_took_over_meanwhile_is_asked_instead(edge: FakeServer) -> None:
    edge.failures = [Busy("another generation took over meanwhile; ask that one")]
    assert edge.run("reload", "edge").exit_code == 0
    assert len(edge.orders) == 2


def test_busy_for_too_long_is_a_failure(edge: FakeServer) -> None:
    edge.failures = [Busy("a handover is under way")] * 50
    assert edge.run("reload", "edge", "--timeout", "200ms").exit_code == 12
