from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from hotswap.faults import FAILURES, VARIABLE, Faults, InjectedFault


def test_nothing_is_armed_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    Faults.armed().hit("source.freeze.before")


def test_a_file_that_is_not_there_arms_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    Faults.armed().hit("source.freeze.before")


def test_the_file_is_read_anew_for_each_attempt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "faults"
    monkeypatch.setenv(VARIABLE, str(file))
    file.write_text("source.freeze.before:raise\n\n  source.thaw.after:raise  \n")
    first = Faults.armed()
    file.write_text("")
    with pytest.raises(InjectedFault):
        first.hit("source.freeze.before")
    with pytest.raises(InjectedFault):
        first.hit("source.thaw.after")
    Faults.armed().hit("source.freeze.before")


def test_whoever_hangs_says_so_before(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(FAILURES, "hang", lambda: None)
    Faults(["source.freeze.before:hang"]).hit("source.freeze.before")
    assert [(one.getMessage(), one.__dict__["fields"]) for one in caplog.records] == [
        ("a fault point hangs", {"point": "source.freeze.before"})
    ]


def test_a_point_fails_once_and_no_other_does() -> None:
    armed = Faults(["a.b.before:raise"])
    armed.hit("a.b.after")
    with pytest.raises(InjectedFault):
        armed.hit("a.b.before")
    armed.hit("a.b.before")


def test_corrupt_only_marks_the_next_message() -> None:
    armed = Faults(["a.b.before:corrupt"])
    armed.hit("a.b.before")
    assert armed.corrupt_next


@pytest.mark.parametrize("line", ["a.b.before:explode", "a.b.before:", "a.b.before"])
def test_an_unknown_failure_is_a_mistake_of_the_test(line: str) -> None:
    with pytest.raises(ValueError, match="unknown failure"):
        Faults([line])


@pytest.mark.parametrize(("failure", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_signals_go_to_the_process_itself(
    monkeypatch: pytest.MonkeyPatch, failure: str, number: signal.Signals
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    Faults([f"a.b.before:{failure}"]).hit("a.b.before")
    assert sent == [(os.getpid(), number)]


def test_hang_waits_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    class Event:
        def wait(self, timeout: float | None = None) -> None:
            waited.append(timeout)

    monkeypatch.setattr(threading, "Event", Event)
    FAILURES["hang"]()
    assert waited == [None]
