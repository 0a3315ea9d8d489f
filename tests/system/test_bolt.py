"""Bolt calls through real upgrades: none fails, no heartbeat stays unanswered, whatever else is under way."""

from __future__ import annotations

import msgspec
import pytest

from tests.kit.load import Plan
from tests.kit.stage import STORM, Stage
from tests.kit.upstreams import Upstreams

SHOWER = Plan(bolt=30, bolt_calls=16, bolt_rate=300)
FLOOD = msgspec.structs.replace(STORM, bolt=200, bolt_calls=16, bolt_rate=1000)


def upstreams_of(stage: Stage) -> Upstreams:
    return stage.upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plan", "upgrades"),
    [pytest.param(SHOWER, 3, id="shower"), pytest.param(FLOOD, 20, id="flood", marks=pytest.mark.all)],
)
def test_no_call_fails_in_upgrades_in_a_row(stage: Stage, plan: Plan, upgrades: int) -> None:
    behind = upstreams_of(stage)
    edge = stage.edge(behind)
    load = edge.load(plan)
    for _ in range(upgrades):
        assert edge.instance.status().in_flight > plan.bolt * plan.bolt_calls / 2
        upgrade = edge.instance.upgrade("--require-all")
        assert upgrade.exit_code == 0, upgrade.text
        assert upgrade.result["kept"] == []
        assert load.turn().failures == []
        assert [end for end in behind.record().ended if end.kind == "bolt"] == []
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    record = behind.record()
    assert record.wrong == []
    assert record.busy_ends == []
    assert record.requests["push"]
    assert record.requests["oneway"]
