"""How a generation ends: drained, told to, killed, or hung; and what the next one finds."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.offspring import wait_for_stop
from tests.kit.processes import PATIENCE, finish_upgrade
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


@pytest.mark.parametrize("how", ["drain", "SIGTERM"])
def test_work_under_way_is_finished(stage: Stage, edge: Edge, upstreams: Upstreams, how: str) -> None:
    owner = edge.instance.status().pid
    with Client(edge.web) as busy, Client(edge.web) as idle:
        idle.ask("/bytes?n=1")
        busy.get(f"/hold?token={how}")
        upstreams.held(how)
        if how == "drain":
            assert edge.instance.hotswap("drain", "edge", "--no-wait").returncode == 0
        else:
            edge.instance.kill(owner, signal.SIGTERM)
        assert idle.ended()
        with pytest.raises(ConnectionRefusedError):
            Client(edge.web)
        upstreams.release(how)
        assert busy.response().status == 200
    assert stage.offspring.status(owner, within=PATIENCE) == 0
    assert edge.instance.hotswap("status", "edge").returncode == errors.NotRunning.exit_code


def test_a_draining_generation_refuses_a_successor(edge: Edge, upstreams: Upstreams) -> None:
    with Client(edge.web) as busy:
        busy.get("/hold?token=draining")
        upstreams.held("draining")
        assert edge.instance.hotswap("drain", "edge", "--no-wait").returncode == 0
        assert edge.instance.upgrade().exit_code == errors.Refused.exit_code
        upstreams.release("draining")
        assert busy.response().status == 200


def test_a_signal_before_the_freeze_ends_the_attempt_and_drains(stage: Stage, edge: Edge, upstreams: Upstreams) -> None:
    source = edge.instance.status().pid
    with Client(edge.web) as busy:
        busy.get("/hold?token=signal")
        upstreams.held("signal")
        edge.instance.arm("destination.send_round_done.before:hang")
        attempt = edge.instance.start_upgrade()
        eventually(lambda: edge.instance.status().state == "handover", within=PATIENCE, what="the attempt begins")
        edge.instance.kill(source, signal.SIGTERM)
        assert finish_upgrade(attempt).exit_code == errors.AttemptFailed.exit_code
        eventually(lambda: edge.instance.generations() == [source], within=PATIENCE, what="the destination ends")
        upstreams.release("signal")
        assert busy.response().status == 200
    assert stage.offspring.status(source, within=PATIENCE) == 0


def test_after_kill_9_the_next_one_starts_over_stale_sockets(edge: Edge) -> None:
    edge.instance.kill(edge.instance.status().pid)
    assert edge.instance.runtime_dir.joinpath("edge", "handover.sock").exists()
    assert edge.instance.hotswap("status", "edge").returncode == errors.NotRunning.exit_code
    edge.instance.start()
    assert edge.instance.status().generation == 1
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200


def test_a_killed_owner_is_followed_by_one_of_many(stage: Stage, edge: Edge) -> None:
    """Only the lock permits a cold start."""
    edge.instance.kill(edge.instance.status().pid)
    started = [edge.instance.launch("--takeover=never") for _ in range(4)]
    eventually(edge.instance.try_status, within=PATIENCE, what="one of them serves")
    owner = edge.instance.status().pid
    for pid in started:
        if pid != owner:
            assert stage.offspring.status(pid, within=PATIENCE) == errors.AlreadyRunning.exit_code
    assert edge.instance.generations() == [owner]


def test_a_hung_owner_is_reported_and_serves_on_once_it_wakes(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams, upgrade={"deadline": "2s"})
    owner = edge.instance.status().pid
    load = edge.load(BREEZE)
    edge.instance.kill(owner, signal.SIGSTOP)
    wait_for_stop(owner, within=PATIENCE)
    late = edge.instance.launch("--takeover=auto")
    assert stage.offspring.status(late, within=PATIENCE) in {errors.OwnerHung.exit_code, errors.SourceHung.exit_code}
    assert edge.instance.upgrade("--timeout", "1s").exit_code == errors.OwnerHung.exit_code
    edge.instance.resume(owner)
    assert load.turn().failures == []
    assert load.finish().failures == []
    assert edge.instance.generations() == [owner]
    assert edge.instance.upgrade("--require-all").exit_code == 0


def test_a_signal_between_freeze_and_owned_is_held(stage: Stage, edge: Edge) -> None:
    """The upgrade comes to its end; the signal was meant for a generation that has nothing any more."""
    source = edge.instance.status().pid
    load = edge.load(BREEZE)
    edge.instance.arm("source.freeze.after:stop")
    attempt = edge.instance.start_upgrade()
    wait_for_stop(source, within=PATIENCE)
    edge.instance.kill(source, signal.SIGTERM)
    edge.instance.resume(source)
    done = finish_upgrade(attempt)
    assert done.exit_code == 0, done.text
    assert stage.offspring.status(source, within=PATIENCE) == 0
    assert load.turn().failures == []
    assert load.finish().failures == []
    assert edge.instance.status().generation == 2
