"""The agent with a real proxy as its own sidecar: started, watched, upgraded, judged, taken back, and killed itself."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from hotswap import errors
from tests.kit.agents import (
    NEW,
    OLD,
    PATIENCE,
    Defect,
    Watched,
    fails_requests,
    fails_to_restore,
    fails_to_start,
    takes_its_time,
)
from tests.kit.client import Client
from tests.kit.networks import command
from tests.kit.stage import BREEZE, Stage
from tests.kit.waiting import eventually
from vm_agent.lifecycle.states import UPGRADING, State

KEYS = {
    "health": {"interval": "200ms", "timeout": "2s", "failures": 3},
    "upgrade": {"bake": "1s", "abort_if": {"error_rate": "5%", "crashes": 1}, "min_requests": 10},
}


@pytest.fixture
def edge(stage: Stage) -> Iterator[Watched]:
    made = Watched(stage, **KEYS)
    try:
        yield made
    finally:
        print(made.agents.said())


def test_it_is_started_and_upgraded_without_a_loss(edge: Watched) -> None:
    edge.start()
    load = edge.load()
    edge.agents.release(NEW)
    edge.want(NEW)
    told = edge.agents.serves("edge", NEW)
    assert load.finish().failures == []
    assert told["previous"] == OLD
    assert edge.agents.current("edge") == NEW
    whats = [line.partition(":")[0] for line in edge.agents.decisions("edge")]
    assert whats == ["started", "upgrading", "rehearsed", "moved", "kept"]


@pytest.mark.parametrize("defect", [fails_to_start, fails_to_restore])
def test_a_release_that_does_not_pass_its_rehearsal_is_not_tried_again(edge: Watched, defect: Defect) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    load = edge.load()
    edge.agents.release(NEW, defect)
    edge.want(NEW)
    done = edge.agents.agent("apply", "edge")
    assert done.returncode != 0, done.stdout
    told = edge.agents.serves("edge", OLD)
    assert load.finish().failures == []
    assert told["pid"] == before
    assert told["condemned"]["release"] == NEW
    assert "not tried again" in told["waits"]
    failed = [line for line in edge.agents.decisions("edge") if line.startswith("failed: preflight")]
    assert len(failed) == 1, edge.agents.decisions("edge")


def test_a_release_that_fails_requests_is_taken_back_and_the_history_says_why(edge: Watched) -> None:
    edge.keys["upgrade"] = {"bake": "60s", "abort_if": {"error_rate": "5%"}, "min_requests": 10}
    edge.start()
    with Client(edge.web) as kept:
        assert kept.ask("/bytes?n=10").status == 200
        edge.agents.release(NEW, fails_requests)
        edge.want(NEW)

        def taken_back() -> bool:
            edge.status()
            return any(line.startswith("taken back") for line in edge.agents.decisions("edge"))

        eventually(taken_back, within=PATIENCE, what="it is taken back")
        told = edge.agents.serves("edge", OLD)
        assert kept.ask("/bytes?n=10").status == 200
    (why,) = [line for line in edge.agents.decisions("edge") if line.startswith("taken back")]
    assert "error_rate" in why
    assert told["condemned"]["reason"] in why
    assert edge.agents.current("edge") == OLD


@pytest.mark.all
def test_a_release_that_is_slow_is_taken_back(edge: Watched) -> None:
    edge.keys["upgrade"] = {"bake": "60s", "abort_if": {"p99_latency": "2x", "error_rate": "5%"}, "min_requests": 20}
    edge.start()
    with Client(edge.web) as client:

        def asked(until: Callable[[], object]) -> bool:
            assert all(client.ask("/bytes?n=10").status == 200 for _ in range(50))
            return bool(until())

        known = partial(asked, lambda: edge.agents.sidecar("edge")["timed"] >= 200)
        eventually(known, within=PATIENCE, what="it is known how fast it was")
        edge.agents.release(NEW, takes_its_time)
        edge.want(NEW)
        judged = partial(asked, lambda: edge.agents.sidecar("edge")["condemned"])
        eventually(judged, within=PATIENCE, what="it is judged")
        edge.agents.serves("edge", OLD)
        assert client.ask("/bytes?n=10").status == 200
    (why,) = [line for line in edge.agents.decisions("edge") if line.startswith("taken back")]
    assert why.startswith("taken back: p99_latency ")
    assert "allowed is 2x" in why


def test_a_release_that_dies_in_its_bake_is_followed_by_the_one_before(edge: Watched) -> None:
    edge.keys["upgrade"] = {"bake": "60s", "abort_if": {"crashes": 1}}
    edge.start()
    edge.agents.release(NEW)
    edge.want(NEW)
    eventually(lambda: edge.agents.sidecar("edge").get("state") == "baking", within=PATIENCE, what="it bakes")
    os.kill(edge.agents.sidecar("edge")["pid"], signal.SIGKILL)
    told = edge.agents.serves("edge", OLD)
    assert edge.status() == 200
    assert told["condemned"]["release"] == NEW
    (why,) = [line for line in edge.agents.decisions("edge") if line.startswith("taken back")]
    assert "died" in why or "crashes 1 (1 death" in why


def test_a_sidecar_that_is_killed_is_back_and_nobody_is_refused(edge: Watched) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    plan = msgspec.structs.replace(BREEZE.only("fresh", "busy"), fresh=2, fresh_rate=200.0, reconnect=True)
    load = edge.load(plan)
    os.kill(before, signal.SIGKILL)
    eventually(
        lambda: edge.agents.sidecar("edge").get("pid") not in {before, None} and edge.status() == 200,
        within=PATIENCE,
        what="it is back",
    )
    report = load.finish()
    assert report.of_cause("refused") == []
    assert any(line.startswith("died: ") for line in edge.agents.decisions("edge"))


def test_a_sidecar_that_hangs_is_killed_and_started_anew(edge: Watched) -> None:
    edge.keys["health"] = {"interval": "100ms", "timeout": "100ms", "failures": 2}
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    os.kill(before, signal.SIGSTOP)
    eventually(lambda: edge.agents.sidecar("edge").get("pid") not in {before, None}, within=PATIENCE, what="a new one")
    assert edge.status() == 200
    assert any(line.startswith("killed: it did not answer 2 times") for line in edge.agents.decisions("edge"))


def test_an_agent_that_is_killed_and_another_one_disturb_nobody(edge: Watched) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    load = edge.load()
    edge.agents.kill()
    edge.agents.start()
    told = edge.agents.serves("edge", OLD)
    assert told["pid"] == before
    assert load.finish().failures == []
    # It holds their listeners again.
    os.kill(before, signal.SIGKILL)
    eventually(lambda: edge.agents.sidecar("edge").get("pid") not in {before, None}, within=PATIENCE, what="a new one")
    assert edge.status() == 200


POINTS = [f"agent.{state}.{when}" for state in sorted(UPGRADING - {State.RETURNING}) for when in ("before", "after")]


@pytest.mark.all
@pytest.mark.parametrize("point", POINTS)
def test_an_agent_that_is_killed_in_an_upgrade_leaves_it_finished_or_undone(edge: Watched, point: str) -> None:
    edge.start()
    load = edge.load()
    edge.agents.release(NEW)
    edge.agents.arm(f"{point}:kill")
    edge.want(NEW)
    assert edge.agents.ended() == -signal.SIGKILL
    edge.agents.disarm()
    edge.agents.start()
    edge.agents.serves("edge", NEW)
    assert load.finish().failures == []
    assert edge.agents.current("edge") == NEW


@pytest.mark.all
@pytest.mark.parametrize("point", ["agent.returning.before", "agent.returning.after"])
def test_an_agent_that_is_killed_on_the_way_back_goes_on_with_it(edge: Watched, point: str) -> None:
    edge.keys["upgrade"] = {"bake": "60s"}
    edge.start()
    edge.agents.release(NEW)
    edge.agents.arm(f"{point}:kill")
    edge.want(NEW)
    eventually(lambda: edge.agents.sidecar("edge").get("state") == "baking", within=PATIENCE, what="it bakes")
    load = edge.load()
    edge.agents.agent("rollback", "edge", "--no-wait")
    assert edge.agents.ended() == -signal.SIGKILL
    edge.agents.disarm()
    edge.agents.start()
    if point.endswith("before"):  # nobody remembers that it was to be taken back
        assert edge.agents.agent("rollback", "edge").returncode in {0, errors.RolledBack.exit_code}
    edge.agents.serves("edge", OLD)
    assert load.finish().failures == []
    assert edge.agents.sidecar("edge")["condemned"]["release"] == NEW


@pytest.mark.all
def test_back_by_hand(edge: Watched) -> None:
    edge.start()
    edge.agents.release(NEW)
    edge.want(NEW)
    edge.agents.serves("edge", NEW)
    load = edge.load()
    done = edge.agents.agent("rollback", "edge", "--why", "a hunch")
    assert done.returncode == 0, done.stdout + done.stderr
    told = edge.agents.serves("edge", OLD)
    assert load.finish().failures == []
    assert told["condemned"]["reason"] == "a hunch"
    assert "not tried again" in told["waits"]
    done = edge.agents.agent("upgrade", "edge")
    assert done.returncode == 0, done.stdout + done.stderr
    edge.agents.serves("edge", NEW)


def test_a_paused_sidecar_is_left_as_it_is(edge: Watched) -> None:
    edge.start()
    edge.agents.agent("pause", "edge")
    edge.agents.release(NEW)
    edge.want(NEW)
    eventually(lambda: edge.agents.sidecar("edge").get("waits"), within=PATIENCE, what="it says why it waits")
    assert edge.agents.sidecar("edge")["release"] == OLD
    edge.agents.agent("resume", "edge")
    edge.agents.serves("edge", NEW)


def test_a_changed_configuration_is_taken_in_place(edge: Watched) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    load = edge.load()
    text = edge.config.read_text()
    edge.config.write_text(f"{text}drain_timeout: 7s\n")
    eventually(
        lambda: any(line.startswith("reloaded") for line in edge.agents.decisions("edge")),
        within=PATIENCE,
        what="reload",
    )
    edge.config.write_text(f"{text}drain_timeout: never\n")
    eventually(
        lambda: any(line.startswith("refused") for line in edge.agents.decisions("edge")),
        within=PATIENCE,
        what="refusal",
    )
    assert edge.agents.sidecar("edge")["pid"] == before
    assert load.finish().failures == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: edge\nrelease: [", "not valid YAML"),
        ("name: edge\nrelease: 1.0.0\nconfig: edge.yaml\nrun: {limits: {memory: lots}}\n", "memory"),
        ("name: edge\nconfig: edge.yaml\n", "release is missing"),
    ],
)
def test_a_broken_spec_is_refused_and_the_sidecar_stays(edge: Watched, text: str, told: str) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    (edge.agents.specs / "edge.yaml").write_text(text)
    done = edge.agents.agent("apply")
    assert done.returncode == 21
    assert told in done.stderr
    assert f"{edge.agents.specs}/edge.yaml" in done.stderr
    assert edge.agents.sidecar("edge")["pid"] == before
    edge.agents.kill()
    edge.agents.start()  # and an agent that knows nothing but the broken file
    assert edge.agents.sidecar("edge")["pid"] == before
    assert edge.status() == 200


def test_a_release_that_is_missing_is_named_and_taken_once_it_is_there(edge: Watched) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    edge.want(NEW)
    done = edge.agents.agent("apply", "edge")
    assert done.returncode == errors.AttemptFailed.exit_code
    assert NEW in done.stderr
    assert edge.agents.sidecar("edge")["pid"] == before
    edge.agents.release(NEW)
    edge.agents.serves("edge", NEW)


def test_a_sidecar_without_a_spec_is_drained_and_stopped(edge: Watched) -> None:
    edge.start()
    (edge.agents.specs / "edge.yaml").unlink()
    eventually(lambda: not edge.agents.sidecar("edge"), within=PATIENCE, what="it is gone")
    assert not Path(edge.agents.runtime_dir / "edge/control.sock").exists()


def test_a_release_with_a_wrong_checksum_is_not_touched(edge: Watched) -> None:
    edge.start()
    before = edge.agents.sidecar("edge")["pid"]
    place = edge.agents.release(NEW)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(edge.agents.source)}" for path in files
    ]
    (edge.agents.source / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    program = place / "bin/hotswap"
    program.write_text(program.read_text() + "# changed by somebody\n")
    edge.want(NEW)
    done = edge.agents.agent("apply", "edge")
    assert done.returncode == errors.AttemptFailed.exit_code
    assert "bin/hotswap" in done.stderr
    assert sums[files.index(program)][:64] in done.stderr
    assert edge.agents.sidecar("edge")["pid"] == before
    assert not (edge.agents.state / "releases" / NEW).exists()


@pytest.mark.all
def test_a_full_disk_is_told_and_the_sidecar_stays(stage: Stage) -> None:
    if os.geteuid():
        pytest.skip("not root")
    edge = Watched(stage, **KEYS)
    edge.agents.state.mkdir()
    size = sum(path.stat().st_blocks * 512 for path in edge.oldest.rglob("*"))
    room = int(size * 1.5) + (3 << 19)  # for one release and what its installation needs beside it
    command("mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(edge.agents.state))
    try:
        edge.want(OLD)
        edge.agents.start()
        edge.agents.serves("edge", OLD)
        before = edge.agents.sidecar("edge")["pid"]
        edge.agents.release(NEW)
        edge.want(NEW)
        done = edge.agents.agent("apply", "edge")
        assert done.returncode == errors.AttemptFailed.exit_code
        assert "free" in done.stderr
        assert edge.agents.sidecar("edge")["pid"] == before
        assert edge.status() == 200
        assert [*(edge.agents.state / "releases").glob("*")] != []
    finally:
        edge.agents.kill()
        command("umount", "-l", str(edge.agents.state))
