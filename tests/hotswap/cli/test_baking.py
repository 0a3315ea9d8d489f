"""`hotswap upgrade --bake`: what the command makes of what it sees."""

from __future__ import annotations

from typing import Any

import pytest

from hotswap import attempt
from hotswap.chain import Bake
from tests.hotswap.cli.server import FakeServer

BAKING = {"left_s": 41.0, "requests": 200, "failed": 2, "error_rate": 0.01, "crashes": 0, "abort_if": "error_rate=1%"}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(attempt, "LOOK_SECONDS", 0.01)


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {"generation": number, "outcome": "serving", "how": "upgrade", **fields}


def test_the_conditions_are_part_of_the_order(edge: FakeServer) -> None:
    edge.after["baking"] = None
    edge.history = [record(4, baked="passed: 1.00% of 200 requests failed, 0 crashes")]
    done = edge.run(
        "upgrade", "edge", "--bake", "1m", "--abort-if", "error_rate=1.5%", "--abort-if", "crashes=2", "--force"
    )
    assert (done.exit_code, done.stderr[-1:]) == (0, "\n")
    assert "nothing left behind; its bake passed: 1.00% of 200 requests failed" in done.stdout
    assert edge.orders[0]["bake"] == {"seconds": 60.0, "error_rate": 0.015, "crashes": 2, "min_requests": 20}
    assert edge.orders[0]["force"] is True


def test_a_generation_that_was_taken_back_has_an_exit_code_of_its_own(edge: FakeServer) -> None:
    edge.after["generation"] = 5
    edge.history = [record(4, outcome="rolled back by generation 5: error_rate 50% (10 of 20 requests)"), record(5)]
    done = edge.run("upgrade", "edge", "--bake", "1m")
    assert done.exit_code == 20
    assert "generation 4 was rolled back by generation 5: error_rate 50% (10 of 20 requests)" in done.stderr


def test_a_way_back_that_was_blocked_is_no_success(edge: FakeServer) -> None:
    edge.history = [record(4, baked="failed (crashes 1), and could not be taken back: no")]
    done = edge.run("upgrade", "edge", "--bake", "1m")
    assert done.exit_code == 20
    assert "it serves on" in done.stderr


def test_an_older_version_that_cannot_bake_is_told(edge: FakeServer) -> None:
    edge.history = [record(4)]
    done = edge.run("upgrade", "edge", "--bake", "1m")
    assert done.exit_code == 0
    assert "not judged: generation 4 does not know how to bake" in done.stdout


def test_a_death_while_baking_is_connections_lost(edge: FakeServer) -> None:
    edge.after["generation"] = 4
    edge.after["baking"] = BAKING
    follow = attempt.follow
    asked: list[str] = []

    class Client:
        name = "edge"

        def get(self, path: str) -> dict[str, Any]:
            asked.append(path)
            return {"generation": 1, "baking": None, "history": [record(1, how="cold")]}

    result = follow(Client(), {"generation": 4}, Bake(seconds=1.0), lambda _: None)  # type: ignore[arg-type]
    assert (result["ok"], result["exit_code"]) == (False, 18)


@pytest.mark.parametrize(
    "options",
    [
        ["--abort-if", "error_rate=1%"],
        ["--bake", "1m", "--abort-if", "error_rate=1"],
        ["--bake", "1m", "--abort-if", "error_rate=100%"],
        ["--bake", "1m", "--abort-if", "p99=3ms"],
        ["--bake", "1m", "--abort-if", "crashes=0"],
    ],
)
def test_conditions_that_make_no_sense(edge: FakeServer, options: list[str]) -> None:
    done = edge.run("upgrade", "edge", *options)
    assert done.exit_code == 2
    assert edge.orders == []


def test_status_shows_it(edge: FakeServer) -> None:
    edge.status["baking"] = BAKING
    shown = edge.run("status", "edge").stdout
    assert "baking for another 41 s: 2 of 200 requests failed (1.00%), 0 crashes; taken back if error_rate=1%" in shown
