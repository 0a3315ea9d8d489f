from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import NOW, PID, brief, sound
from vm_agent.inspection.generations import DRAIN, GRACE, drain_of, judge, of
from vm_agent.inspection.processes import Process
from vm_agent.inspection.subject import Past
from vm_agent.lifecycle.states import State

LINK = Path("/state/sidecars/edge/current")
RELEASES = Path("/state/releases")
ARGUMENTS = ("run", "-c", "/etc/edge.yaml")
PROGRAM = "/state/releases/1.0.0/bin/hotswap"


@pytest.mark.parametrize(
    ("command", "holds", "counts"),
    [
        (("python", PROGRAM, *ARGUMENTS), False, True),
        (("python", "-P", f"{LINK}/bin/hotswap", *ARGUMENTS), False, True),
        (("python", PROGRAM, "run", "-c", "/etc/other.yaml"), False, False),
        (("python", PROGRAM, "check", "-c", "/etc/edge.yaml"), False, False),
        (("python", PROGRAM), False, False),
        (("python", "/usr/bin/hotswap", *ARGUMENTS), False, False),
        (("python", "/usr/bin/hotswap", *ARGUMENTS), True, True),  # it has the lock
        (("python", "launch.py", "oom=500", "--", PROGRAM, *ARGUMENTS), False, False),  # about to become one
        (("grep", "-c", "/etc/edge.yaml"), False, False),
        (("python", "/state/releases.old/1.0.0/bin/hotswap", *ARGUMENTS), False, False),
    ],
)
def test_a_generation_is_known_by_its_lock_or_its_command(command: tuple[str, ...], holds: bool, counts: bool) -> None:
    found = of([Process(7, command=command)], {7} if holds else set(), ARGUMENTS, (LINK, RELEASES))
    assert bool(found) is counts


LATE = DRAIN + GRACE + 1
RETIRED = Past(generation=1, pid=300, began=NOW - 90_000, outcome="superseded by generation 2")
OLD = Process(300, began=NOW - 90_010)
INERT = Process(500, began=NOW - 1000)
FOUND = ("warning", "leftover_generation")
FAILED = Past(generation=3, pid=500, began=NOW - 900, outcome="failed: no")
NOBODY = {"told": None, "running": None, "state": State.WAITING}


def history(since: float) -> tuple[Past, ...]:
    """The one before gave everything away so many seconds ago."""
    return RETIRED, Past(generation=2, pid=PID, began=NOW - since, outcome="serving")


@pytest.mark.parametrize(
    ("process", "changes", "found"),
    [
        (Process(PID, began=NOW - 90_000), {}, []),
        (OLD, {"history": history(60.0)}, []),  # it drains
        (OLD, {"history": history(DRAIN + 1)}, []),
        (OLD, {"history": history(LATE)}, [(*FOUND, "process 300")]),
        (OLD, {"history": history(LATE), "busy": True}, [(*FOUND, "process 300")]),
        (INERT, {}, [(*FOUND, "process 500")]),
        (INERT, {"busy": True}, []),  # the next generation, perhaps
        (INERT, {"state": State.BAKING}, []),
        (Process(500, began=NOW - 60), {}, []),  # somebody upgrades by hand
        (INERT, {"history": (FAILED,)}, [(*FOUND, "process 500")]),
        # A number that came again: the record is of a process before this one.
        (Process(300, began=NOW - 1000), {}, [(*FOUND, "process 300")]),
        (INERT, NOBODY, [("error", "leftover_generation", "process 500")]),
        (Process(500, began=NOW - 5), NOBODY, []),
    ],
)
def test_generations_that_should_be_gone(
    process: Process, changes: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge(sound(**changes), [process], DRAIN, NOW)) == found


def test_one_that_is_stopped_is_told_to_be() -> None:
    (found,) = judge(sound(), [Process(500, state="T", began=NOW - 1000)], DRAIN, NOW)
    assert "SIGSTOP" in found.text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("upgrade: {drain_timeout: 90s}", 90.0),
        ("upgrade: {drain_timeout: 2h}", 7200.0),
        ("upgrade: {drain_timeout: 1.5m}", 90.0),
        ("upgrade: {drain_timeout: 250ms}", 0.25),
        ("upgrade: {drain_timeout: soon}", DRAIN),
        ("upgrade: []", DRAIN),
        ("- a list", DRAIN),
        ("{", DRAIN),
        ("", DRAIN),
    ],
)
def test_how_long_a_generation_may_take_to_end_stands_in_its_configuration(
    tmp_path: Path, text: str, seconds: float
) -> None:
    (tmp_path / "edge.yaml").write_text(text)
    assert drain_of(str(tmp_path / "edge.yaml")) == seconds


def test_without_a_configuration_it_is_the_usual_time(tmp_path: Path) -> None:
    assert drain_of(str(tmp_path / "none.yaml")) == DRAIN
