"""After a storm with upgrades the lines of the access log equal the requests and calls, one each."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.load import Plan, Report
from tests.kit.processes import PATIENCE
from tests.kit.stage import BREEZE, STORM, Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

SHOWER = Plan(bolt=20, bolt_calls=8, bolt_rate=250)
FLOOD = Plan(bolt=200, bolt_calls=16, bolt_rate=1000)


def lines(*files: Path) -> list[dict[str, Any]]:
    """Every line, each a whole JSON object."""
    return [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines()]


def asked(plan: Plan, report: Report) -> Counter[str]:
    """How many requests the clients made, by what their targets begin with; every connection proves itself once."""
    did = report.exchanges
    return Counter(
        {
            "/bytes or /chunked": did["busy"] + plan.busy + 2 * plan.idle + plan.streams + plan.uploads,
            "/stream": did["streams"],
            "/sink": did["uploads"],
            "/chat": plan.websockets,
            "tcp": plan.raw,
        }
    )


def told(log: list[dict[str, Any]]) -> Counter[str]:
    def kind(line: dict[str, Any]) -> str:
        target = line.get("target")
        if target is None:
            return "tcp"
        path = str(target).partition("?")[0]
        return "/bytes or /chunked" if path in {"/bytes", "/chunked"} else path

    return Counter(map(kind, log))


def logged_edge(stage: Stage, upstreams: Upstreams) -> tuple[Edge, Path]:
    file = stage.directory / "access.log"
    edge = Edge(stage, upstreams)
    for listener in edge.instance.config["listeners"]:
        listener["access_log"] = {"to": str(file), "format": "json"}
    edge.instance.write_config()
    edge.instance.start()
    return edge, file


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plan", "upgrades"),
    [pytest.param(BREEZE, 5, id="breeze"), pytest.param(STORM, 20, id="storm", marks=pytest.mark.all)],
)
def test_lines_equal_the_requests_whatever_generations_they_span(stage: Stage, plan: Plan, upgrades: int) -> None:
    edge, file = logged_edge(stage, stage.upstreams())
    old = file.with_suffix(".old")
    load = edge.load(plan)
    for number in range(upgrades):
        assert edge.instance.upgrade("--require-all").exit_code == 0
        if number == upgrades // 2:  # what logrotate does, right behind an upgrade
            file.rename(old)
            os.kill(edge.instance.status().pid, signal.SIGUSR1)
        assert load.turn().failures == []
    report = load.finish()
    assert report.failures == []
    wanted = asked(plan, report)
    eventually(lambda: len(lines(old, file)) >= wanted.total(), within=10, what=f"{wanted.total()} lines")
    server = edge.instance.status().server
    assert [one["dropped"] for one in server["access_logs"]] == [0]
    log = lines(old, file)
    assert told(log) == wanted
    http = [line for line in log if "request_id" in line]
    assert len({line["request_id"] for line in http}) == len(http)
    assert {line["status"] for line in http} == {200, 101}
    assert {line["outcome"] for line in http if line["status"] == 200} == {"ok"}
    longest = max(line["duration"] for line in http if line["target"].startswith("/stream"))
    assert longest >= plan.stream_seconds * 900


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plan", "upgrades"),
    [pytest.param(SHOWER, 3, id="shower"), pytest.param(FLOOD, 20, id="flood", marks=pytest.mark.all)],
)
def test_lines_equal_the_calls_of_bolt_whatever_generations_they_span(stage: Stage, plan: Plan, upgrades: int) -> None:
    behind = stage.upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
    edge, file = logged_edge(stage, behind)
    load = edge.load(plan)
    for _ in range(upgrades):
        assert edge.instance.status().in_flight > plan.bolt * plan.bolt_calls / 2  # each of them spans generations
        assert edge.instance.upgrade("--require-all").exit_code == 0
        assert load.turn().failures == []
    report = load.finish()
    assert report.failures == []
    last = edge.instance.status()
    assert [one["dropped"] for one in last.server["access_logs"]] == [0]
    edge.instance.kill(last.pid, signal.SIGTERM)
    eventually(lambda: not edge.instance.generations(), within=PATIENCE, what="nobody is left to write a line")

    assert file.read_bytes().endswith(b"\n")
    log = lines(file)
    calls, record = report.calls, behind.record()
    assert record.wrong == []
    assert (record.requests["bolt"], record.requests["oneway"]) == (calls["call"], calls["oneway"])
    assert calls["heartbeat"]
    pushes = record.requests["push"]
    assert Counter(line["kind"] for line in log) == {"call": calls["call"], "oneway": calls["oneway"], "push": pushes}
    assert len({line["request_id"] for line in log if line["kind"] != "push"}) == calls["call"] + calls["oneway"]
    assert {(line["kind"], line["status"], line["outcome"]) for line in log} == {
        ("call", 0, "ok"),
        ("oneway", None, "ok"),
        ("push", 0, "ok"),
    }
    assert [line for line in log if line["kind"] != "oneway" and line["sent"] != line["received"]] == []
