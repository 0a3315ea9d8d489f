"""`hotswap drain`."""

from __future__ import annotations

import msgspec
import pytest

from hotswap.cli import drain
from hotswap.control_client import ControlClient
from hotswap.errors import NotRunning, Refused
from tests.hotswap.cli.server import FakeServer


def test_the_deadline_is_part_of_the_order(edge: FakeServer) -> None:
    done = edge.run("drain", "edge", "--deadline", "1m30s")
    assert (done.exit_code, done.stdout) == (0, "edge: draining; ends within 1 min 30 s\n")
    assert edge.orders == [{"deadline": 90.0}]


def test_json(edge: FakeServer) -> None:
    assert msgspec.json.decode(edge.run("drain", "edge", "--json").stdout) == {"draining": True}


def test_a_refusal_has_its_exit_code(edge: FakeServer) -> None:
    edge.failure = Refused("a handover is under way")
    done = edge.run("drain", "edge")
    assert (done.exit_code, done.stderr) == (11, "hotswap: edge: a handover is under way\n")


def test_waiting_ends_with_the_server(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"connections": 3}, {"connections": 1}]

    def get(_self: ControlClient, _path: str) -> dict[str, int]:
        if not answers:
            raise NotRunning("gone")
        return answers.pop(0)

    monkeypatch.setattr(ControlClient, "get", get)
    monkeypatch.setattr(drain, "POLL_SECONDS", 0.001)
    done = edge.run("drain", "edge", "--wait")
    assert (done.exit_code, done.stdout) == (0, "edge: drained and ended\n")


def test_waiting_has_an_end(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "GRACE_SECONDS", 0.0)
    done = edge.run("drain", "edge", "--wait", "--deadline", "10ms")
    assert done.exit_code == 15
    assert "9012 connections left" in done.stderr
