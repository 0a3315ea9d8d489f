"""A failure at every point of a handover, under live load: who owns, what is lost, what the command says.

After each failure the very next upgrade must work, so no attempt leaves anything behind. Every point is failed twice,
once with plaintext and once with TLS on both sides, whose record layers notice a byte too many, too few or too old.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

from hotswap.handover.states import fault_points
from tests.kit.certificates import Authority
from tests.kit.faults import BUGGY, GARBLED, HUNG, KILLED, STOPPED, Outcome, outcome_of, verify_losses, way_to
from tests.kit.load import Load
from tests.kit.offspring import run_state, wait_for_stop
from tests.kit.processes import PATIENCE, Instance, Upgrade, finish_upgrade
from tests.kit.stage import BREEZE, Stage
from tests.kit.upstreams import Kind, Upstreams
from tests.kit.waiting import eventually

PLACES: tuple[tuple[Kind, str], ...] = (("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
FEW = 96  # too few to take over, which takes 64 to spare, and enough for the breeze after a start from nothing
AMPLE = "30s"  # for an attempt whose end no deadline decides
SCANT = "3s"  # for one that hangs; it counts from HELLO, so a slow start of the new generation does not matter

# The destination owns in the end, the source does, and the destination has it and is gone.
TELLING = {"source.send_final.after", "destination.take_byte.after", "destination.send_owned.after"}
# Both are gone, which the command finds out after some seconds.
GONE = "source.thaw.before"


@pytest.fixture(scope="module")
def plain_upstreams() -> Iterator[Upstreams]:
    with Upstreams(*PLACES) as running:
        yield running


@pytest.fixture(scope="module")
def secure_upstreams(authority: Authority) -> Iterator[Upstreams]:
    with Upstreams(*PLACES, tls=authority.issue("behind")) as running:
        yield running


class Ground(NamedTuple):
    """Where a trial takes place."""

    stage: Stage
    upstreams: Upstreams
    authority: Authority | None


@pytest.fixture
def ground(request: pytest.FixtureRequest, stage: Stage, authority: Authority) -> Ground:
    """By the parameter `tls` of a test: plaintext or TLS on both sides."""
    secure = request.getfixturevalue("tls")
    behind = request.getfixturevalue("secure_upstreams" if secure else "plain_upstreams")
    return Ground(stage, behind, authority if secure else None)


class Trial:
    """One attempt that fails at one point."""

    def __init__(self, ground: Ground, point: str, failure: str, outcome: Outcome) -> None:
        stage, upstreams, authority = ground
        self.upstreams = upstreams
        self.point = point
        self.failure = failure
        self.outcome = outcome
        self.wrong_before = len(upstreams.record().wrong)
        deadline = SCANT if failure in {"stop", "hang"} else AMPLE
        self.edge = stage.edge(upstreams, authority=authority, upgrade={"deadline": deadline})
        self.source = self.edge.instance.status().pid
        calls = 0 if way_to(point).few_files else 4  # the few are spoken for
        plan = msgspec.structs.replace(BREEZE, bolt=calls, bolt_calls=4, bolt_rate=40, reconnect=not outcome.keeps)
        self.load: Load = self.edge.load(plan)

    def begin(self) -> subprocess.Popen[str]:
        """Order the upgrade that will fail."""
        way, instance = way_to(self.point), self.edge.instance
        instance.arm(*way.faults, f"{self.point}:{self.failure}")
        if way.conflict:
            taken = {"name": "more", "address": self.upstreams.addresses[0], "protocol": "tcp", "cluster": "db"}
            usual = instance.config["listeners"]
            instance.config["listeners"] = [*usual, taken]
            instance.write_config()
            instance.config["listeners"] = usual
        options = way.options
        if way.few_files:
            options += ("--", "prlimit", f"--nofile={FEW}", *instance.command())
        return instance.start_upgrade(*options)

    def verify(self, upgrade: Upgrade) -> None:
        """The outcome is as the table says, and everything works again."""
        assert upgrade.exit_code in self.outcome.exit_codes(), upgrade.text
        assert upgrade.message
        self.verify_owner()

    def verify_owner(self) -> None:
        """The same without a word of the command."""
        outcome, instance = self.outcome, self.edge.instance
        instance.disarm()
        instance.write_config()
        if outcome is Outcome.NOBODY:
            eventually(lambda: not instance.generations(), within=PATIENCE, what="everybody is gone")
            instance.start()
        owner = self.sole_owner()
        if outcome in {Outcome.UNDONE, Outcome.REHEARSED}:
            assert owner == self.source
        elif outcome in {Outcome.MOVED, Outcome.RESTARTED}:
            assert owner != self.source
        self.assert_losses()
        assert self.load.turn().of_cause("silent") == []
        if way_to(self.point).few_files:
            return  # the one that started anew still may open too few
        again = instance.upgrade("--require-all")
        assert again.exit_code == 0, again.text
        self.assert_losses()

    def sole_owner(self) -> int:
        instance = self.edge.instance

        def settled() -> int:
            status = instance.try_status()
            serves = status is not None and status.state == "serving" and instance.generations() == [status.pid]
            return status.pid if status is not None and serves else 0

        return eventually(settled, within=PATIENCE, what="there is one owner and nobody else")

    def assert_losses(self) -> None:
        verify_losses(self.outcome, self.load, self.upstreams, self.wrong_before)


def serves(instance: Instance, pid: int) -> bool:
    status = instance.try_status()
    return status is not None and (status.pid, status.state) == (pid, "serving")


def points(role: str) -> list[str]:
    return [point for point in fault_points() if point.startswith(role)]


def marks(point: str, *, tls: bool) -> tuple[pytest.MarkDecorator, ...]:
    """Before every action, and where it tells most, each time; the rest, which takes three minutes, in test-all."""
    tells = point == GONE or (point.endswith(".before") and outcome_of(KILLED, point) is not Outcome.NOBODY)
    return () if point in TELLING or (tells and not tls) else (pytest.mark.all,)


@pytest.mark.parametrize(
    ("point", "tls"),
    [pytest.param(point, False, id=point, marks=marks(point, tls=False)) for point in fault_points()]
    + [pytest.param(point, True, id=f"{point}-tls", marks=marks(point, tls=True)) for point in fault_points()],
)
def test_a_process_is_killed(ground: Ground, point: str, tls: bool) -> None:
    trial = Trial(ground, point, "kill", outcome_of(KILLED, point))
    trial.verify(finish_upgrade(trial.begin()))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("point", points("source"))
def test_the_source_is_stopped_and_goes_on_late(ground: Ground, point: str, tls: bool) -> None:
    """It goes on once the destination owns or is gone: never two owners, and the late one finds its place."""
    trial = Trial(ground, point, "stop", outcome_of(STOPPED, point))
    instance = trial.edge.instance
    upgrade = trial.begin()
    eventually(lambda: run_state(trial.source) == "T", within=PATIENCE, what="the source stops")

    def decided() -> bool:
        others = [pid for pid in instance.generations() if pid != trial.source]
        status = instance.try_status() if others else None
        return not others or (status is not None and status.pid in others)

    eventually(decided, within=PATIENCE, what="the destination owns or is gone")
    instance.resume(trial.source)
    trial.verify(finish_upgrade(upgrade))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("point", points("destination"))
def test_the_destination_is_stopped_and_goes_on_late(ground: Ground, point: str, tls: bool) -> None:
    """It goes on once the source is done with it, unless that killed it."""
    trial = Trial(ground, point, "stop", outcome_of(STOPPED, point))
    instance = trial.edge.instance
    upgrade = trial.begin()
    stopped: list[int] = []

    def noticed() -> bool:
        stopped[:] = [pid for pid in instance.generations() if run_state(pid) == "T"] or stopped
        return bool(stopped) or upgrade.poll() is not None

    eventually(noticed, within=PATIENCE, what="the destination stops")
    owns = trial.outcome in {Outcome.MOVED, Outcome.LISTENERS}  # then the others wait for it
    done = None if owns else finish_upgrade(upgrade)
    for pid in stopped:
        instance.resume(pid)
    trial.verify(done or finish_upgrade(upgrade))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("point", sorted(HUNG))
def test_the_destination_hangs(ground: Ground, point: str, tls: bool) -> None:
    trial = Trial(ground, point, "hang", HUNG[point])
    trial.verify(finish_upgrade(trial.begin()))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("point", sorted(BUGGY))
def test_an_action_raises(ground: Ground, point: str, tls: bool) -> None:
    trial = Trial(ground, point, "raise", BUGGY[point])
    trial.verify(finish_upgrade(trial.begin()))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("point", sorted(GARBLED))
def test_a_message_arrives_corrupt(ground: Ground, point: str, tls: bool) -> None:
    trial = Trial(ground, point, "corrupt", GARBLED[point])
    trial.verify(finish_upgrade(trial.begin()))


@pytest.mark.all
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("destination.send_round_done.before", Outcome.UNDONE),
        ("destination.send_prepared.before", Outcome.UNDONE),
        ("destination.take_byte.before", Outcome.UNDONE),
        ("destination.take_byte.after", Outcome.MOVED),
        ("destination.send_owned.before", Outcome.MOVED),
    ],
)
def test_a_late_destination_that_nobody_may_kill(ground: Ground, point: str, outcome: Outcome, tls: bool) -> None:
    """Somebody else started it. Stopped past the deadline, it goes on when the source has decided: never two owners."""
    trial = Trial(ground, point, "stop", outcome)
    instance = trial.edge.instance
    instance.arm(f"{point}:stop")
    destination = instance.launch("--takeover=require")
    wait_for_stop(destination, within=PATIENCE)
    if outcome is Outcome.UNDONE:
        eventually(lambda: serves(instance, trial.source), within=PATIENCE, what="the source takes it back")
        assert trial.load.turn().failures == []
    instance.resume(destination)
    if outcome is Outcome.UNDONE:
        assert ground.stage.offspring.status(destination, within=PATIENCE) != 0
    trial.verify_owner()
