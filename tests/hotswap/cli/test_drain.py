"""`hotswap drain`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotswap.control_client import ControlClient
from hotswap.errors import NotRunning, Refused
from tests.hotswap.cli.server import FakeServer

FALLING: list[dict[str, Any]] = [
    {"event": "draining", "listeners": "open", "connections": 9, "in_flight": 4, "left_s": 30.0},
    {"event": "draining", "listeners": "closed", "connections": 3, "in_flight": 1, "left_s": 28.0},
]
DRAINED: dict[str, Any] = {"event": "result", "ok": True, "exit_code": 0, "message": "done", "cut": 0, "took_s": 2.0}
CUT = {"event": "result", "ok": False, "exit_code": 15, "message": "3 connections were ended at the deadline", "cut": 3}


def test_deadline_and_delay_are_part_of_the_order(edge: FakeServer) -> None:
    done = edge.run("drain", "edge", "--deadline", "1m30s", "--delay", "0s", "--no-wait")
    assert (done.exit_code, done.stdout) == (0, "edge: draining; 2 requests in flight\n")
    assert edge.orders == [{"deadline": 90.0, "delay": 0.0}]


def test_what_is_not_said_is_as_configured(edge: FakeServer) -> None:
    done = edge.run("drain", "edge", "--no-wait", "--json")
    assert msgspec.json.decode(done.stdout) == {"draining": True, "in_flight": 2}
    assert edge.orders == [{"deadline": None, "delay": None}]


def test_a_refusal_has_its_exit_code(edge: FakeServer) -> None:
    edge.failure = Refused("a handover is under way")
    done = edge.run("drain", "edge")
    assert (done.exit_code, done.stderr) == (11, "hotswap: edge: a handover is under way\n")


def test_progress_is_shown_as_the_counts_fall(edge: FakeServer) -> None:
    edge.events = [*FALLING, DRAINED]
    done = edge.run("drain", "edge")
    assert (done.exit_code, done.stdout) == (0, "edge: drained and ended in 2 s\n")
    assert done.stderr.splitlines() == [
        "edge: draining, still accepting: 9 connections, 4 requests in flight; at most 30 s left",
        "edge: draining, accepting nothing more: 3 connections, 1 request in flight; at most 28 s left",
    ]


def test_what_the_deadline_cut_off_is_a_failure(edge: FakeServer) -> None:
    edge.events = [*FALLING, CUT]
    done = edge.run("drain", "edge")
    assert (done.exit_code, done.stdout) == (15, "")
    assert "hotswap: edge: 3 connections were ended at the deadline" in done.stderr


def test_json_lines(edge: FakeServer) -> None:
    edge.events = [*FALLING, DRAINED]
    done = edge.run("drain", "edge", "--json")
    assert [msgspec.json.decode(line) for line in done.stdout.splitlines()] == [*FALLING, DRAINED]


def test_an_answer_that_breaks_off_is_looked_into(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.break_off = True

    def gone(_self: ControlClient, _path: str) -> dict[str, int]:
        raise NotRunning("gone")

    monkeypatch.setattr(ControlClient, "get", gone)
    assert edge.run("drain", "edge").exit_code == 0


def test_a_server_that_still_runs_did_not_drain(edge: FakeServer) -> None:
    edge.events = FALLING
    edge.break_off = True
    done = edge.run("drain", "edge")
    assert done.exit_code == 15
    assert "it still runs" in done.stderr
