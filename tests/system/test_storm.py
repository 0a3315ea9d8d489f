"""Upgrades one after the other under load: nobody may notice. This is the promise of the whole project."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.capture import Unpermitted
from tests.kit.load import Plan
from tests.kit.processes import Config
from tests.kit.stage import STORM, Edge, Stage

FEW, MANY, VERY_MANY = 3, 20, 200
FD_SLACK = 40  # pool connections come and go with the load


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("protocol", "upgrades"),
    [
        ("http1", FEW),
        *(pytest.param(protocol, MANY, marks=pytest.mark.all) for protocol in ("tcp", "http1")),
        *(pytest.param(protocol, VERY_MANY, marks=pytest.mark.soak) for protocol in ("tcp", "http1")),
    ],
)
def test_nobody_notices_upgrades_in_a_row(stage: Stage, protocol: str, upgrades: int) -> None:
    """By `tcp` the same clients and upstreams speak HTTP through a plain relay."""
    edge = Edge(stage, stage.upstreams(), relay=protocol == "tcp")
    never_close(edge.instance.config)
    edge.instance.write_config()
    edge.instance.start()
    first = edge.instance.status().pid
    unwatched = weather(edge, STORM, upgrades)
    assert edge.instance.status().generation == 1 + upgrades
    assert stage.offspring.status(first, within=10) == 0
    assert len(edge.instance.generations()) == 1
    if unwatched:
        pytest.skip(f"the storm is weathered, but {unwatched}")


def never_close(config: Config) -> None:
    """No limit of the pool or of idle connections is reached: an end in the storm is a failure, whatever its reason."""
    app = next(cluster for cluster in config["clusters"] if cluster["name"] == "app")
    app |= {"max_idle": 1000, "keepalive_timeout": "10m"}
    for listener in config["listeners"]:
        if listener["protocol"] == "http1":
            listener["keepalive_timeout"] = "10m"


def weather(edge: Edge, plan: Plan, upgrades: int) -> str:
    """Upgrade again and again under this load; why the wire was not watched, or nothing."""
    load = edge.load(plan)
    descriptors: list[int] = []
    unwatched = ""
    with ExitStack() as watching:
        try:
            watching.enter_context(edge.nothing_ends())
        except Unpermitted as reason:
            unwatched = str(reason)
        for _ in range(upgrades):
            upgrade = edge.instance.upgrade("--require-all")
            assert upgrade.exit_code == 0, upgrade.text
            assert upgrade.result["kept"] == []
            assert load.turn().failures == []
            descriptors.append(open_descriptors(edge))
        assert edge.upstreams.record().ended == []
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    assert all(report.exchanges.values())
    record = edge.upstreams.record()
    assert record.wrong == []
    assert record.busy_ends == []
    assert descriptors[-1] <= descriptors[0] + FD_SLACK, f"descriptors leak: {descriptors}"
    return unwatched


def open_descriptors(edge: Edge) -> int:
    return len(list(Path(f"/proc/{edge.instance.status().pid}/fd").iterdir()))
