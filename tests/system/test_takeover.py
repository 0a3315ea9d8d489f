"""Generations that somebody else starts: taking over, being superseded, rolling back, being kept."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from hotswap import errors, turns
from tests.kit.client import Client
from tests.kit.processes import PATIENCE
from tests.kit.stage import Edge, Stage
from tests.kit.turns import need_turns
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
def client(edge: Edge) -> Iterator[Client]:
    """A connection that must survive whatever the test does."""
    with Client(edge.web) as connected:
        assert connected.ask("/bytes?n=10").status == 200
        yield connected
        assert connected.ask("/bytes?n=10").status == 200


def test_run_takes_over_a_name_that_is_served(edge: Edge, client: Client, stage: Stage) -> None:
    first = edge.instance.status().pid
    second = edge.instance.start("--takeover=require")
    assert edge.instance.status().pid == second
    assert stage.offspring.status(first, within=PATIENCE) == 0


def test_run_takes_over_by_default_away_from_a_terminal(edge: Edge, client: Client) -> None:
    edge.instance.change_config()
    edge.instance.start()
    assert edge.instance.status().generation == 2


def test_who_serves_takes_short_turns_on_the_cpu(edge: Edge, client: Client) -> None:
    need_turns()
    first = edge.instance.status().pid
    assert turns.turn(first) == turns.SHORT
    os.kill(first, signal.SIGSTOP)
    late = edge.instance.launch("--takeover=require")
    try:
        assert turns.turn(late) != turns.SHORT
    finally:
        os.kill(first, signal.SIGCONT)
    eventually(lambda: edge.instance.status().pid == late, within=PATIENCE, what="it took over")
    assert turns.turn(late) == turns.SHORT
    assert edge.instance.upgrade().exit_code == 0
    assert turns.turn(edge.instance.status().pid) == turns.SHORT


def test_never_leaves_a_served_name_alone(edge: Edge, client: Client, stage: Stage) -> None:
    late = edge.instance.launch("--takeover=never")
    assert stage.offspring.status(late, within=PATIENCE) == errors.AlreadyRunning.exit_code
    assert edge.instance.status().generation == 1


def test_require_needs_a_served_name(stage: Stage, upstreams: Upstreams) -> None:
    edge = Edge(stage, upstreams)
    late = edge.instance.launch("--takeover=require")
    assert stage.offspring.status(late, within=PATIENCE) == errors.NotRunning.exit_code


def test_a_superseded_generation_never_takes_back_by_itself(edge: Edge, client: Client, stage: Stage) -> None:
    """A supervisor that restarts the old version after an upgrade to a new one starts no flip-flop."""
    old = edge.instance.config_file.read_text()
    edge.instance.change_config()
    assert edge.instance.upgrade("--require-all").exit_code == 0
    edge.instance.config_file.write_text(old)
    for _ in range(2):
        again = edge.instance.launch("--takeover=auto")
        assert stage.offspring.status(again, within=PATIENCE) == errors.Superseded.exit_code
    assert edge.instance.status().generation == 2
    told = edge.instance.start("--takeover=require")
    assert (edge.instance.status().generation, edge.instance.status().pid) == (3, told)


def test_rollback_goes_back_to_the_command_before(edge: Edge, client: Client) -> None:
    other = edge.instance.directory / "other.yaml"
    shutil.copy(edge.instance.config_file, other)
    other.write_text(other.read_text() + "drain_timeout: 31s\n")
    command = [word.replace(str(edge.instance.config_file), str(other)) for word in edge.instance.command()]
    assert edge.instance.upgrade(command=command).exit_code == 0
    before, after = edge.instance.history()[-2:]
    assert (before["config_id"], str(other) in after["command"]) != (after["config_id"], False)
    done = edge.instance.hotswap("rollback", edge.instance.name, "--json")
    assert done.returncode == 0, done.stderr
    assert edge.instance.status().generation == 3
    assert edge.instance.history()[-1]["config_id"] == before["config_id"]
    assert str(edge.instance.config_file) in edge.instance.history()[-1]["command"]


def test_another_command_runs_in_the_callers_directory(edge: Edge, client: Client) -> None:
    command = [
        word.replace(str(edge.instance.config_file), edge.instance.config_file.name) for word in edge.instance.command()
    ]
    done = edge.instance.upgrade(command=command)
    assert done.exit_code == 0, done.text
    assert edge.instance.history()[-1]["cwd"] == str(edge.instance.directory)


def test_history_tells_the_chain(edge: Edge, client: Client) -> None:
    assert edge.instance.upgrade().exit_code == 0
    assert edge.instance.upgrade().exit_code == 0
    history = edge.instance.history()
    assert [entry["generation"] for entry in history] == [1, 2, 3]
    assert [entry["pid"] for entry in history][-1] == edge.instance.status().pid


def test_a_keeper_stays_forwards_signals_and_tells_the_last_status(stage: Stage, upstreams: Upstreams) -> None:
    edge = Edge(stage, upstreams)
    keeper = edge.instance.start("--keeper")
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        for generation in (2, 3):
            assert edge.instance.upgrade("--require-all").exit_code == 0
            assert edge.instance.status().generation == generation
            assert client.ask("/bytes?n=10").status == 200
    owner = edge.instance.status().pid
    assert keeper != owner
    eventually(lambda: stage.offspring.living() == sorted([keeper, owner]), within=PATIENCE, what="the second ends")
    edge.instance.kill(keeper, signal.SIGTERM)
    assert stage.offspring.status(keeper, within=PATIENCE) == 0
    assert stage.offspring.living() == []


def test_a_keeper_tells_that_the_owner_was_killed(stage: Stage, upstreams: Upstreams) -> None:
    edge = Edge(stage, upstreams)
    keeper = edge.instance.start("--keeper")
    assert edge.instance.upgrade().exit_code == 0
    edge.instance.kill(edge.instance.status().pid)
    assert stage.offspring.status(keeper, within=PATIENCE) == -signal.SIGKILL
