"""How a process ended, by what systemd 252 writes of its unit."""

from __future__ import annotations

import pytest

from vm_agent.runners.journal import how_last, own_words

UNIT = "hotswap-sidecar-edge.service"
STARTED = [f"Starting {UNIT} - Hotswap sidecar edge...", f"Started {UNIT} - Hotswap sidecar edge."]
KILLED = [
    f"{UNIT}: Main process exited, code=killed, status=9/KILL",
    f"{UNIT}: Failed with result 'signal'.",
]
FAILED = [
    f"{UNIT}: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
    f"{UNIT}: Failed with result 'exit-code'.",
]


def again(number: int) -> list[str]:
    return [
        f"{UNIT}: Scheduled restart job, restart counter is at {number}.",
        f"Stopped {UNIT} - Hotswap sidecar edge.",
        *STARTED,
    ]


@pytest.mark.parametrize(
    ("lines", "how"),
    [
        ([*STARTED, *KILLED, *again(1)], "killed by signal 9"),
        # Nothing is written of an end with exit code 0: the one before is not told once more.
        ([*STARTED, *KILLED, *again(1), *again(2)], "exit code 0"),
        ([*STARTED, *KILLED, *again(1), *again(2), *FAILED, *again(3)], "exit code 3"),
        ([*STARTED, *again(1)], "exit code 0"),
        # Of an earlier start, or of a later end, nothing is told.
        ([*STARTED, *KILLED, *STARTED, *again(1)], "exit code 0"),
        ([*STARTED, *again(1), *KILLED], "exit code 0"),
        # The beginning is gone.
        (again(4), "died"),
        ([*KILLED, *again(4)], "killed by signal 9"),
        ([], "died"),
    ],
)
def test_the_end_is_that_of_the_last_life(lines: list[str], how: str) -> None:
    assert how_last(lines) == how


def test_of_a_start_that_failed_the_program_speaks_before_systemd() -> None:
    assert own_words(UNIT, ["no such listener", *FAILED]) == ["no such listener"]
    assert own_words(UNIT, FAILED) == FAILED
