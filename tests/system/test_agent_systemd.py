"""The agent in a real systemd: a sidecar as a unit, killed, upgraded, taken back; the agent killed at every state."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.kit.agents import fails_requests, fails_to_restore, fails_to_start
from tests.kit.load import Load, Plan
from tests.kit.machine import Machine
from tests.kit.machine import needed as machine_needed
from tests.kit.networks import Network, command
from tests.kit.networks import needed as network_needed
from tests.kit.stage import BREEZE, STORM, Stage, configuration
from tests.kit.vms import SOURCE, Vm, forget, release_of_machines
from tests.kit.waiting import eventually
from vm_agent.lifecycle.states import UPGRADING, State

pytestmark = pytest.mark.timeout(300)

WEB, RAW = "127.0.0.1:8080", "127.0.0.1:8081"
OLD, NEW, DEAD, LOST, ERRING = "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"
PATIENCE = 60.0
CROWD = msgspec.structs.replace(
    STORM.scaled(0.5), stream_seconds=2.0, upload_pause=1.0, rate=200.0, raw_rate=100.0
)  # 200 connections


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    machine_needed()
    made = Path(tempfile.mkdtemp(prefix="hsr", dir="/tmp"))
    for version, defects in {OLD: (), NEW: (), DEAD: (fails_to_start,), LOST: (fails_to_restore,)}.items():
        release_of_machines(made, version, *defects)
    release_of_machines(made, ERRING, fails_requests)
    yield made
    forget(made)


class Post:
    """A machine with an agent and one sidecar, with upstreams and clients in its network."""

    def __init__(self, stage: Stage, network: Network, machine: Machine, **keys: object) -> None:
        self.stage, self.network, self.machine = stage, network, machine
        upstreams = network.run(stage.upstreams)
        self.config = configuration(WEB, RAW, upstreams)
        self.vm = Vm(machine, self.config, OLD, **keys)

    def load(self, plan: Plan) -> Load:
        addressed = msgspec.structs.replace(plan, http=WEB, tcp=RAW)
        return self.network.run(self.stage.load, addressed)


@pytest.fixture
def post(stage: Stage, source: Path) -> Iterator[Post]:
    network_needed()
    network = Network(f"hs{uuid.uuid4().hex[:8]}")
    try:
        with Machine(netns=f"/run/netns/{network.name}", binds={SOURCE: source}) as machine:
            yield Post(stage, network, machine)
    finally:
        command("ip", "netns", "del", network.name)


def test_a_sidecar_is_a_unit_with_the_limits_of_its_spec(post: Post) -> None:
    shown = post.machine.show(
        "hotswap-sidecar-edge", "MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "OOMScoreAdjust", "User",
        "NoNewPrivileges", "NFileDescriptorStore", "NRestarts",
    )  # fmt: skip
    assert shown == {
        "MemoryMax": str(512 << 20),
        "CPUQuotaPerSecUSec": "500ms",
        "CPUWeight": "50",
        "OOMScoreAdjust": "500",
        "User": "hotswap",
        "NoNewPrivileges": "yes",
        "NFileDescriptorStore": "2",
        "NRestarts": "0",
    }
    score = post.machine.path(f"/proc/{post.vm.main_pid()}/oom_score_adj")
    assert score.read_text().strip() == "500"
    post.vm.write_spec(run={"user": "hotswap", "limits": {"memory": "256M", "cpu_weight": 20}})
    eventually(
        lambda: (
            post.machine.show("hotswap-sidecar-edge", "MemoryMax", "CPUWeight")
            == {"MemoryMax": str(256 << 20), "CPUWeight": "20"}
        ),
        within=PATIENCE,
        what="the limits follow the spec",
    )


def test_upgrades_lose_nothing_and_systemd_is_content(post: Post) -> None:
    load = post.load(CROWD)
    before = post.vm.main_pid()
    for release in (NEW, OLD):
        done = post.vm.agent("upgrade", "edge", "--release", release)
        assert done.returncode == 0, f"{done.stdout}{post.vm.decisions()}"
        post.vm.serves(release)
    assert load.finish().failures == []
    assert post.vm.main_pid() not in {0, before}
    assert post.machine.show("hotswap-sidecar-edge", "NRestarts", "ActiveState") == {
        "NRestarts": "0",
        "ActiveState": "active",
    }
    assert post.vm.failed_units() == ""


@pytest.mark.all
def test_systemctl_reload_is_an_upgrade_here_too(post: Post) -> None:
    load = post.load(BREEZE)
    before = post.vm.main_pid()
    post.machine.run("systemctl", "reload", "hotswap-sidecar-edge")
    assert post.vm.main_pid() not in {0, before}
    assert load.finish().failures == []
    post.vm.serves(OLD)


@pytest.mark.all
def test_a_killed_sidecar_is_back_and_nobody_was_refused(post: Post) -> None:
    plan = msgspec.structs.replace(BREEZE.only("fresh", "busy"), fresh=2, fresh_rate=200.0, reconnect=True)
    load = post.load(plan)
    before = post.vm.main_pid()
    began = time.monotonic()
    post.machine.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "hotswap-sidecar-edge")

    def back() -> bool:
        return (
            post.vm.main_pid() not in {0, before}
            and post.machine.show("hotswap-sidecar-edge", "NRestarts")["NRestarts"] == "1"
        )

    eventually(back, within=PATIENCE, what="systemd started it anew")
    print(f"a new main process within {time.monotonic() - began:.3f} s")
    report = load.finish()
    assert report.of_cause("refused") == []
    eventually(lambda: any("died" in line for line in post.vm.decisions()), within=PATIENCE, what="the agent noticed")


@pytest.mark.all
@pytest.mark.parametrize("release", [DEAD, LOST])
def test_a_bad_release_loses_no_request_and_the_history_says_why(post: Post, release: str) -> None:
    load = post.load(BREEZE)
    before = post.vm.main_pid()
    done = post.vm.agent("upgrade", "edge", "--release", release)
    assert done.returncode not in {0, 1, 2}, done.stdout
    assert load.finish().failures == []
    assert post.vm.serves(OLD)["condemned"]["release"] == release
    assert post.vm.main_pid() == before
    assert any(line.startswith("failed: preflight") for line in post.vm.decisions())
    assert post.vm.failed_units() == ""


def test_a_release_that_raises_errors_in_the_bake_is_taken_back(post: Post) -> None:
    post.vm.write_spec(upgrade={"bake": "60s", "abort_if": {"error_rate": "5%"}, "min_requests": 10})
    kept = post.load(BREEZE.only("raw"))
    errors = post.load(msgspec.structs.replace(BREEZE.only("busy"), reconnect=True))
    done = post.vm.agent("upgrade", "edge", "--release", ERRING)
    assert done.returncode == 20, done.stdout
    post.vm.serves(OLD)
    (why,) = [line for line in post.vm.decisions() if line.startswith("taken back")]
    assert "error_rate" in why
    assert kept.finish().failures == []  # what was connected stayed so, there and back
    assert {failure.cause for failure in errors.finish().failures} <= {"status"}
    assert post.vm.failed_units() == ""


MOMENTS = [f"agent.{state}.{when}" for state in sorted(UPGRADING - {State.RETURNING}) for when in ("before", "after")]
POINTS = [point if point == "agent.moving.after" else pytest.param(point, marks=pytest.mark.all) for point in MOMENTS]


@pytest.mark.parametrize("point", POINTS)
def test_an_agent_that_is_killed_in_an_upgrade_finishes_or_undoes_it_once_it_is_back(post: Post, point: str) -> None:
    load = post.load(BREEZE)
    post.vm.arm(f"{point}:kill")
    post.vm.write_spec(release=NEW)
    eventually(
        lambda: post.machine.show("hotswap-agent", "NRestarts")["NRestarts"] == "1",
        within=PATIENCE,
        what="the agent was killed",
    )
    post.vm.serves(NEW)
    assert load.finish().failures == []
    assert post.machine.show("hotswap-sidecar-edge", "NRestarts", "ActiveState") == {
        "NRestarts": "0",
        "ActiveState": "active",
    }


@pytest.mark.all
@pytest.mark.parametrize("point", ["agent.returning.before", "agent.returning.after"])
def test_an_agent_that_is_killed_on_the_way_back_takes_it_to_its_end(post: Post, point: str) -> None:
    post.vm.write_spec(upgrade={"bake": "60s", "abort_if": {"crashes": 1}})
    post.vm.agent("apply")
    post.vm.arm(f"{point}:kill")
    post.vm.agent("upgrade", "edge", "--release", NEW, "--no-wait")
    eventually(lambda: post.vm.sidecar().get("state") == "baking", within=PATIENCE, what="it bakes")
    load = post.load(BREEZE)
    post.vm.agent("rollback", "edge", "--no-wait")
    eventually(
        lambda: post.machine.show("hotswap-agent", "NRestarts")["NRestarts"] == "1",
        within=PATIENCE,
        what="the agent was killed",
    )
    if point.endswith("before"):  # nobody remembers that it was to be taken back
        eventually(lambda: post.vm.sidecar().get("state") == "baking", within=PATIENCE, what="it bakes")
        post.vm.agent("rollback", "edge")
    post.vm.serves(OLD)
    assert load.finish().failures == []


@pytest.mark.all
def test_the_agent_is_restarted_and_upgraded_without_touching_a_sidecar(post: Post) -> None:
    load = post.load(BREEZE)
    before = post.vm.main_pid()
    for order in ("reload", "restart", "stop", "start"):
        post.machine.run("systemctl", order, "hotswap-agent")
    assert post.vm.serves(OLD)["pid"] == before
    assert load.finish().failures == []
