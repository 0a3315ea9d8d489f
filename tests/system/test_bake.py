"""A new generation on probation, judged by itself and taken back without a loss."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from hotswap import errors
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, finish_upgrade
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.waiting import eventually


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge()


def command_with(edge: Edge, endpoint: str) -> list[str]:
    """The command line of a generation whose `app` is somewhere else."""
    config = yaml.safe_load(edge.instance.config_file.read_text())
    config["clusters"][0]["endpoints"] = [endpoint]
    file = Path(edge.instance.directory) / "other.yaml"
    file.write_text(yaml.safe_dump(config))
    return [word.replace(str(edge.instance.config_file), str(file)) for word in edge.instance.command()]


def ask(edge: Edge) -> int:
    with Client(edge.web) as client:
        return client.ask("/bytes?n=10").status


def test_a_generation_that_fails_requests_is_taken_back_and_history_says_why(edge: Edge) -> None:
    bad = command_with(edge, loopback())
    load = edge.load(BREEZE.only("raw"))
    options = ["--bake", "60s", "--abort-if", "error_rate=20%", "--min-requests", "5", "--", *bad]
    with Client(edge.web) as kept:
        assert kept.ask("/bytes?n=10").status == 200
        upgrade = edge.instance.start_upgrade(*options)
        eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
        eventually(
            lambda: ask(edge) == 200 and edge.instance.status().generation == 3,
            within=PATIENCE,
            what="the version before serves again",
        )
        done = finish_upgrade(upgrade)
        assert done.exit_code == errors.RolledBack.exit_code, done.text
        assert "error_rate" in done.message
        assert kept.ask("/bytes?n=10").status == 200
    report = load.finish()
    assert report.failures == []
    one, two, three = edge.instance.history()
    assert one["outcome"] == "superseded by generation 2"
    assert two["outcome"].startswith("rolled back by generation 3: error_rate ")
    assert (three["how"], three["restores"], three["outcome"]) == ("rollback", 1, "serving")
    assert three["command"] == one["command"]
    assert edge.instance.ask("/status")["baking"] is None


def test_a_good_generation_passes(edge: Edge) -> None:
    load = edge.load(BREEZE)
    done = edge.instance.upgrade("--bake", "1s", "--abort-if", "error_rate=1%")
    assert done.exit_code == 0, done.text
    assert done.result["baked"].startswith("passed: 0.00% of ")
    assert edge.instance.history()[-1]["baked"] == done.result["baked"]
    assert load.finish().failures == []


def test_while_it_bakes_an_upgrade_waits_its_turn_a_rollback_does_not(edge: Edge) -> None:
    edge.instance.change_config()
    upgrade = edge.instance.start_upgrade("--bake", "60s")
    eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
    assert "baking" in edge.instance.hotswap("status", "edge").stdout
    busy = edge.instance.upgrade()
    assert busy.exit_code == errors.Busy.exit_code
    assert "hotswap rollback edge" in busy.text
    assert edge.instance.hotswap("rollback", "edge").returncode == 0
    assert finish_upgrade(upgrade).exit_code == errors.RolledBack.exit_code
    assert edge.instance.history()[-2]["outcome"] == "rolled back by generation 3: by hand"


def test_the_judge_outlives_the_command(edge: Edge) -> None:
    bad = command_with(edge, loopback())
    watcher = edge.instance.start_upgrade("--bake", "60s", "--min-requests", "5", "--", *bad)
    eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
    watcher.send_signal(signal.SIGKILL)
    eventually(
        lambda: ask(edge) == 200 and edge.instance.status().generation == 3,
        within=PATIENCE,
        what="the version before serves again",
    )


def test_a_bake_is_over_when_the_generation_that_got_everything_died_at_once(edge: Edge) -> None:
    upgrade = edge.instance.start_upgrade("--bake", "60s")
    eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
    edge.instance.arm("destination.start.before:kill")
    back = edge.instance.hotswap("rollback", edge.instance.name)
    edge.instance.disarm()
    assert back.returncode == errors.ConnectionsLost.exit_code, back.stderr
    finish_upgrade(upgrade)
    assert edge.instance.ask("/status")["baking"] is None
    assert edge.instance.history()[1]["baked"].startswith("ended without a verdict")
    assert edge.instance.upgrade().exit_code == 0
    assert ask(edge) == 200


def test_a_death_while_baking_is_told(edge: Edge) -> None:
    upgrade = edge.instance.start_upgrade("--bake", "60s")
    eventually(lambda: edge.instance.ask("/status")["baking"], within=PATIENCE, what="it bakes")
    edge.instance.kill(edge.instance.status().pid)
    assert finish_upgrade(upgrade).exit_code == errors.ConnectionsLost.exit_code
