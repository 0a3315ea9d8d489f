"""Upgrades that do not come to be: the source serves on, nobody notices, and the command says why."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator

import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.load import Load
from tests.kit.offspring import wait_for_stop
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Upgrade, finish_upgrade
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams)


@pytest.fixture
def load(edge: Edge) -> Iterator[Load]:
    """Clients that must not notice whatever the test does; checked when the test is over."""
    running = edge.load(BREEZE)
    yield running
    assert running.turn().failures == []
    assert running.finish().failures == []


def assert_undone(edge: Edge, upgrade: Upgrade, *kinds: type[errors.HotswapError]) -> None:
    """It failed, for one of these reasons, and generation 1 serves on alone."""
    assert upgrade.exit_code in {kind.exit_code for kind in kinds}, upgrade.text
    assert upgrade.message
    status = edge.instance.status()
    assert (status.generation, status.state) == (1, "serving")
    eventually(lambda: edge.instance.generations() == [status.pid], within=PATIENCE, what="the others end")


def test_a_dry_run_moves_nothing(edge: Edge, load: Load) -> None:
    done = edge.instance.upgrade("--dry-run")
    assert_undone(edge, done, OK)
    assert done.result["ok"]
    assert done.result["connections"] >= 20
    assert load.turn().failures == []
    assert edge.instance.upgrade("--require-all").exit_code == 0


class OK(errors.HotswapError):
    """Exit code 0."""

    exit_code = 0


def test_a_broken_config_is_named(edge: Edge, load: Load) -> None:
    text = edge.instance.config_file.read_text()
    edge.instance.config_file.write_text(text.replace("protocol: http1", "protocol: gopher"))
    done = edge.instance.upgrade()
    assert_undone(edge, done, errors.ConfigError)
    assert f"{edge.instance.config_file.name}:" in done.message
    assert "protocol" in done.message
    edge.instance.config_file.write_text(text)
    assert edge.instance.upgrade("--require-all").exit_code == 0


def test_a_listener_that_cannot_be_bound_is_named(edge: Edge, load: Load, upstreams: Upstreams) -> None:
    taken = upstreams.addresses[0]
    edge.instance.config["listeners"].append({"name": "more", "address": taken, "protocol": "tcp", "cluster": "db"})
    edge.instance.write_config()
    done = edge.instance.upgrade()
    assert_undone(edge, done, errors.BindFailed, errors.DestinationFailed)
    assert taken in done.message


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([sys.executable, "-c", "raise SystemExit(3)"], id="crash"),
        pytest.param([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], id="killed"),
        pytest.param(["/nonexistent/hotswap", "run"], id="missing"),
        pytest.param([sys.executable, "-c", "import signal; signal.pause()"], id="hang"),
        pytest.param(["true"], id="exits at once with success"),
    ],
)
def test_another_command_that_is_no_generation(edge: Edge, load: Load, command: list[str]) -> None:
    done = edge.instance.upgrade("--timeout", "2s", command=command)
    assert_undone(edge, done, errors.DestinationFailed, errors.DeadlinePassed)
    assert edge.instance.upgrade("--require-all").exit_code == 0


def test_a_second_upgrade_meanwhile_is_busy(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams, upgrade={"deadline": "4s"})
    load = edge.load(BREEZE)
    edge.instance.arm("destination.send_round_done.before:stop")
    first = edge.instance.start_upgrade()
    destination = eventually(lambda: other_generations(edge), within=PATIENCE, what="the destination starts")[0]
    wait_for_stop(destination, within=PATIENCE)
    second = edge.instance.upgrade()
    assert second.exit_code == errors.Busy.exit_code, second.text
    assert_undone(edge, finish_upgrade(first), errors.DeadlinePassed, errors.DestinationFailed)
    edge.instance.disarm()
    assert edge.instance.upgrade("--require-all").exit_code == 0
    assert load.finish().failures == []


def other_generations(edge: Edge) -> list[int]:
    owner = edge.instance.status().pid
    return [pid for pid in edge.instance.generations() if pid != owner]


def test_require_all_refuses_to_leave_anything_behind(edge: Edge) -> None:
    """The new configuration lacks the listener of a live connection, so that connection cannot move."""
    with Client(edge.raw), Client(edge.web) as client:
        client.ask("/bytes?n=1")
        eventually(lambda: edge.instance.status().connections >= 3, within=PATIENCE, what="both are accepted")
        whole = copy.deepcopy(edge.instance.config)
        del edge.instance.config["listeners"][1]
        edge.instance.write_config()
        assert_undone(edge, edge.instance.upgrade("--require-all"), errors.LeftBehind)
        edge.instance.config = whole
        edge.instance.write_config()
        assert edge.instance.upgrade("--require-all").exit_code == 0
        assert client.ask("/bytes?n=1").status == 200


def test_a_removed_listener_drains_in_the_source(edge: Edge, stage: Stage) -> None:
    source = edge.instance.status().pid
    load = stage.load(edge.plan(BREEZE.only("raw")))
    del edge.instance.config["listeners"][1]
    edge.instance.config["listeners"].append({"name": "new", "address": loopback(), "protocol": "tcp", "cluster": "db"})
    edge.instance.write_config()
    done = edge.instance.upgrade()
    assert done.exit_code == 0, done.text
    assert sum(kept["count"] for kept in done.result["kept"]) >= BREEZE.raw
    assert load.turn().failures == []
    assert source in edge.instance.generations()
    with Client(edge.instance.config["listeners"][-1]["address"]):
        assert load.finish().failures == []
    assert stage.offspring.status(source, within=PATIENCE) == 0
    assert edge.instance.status().generation == 2
