"""Upgrades of real processes: what moves, what fails, and what the caller hears."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import msgspec
import pytest

from hotswap.errors import (
    Busy,
    DeadlinePassed,
    DestinationFailed,
    UsageError,
)
from hotswap.spawn import REPORT_VARIABLE, TOKEN_VARIABLE
from tests.hotswap.echo import PATIENCE, Echo
from tests.kit.companion import ROOT
from tests.kit.offspring import kill, run_state, wait_for_stop
from tests.kit.waiting import eventually

# -- upgrades ----------------------------------------------------------------------------------------------------


def test_an_upgrade_starts_the_same_command_again(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    result = echo.upgrade()
    assert (result["ok"], result["exit_code"], result["generation"]) == (True, 0, 2)
    assert (result["listeners"], result["connections"], result["kept"]) == (1, 1, [])
    assert result["downtime_ms"] == pytest.approx(sum(result["phases"].values()))
    client.say(b"two")
    assert echo.exit_code(first) == 0
    assert echo.history()[1]["how"] == "upgrade"


@pytest.mark.all
def test_an_upgrade_of_the_same_build_is_never_superseded(echo: Echo) -> None:
    echo.start()
    for generation in (2, 3, 4):
        assert echo.upgrade()["generation"] == generation


@pytest.mark.all
def test_an_upgrade_to_another_command_and_back(echo: Echo) -> None:
    echo.start(build="old")
    client = echo.client()
    result = echo.upgrade(command=echo.command(build="new"), cwd=str(ROOT))
    assert result["ok"], result
    assert echo.status()["build"] == "new"
    client.say(b"one")
    assert echo.upgrade(rollback=True)["ok"]
    assert echo.status()["build"] == "old"
    with pytest.raises(UsageError, match="no earlier generation"):
        echo.upgrade(rollback=True)  # the next one goes further back, not forth to what was just left
    assert echo.upgrade(command=echo.command(build="new"), cwd=str(ROOT))["ok"]
    assert echo.status()["build"] == "new"
    client.say(b"two")


def test_a_rollback_needs_an_earlier_generation(echo: Echo) -> None:
    echo.start()
    with pytest.raises(UsageError, match="no earlier generation"):
        echo.upgrade(rollback=True)


def test_a_dry_run_moves_nothing(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    result = echo.upgrade(dry_run=True)
    assert (result["ok"], result["dry_run"], result["connections"]) == (True, True, 1)
    echo.no_successor(first)
    client.say(b"two")
    assert len(echo.history()) == 1
    assert echo.upgrade()["ok"]
    client.say(b"three")


@pytest.mark.all
def test_nobody_else_comes_in_while_an_upgrade_is_under_way(echo: Echo) -> None:
    first = echo.start()
    echo.arm("destination.send_hello.before:stop")
    events = echo.control().events("/upgrade", {}, timeout=PATIENCE)
    spawned = next(events)["pid"]
    wait_for_stop(spawned, within=PATIENCE)
    echo.faults.unlink()
    assert echo.exit_code(echo.launch(build="2")) == Busy.exit_code
    with pytest.raises(Busy):
        echo.upgrade()
    kill(spawned, signal.SIGCONT)
    assert list(events)[-1]["ok"]
    assert echo.exit_code(first) == 0


DIED = (DestinationFailed.exit_code, "killed by signal 9")
LATE = (DeadlinePassed.exit_code, "taken back")
FAULTS = [
    ("destination.send_hello.before:kill", *DIED),
    ("destination.send_prepared.before:kill", *DIED),
    ("destination.send_owned.before:kill", *DIED),
    ("destination.send_hello.before:stop", *LATE),
    ("destination.send_round_done.before:stop", *LATE),
    ("destination.send_prepared.before:stop", LATE[0], "after the freeze"),
    ("destination.send_prepared.before:raise", None, "send_prepared failed"),
]


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("destination.send_round_done.before:kill", *DIED),
        *(pytest.param(*fault, marks=pytest.mark.all) for fault in FAULTS),
    ],
)
def test_a_destination_that_fails_is_told_of_and_nothing_is_lost(
    echo: Echo, fault: str, code: int | None, words: str
) -> None:
    first = echo.start(limits=msgspec.structs.replace(echo.options.limits, freeze=0.5))
    client = echo.client()
    client.say(b"one")
    client.send(b"hal")
    echo.arm(fault)
    result = echo.upgrade(timeout=2.0)
    assert not result["ok"]
    assert words in result["message"], result
    assert code is None or result["exit_code"] == code, result
    echo.no_successor(first)
    client.send(b"f\n")
    client.expect(b"half")
    assert echo.status()["last_upgrade"]["message"] == result["message"]
    echo.faults.unlink()
    assert echo.upgrade()["ok"]
    client.say(b"three")


def test_a_command_that_is_no_generation_says_how_it_ended(echo: Echo) -> None:
    first = echo.start()
    result = echo.upgrade(command=["sh", "-c", "exit 3"], cwd="/")
    assert (result["exit_code"], "exit code 3" in result["message"]) == (DestinationFailed.exit_code, True)
    echo.no_successor(first)
    with pytest.raises(DestinationFailed, match="cannot be started"):
        echo.upgrade(command=["/no/such/program"], cwd="/")
    assert echo.upgrade()["ok"]


@pytest.mark.all
def test_a_failure_of_a_new_generation_reaches_the_caller_in_its_own_words(echo: Echo) -> None:
    first = echo.start()
    other = Echo(echo.directory / "other", echo.offspring)
    other.directory.mkdir()
    other.start()
    result = echo.upgrade(command=echo.command(address=other.options.address), cwd=str(ROOT))
    assert other.options.address in result["message"]
    assert "cannot be bound" in result["message"]
    assert echo.status()["pid"] == first
    assert echo.history()[1]["outcome"].startswith("failed: ")


def test_no_zombie_and_no_descriptor_is_left_of_failed_upgrades(echo: Echo) -> None:
    first = echo.start()
    echo.arm("destination.send_prepared.before:kill")
    assert not echo.upgrade()["ok"]
    before = settled_descriptors(first)
    for _ in range(3):
        assert not echo.upgrade()["ok"]
    assert settled_descriptors(first) == before
    eventually(lambda: not zombies_of(first), within=PATIENCE, what="what was spawned is reaped")


def settled_descriptors(pid: int) -> int:
    """How many a process has open once the connections of this test are closed."""

    def count() -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    seen = [-1]

    def twice_the_same() -> bool:
        seen.append(count())
        return seen[-1] == seen[-2]

    eventually(twice_the_same, within=PATIENCE, what="the number of descriptors settles")
    return seen[-1]


def zombies_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if run_state(int(child)) == "Z"]


@pytest.mark.all
def test_neither_token_nor_report_reaches_what_a_generation_starts(echo: Echo) -> None:
    echo.start()
    assert echo.upgrade()["ok"]
    environment = Path(f"/proc/{echo.status()['pid']}/environ").read_bytes()
    assert TOKEN_VARIABLE.encode() in environment  # as it was started; what it passes on is another matter
    result = echo.upgrade(command=["sh", "-c", f"env > {echo.directory}/env; exit 1"], cwd="/")
    assert not result["ok"]
    passed = (echo.directory / "env").read_text()
    assert len(re.findall(rf"^{TOKEN_VARIABLE}=", passed, re.MULTILINE)) == 1, "its own, for its own successor"
    assert len(re.findall(rf"^{REPORT_VARIABLE}=", passed, re.MULTILINE)) == 1
