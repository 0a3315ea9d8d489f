"""The storm of upgrades with TLS on both sides: 1.2 and 1.3, HTTP, bolt and bytes inside, nobody may notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.load import Plan
from tests.kit.stage import Edge, Stage

FEW, MANY, VERY_MANY = 3, 20, 200
SHARE = 0.25
FD_SLACK = 40  # pool connections come and go with the load

# Two hundred connections.
SECURE_STORM = Plan(
    busy=88, idle=30, streams=12, uploads=12, websockets=8, raw=24, bolt=26, rate=250, raw_rate=100, bolt_rate=150
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("plan", "upgrades"),
    [
        pytest.param(SECURE_STORM.scaled(SHARE), FEW, id="few"),
        pytest.param(SECURE_STORM, MANY, id="many", marks=pytest.mark.all),
        pytest.param(SECURE_STORM, VERY_MANY, id="very many", marks=pytest.mark.soak),
    ],
)
def test_nobody_notices_upgrades_in_a_row(stage: Stage, authority: Authority, plan: Plan, upgrades: int) -> None:
    behind = stage.upstreams(
        ("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"), tls=authority.issue("behind")
    )
    edge = Edge(stage, behind, authority=authority)
    never_close(edge)
    edge.instance.start()
    load = edge.load(plan)
    clients = {one["serial"]: one["tls"] for one in edge.instance.connections() if "listener" in one}
    versions = [tls["version"] for tls in clients.values()]
    assert abs(versions.count("1.2") - versions.count("1.3")) <= 4, "half and half of each kind"
    assert len(versions) == sum(load.report().connected.values())
    descriptors: list[int] = []
    for number in range(upgrades):
        done = edge.instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
        assert done.result["kept"] == []
        assert load.turn().failures == []
        assert behind.record().busy_ends == []
        listeners = edge.instance.status().server["listeners"]
        assert [one["handshakes"]["done"] for one in listeners] == [0, 0, 0], f"after {number + 1} upgrades"
        descriptors.append(open_descriptors(edge))
    assert {one["serial"]: one["tls"] for one in edge.instance.connections() if "listener" in one} == clients
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    assert all(report.exchanges.values())
    assert behind.record().wrong == []
    assert behind.record().busy_ends == []
    assert edge.instance.status().generation == 1 + upgrades
    assert descriptors[-1] <= descriptors[0] + FD_SLACK, f"descriptors leak: {descriptors}"


def open_descriptors(edge: Edge) -> int:
    return len(list(Path(f"/proc/{edge.instance.status().pid}/fd").iterdir()))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("rate", "upgrades"), [(100, 3), pytest.param(200, MANY, marks=pytest.mark.all)], ids=["few", "many"]
)
def test_no_new_connection_fails_whatever_the_moment(
    stage: Stage, authority: Authority, rate: float, upgrades: int
) -> None:
    """Some of their handshakes are under way in each upgrade, and follow."""
    behind = stage.upstreams(tls=authority.issue("behind"))
    edge = Edge(stage, behind, authority=authority)
    never_close(edge)
    edge.instance.start()
    load = edge.load(Plan(fresh=40, fresh_rate=rate, busy=10, rate=40, raw=4, raw_rate=20))
    followed = 0
    for _ in range(upgrades):
        done = edge.instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
        assert done.result["kept"] == []
        followed += done.result["followed"]
        assert load.turn().failures == []
    report = load.finish()
    print(report.summary(), f"{report.connected['fresh']} connections, {followed} handshakes followed")
    assert report.failures == []
    assert behind.record().wrong == []
    assert behind.record().busy_ends == []


def never_close(edge: Edge) -> None:
    """No limit of a pool or of idle connections is reached: an end in the storm is a failure, whatever its reason."""
    for cluster in edge.instance.config["clusters"]:
        if cluster["name"] == "app":
            cluster |= {"max_idle": 1000, "keepalive_timeout": "2h"}
    for listener in edge.instance.config["listeners"]:
        if listener["protocol"] == "http1":
            listener["keepalive_timeout"] = "2h"
    edge.instance.write_config()
