"""The turns of threads: each test has one of its own, for what it takes stays with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from hotswap import turns
from tests.kit.companion import ROOT
from tests.kit.turns import need_turns

T = TypeVar("T")

TELL = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from hotswap import turns; print(turns.turn())"


def apart(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def takes(nanoseconds: int) -> int:
    assert turns.take(nanoseconds)
    return turns.turn()


@pytest.fixture(autouse=True)
def _kernel() -> None:
    need_turns()


def test_they_are_as_long_as_one_says() -> None:
    before = turns.turn()
    long, short, usual = apart(lambda: [takes(turns.LONG), takes(turns.SHORT), takes(turns.USUAL)])
    assert (long, short) == (turns.LONG, turns.SHORT)
    assert turns.SHORT < usual < turns.LONG, "whatever the kernel has"
    assert turns.turn() == before, "another thread's are its own"


def test_long_ones_end() -> None:
    def meanwhile() -> tuple[int, int, int]:
        before = turns.turn()
        with turns.long_ones():
            during = turns.turn()
        return before, during, turns.turn()

    before, during, after = apart(meanwhile)
    assert during == turns.LONG
    assert after == before


def test_who_is_started_meanwhile_takes_long_ones() -> None:
    def start() -> tuple[int, int]:
        turns.take(turns.SHORT)
        with turns.long_ones():
            told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, check=True).stdout
        return int(told), turns.turn()

    assert apart(start) == (turns.LONG, turns.SHORT)


def test_what_cannot_be_said_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_NUMBERS", {})
    assert turns.turn() == -1
    assert not turns.take(turns.SHORT)
    with turns.long_ones():
        pass


def test_there_is_nothing_to_be_known_of_a_process_that_is_not_there() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert turns.turn(gone.pid) == -1
