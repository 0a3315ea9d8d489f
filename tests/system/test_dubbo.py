"""Dubbo calls through real upgrades: none fails, no heartbeat stays unanswered, whatever else is under way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.kit.load import Plan
from tests.kit.ports import loopback
from tests.kit.stage import STORM, Edge, Stage

SHOWER = Plan(dubbo=30, dubbo_calls=16, dubbo_rate=300)
FLOOD = msgspec.structs.replace(STORM, dubbo=200, dubbo_calls=16, dubbo_rate=1000)
ROUTES = [
    {"match": {"interface": "kit.other.*"}, "cluster": "dubbo"},
    {"match": {"group": "blue"}, "cluster": "dubbo"},
    {"match": {"headers": {"group": "green"}}, "cluster": "dubbo"},
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plan", "routes", "upgrades"),
    [
        pytest.param(SHOWER, ROUTES, 3, id="shower"),
        pytest.param(FLOOD, [{"cluster": "dubbo"}], 20, id="flood", marks=pytest.mark.all),
        pytest.param(FLOOD, ROUTES, 20, id="flood-with-routes", marks=pytest.mark.all),
    ],
)
def test_no_call_fails_in_upgrades_in_a_row(stage: Stage, plan: Plan, routes: list[Any], upgrades: int) -> None:
    behind = stage.upstreams(*((kind, "127.0.0.1:0") for kind in ("http", "tcp", "bolt", "dubbo")))
    edge = Edge(stage, behind)
    address = loopback()
    config = edge.instance.config
    config["listeners"].append({"name": "dubbo", "address": address, "protocol": "dubbo", "routes": routes})
    config["clusters"].append({"name": "dubbo", "endpoints": [behind.addresses[3]]})
    edge.instance.write_config()
    edge.instance.start()
    load = edge.load(msgspec.structs.replace(plan, dubbo_address=address))
    for _ in range(upgrades):
        assert edge.instance.status().in_flight > plan.dubbo * plan.dubbo_calls / 2
        upgrade = edge.instance.upgrade("--require-all")
        assert upgrade.exit_code == 0, upgrade.text
        assert upgrade.result["kept"] == []
        assert load.turn().failures == []
        assert [end for end in behind.record().ended if end.kind == "dubbo"] == []
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    record = behind.record()
    assert record.wrong == []
    assert record.busy_ends == []
    assert record.requests["push"]
    assert record.requests["oneway"]
