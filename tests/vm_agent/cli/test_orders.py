"""Orders: given, watched, refused, broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec
import pytest

from hotswap.errors import AttemptFailed, RolledBack
from tests.kit.waiting import eventually
from tests.vm_agent.agent import DONE, EDGE, PATIENCE, PROGRESS, FakeAgent, entry
from vm_agent import doors
from vm_agent.cli import following
from vm_agent.errors import NotPossible

BAKING: dict[str, Any] = {
    **EDGE,
    "state": "baking",
    "release": "1.1.0",
    "operation": {"before": "1.0.0", "after": "1.1.0", "why": "ordered by hand", "bake": {"until": time.time() + 40}},
}


def test_an_upgrade_is_watched_to_its_verdict(agent: FakeAgent) -> None:
    done = agent.run("upgrade", "edge", "--release", "1.1.0")
    assert (done.exit_code, done.stdout) == (0, "edge: release 1.1.0 serves\n")
    assert agent.orders == [("/upgrade", {"name": "edge", "release": "1.1.0", "watch": True})]
    assert done.stderr.splitlines() == [
        "edge: installing the next release: ordered by hand",
        "edge: rehearsed: 12 connections",
        "edge: started the new generation, pid 5000",
        "edge: baking: the next release serves on probation",
    ]


KEPT = "10 requests, none failed"
WRONG = "error_rate 7.31%"
RETURNED = "the release before has every connection back: see 'hotswap-agent history edge'"


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        # What ended well is a line of its own.
        (
            [
                {"event": "outcome", "name": "edge", "ok": True, "message": "dry run: 2 listeners would move"},
                {"event": "note", "name": "edge", "what": "kept", "text": KEPT},
                {"event": "state", "name": "edge", "state": "serving", "why": KEPT},
                DONE,
            ],
            [f"edge: kept: {KEPT}"],
        ),
        # What did not is in the last word anyway.
        (
            [
                {"event": "note", "name": "edge", "what": "taken back", "text": WRONG},
                {"event": "state", "name": "edge", "state": "serving", "why": WRONG},
                {**DONE, "ok": False, "exit_code": 20, "message": WRONG},
            ],
            [
                f"hotswap-agent: edge: {WRONG}; {RETURNED}",
            ],
        ),
        # What follows is told.
        (
            [
                {"event": "note", "name": "edge", "what": "taken back", "text": WRONG},
                {"event": "state", "name": "edge", "state": "starting", "why": WRONG},
                DONE,
            ],
            [f"edge: taken back: {WRONG}", "edge: starting"],
        ),
    ],
)
def test_a_reason_is_told_once(agent: FakeAgent, events: list[Any], shown: list[str]) -> None:
    agent.events = events
    assert agent.run("upgrade", "edge").stderr.splitlines() == shown


def test_a_rollback_is_not_called_an_upgrade(agent: FakeAgent) -> None:
    done = agent.run("rollback", "edge")
    assert done.stderr.splitlines()[0] == "edge: looking for the release from before: ordered by hand"
    assert done.stderr.splitlines()[-1] == "edge: the release from before serves"


def test_a_reason_of_several_lines_stays_readable_and_drives_no_terminal(agent: FakeAgent) -> None:
    reason = "could not be started: exit code 1; it said last:\n    no such\x1b[2J file\n      really"
    agent.events = [
        {"event": "state", "name": "edge", "state": "waiting", "why": reason},
        {**DONE, "ok": False, "exit_code": 23, "message": reason},
    ]
    assert agent.run("upgrade", "edge").stderr == (
        "edge: could not be started, tried again later: could not be started: exit code 1; it said last:\n"
        "    no such\\x1b[2J file\n"
        "      really\n"
        "hotswap-agent: edge: could not be started: exit code 1; it said last:\n"
        "    no such\\x1b[2J file\n"
        "      really\n"
        "tried again by itself: see 'hotswap-agent history edge'\n"
    )


def test_as_json_it_is_the_events_as_lines(agent: FakeAgent) -> None:
    done = agent.run("upgrade", "edge", "--json")
    assert [msgspec.json.decode(line) for line in done.stdout.splitlines()] == [*PROGRESS, DONE]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (RolledBack.exit_code, "the release before has every connection back: see 'hotswap-agent history edge'"),
        (AttemptFailed.exit_code, "it serves as before: see 'hotswap-agent history edge'"),
        (NotPossible.exit_code, "see 'hotswap-agent status edge'"),
    ],
)
def test_what_did_not_go_well_is_the_exit_code(agent: FakeAgent, code: int, advice: str) -> None:
    agent.events = [{**DONE, "ok": False, "exit_code": code, "message": "error_rate 7.31%", "release": "1.0.0"}]
    done = agent.run("upgrade", "edge")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr == f"hotswap-agent: edge: error_rate 7.31%; {advice}\n"


def test_a_success_that_nobody_stands_for_is_none(agent: FakeAgent) -> None:
    agent.after = {}
    done = agent.run("upgrade", "edge", "--release", "1.1.0")
    assert done.exit_code == AttemptFailed.exit_code
    assert "release 1.0.0 serves, not 1.1.0" in done.stderr


def test_a_refusal_is_told(agent: FakeAgent) -> None:
    agent.failure = NotPossible("edge has no release to go back to")
    done = agent.run("rollback", "edge")
    assert (done.exit_code, done.stderr) == (25, "hotswap-agent: edge has no release to go back to\n")


def test_nobody_waits_who_does_not_want_to(agent: FakeAgent) -> None:
    done = agent.run("rollback", "edge", "--why", "a hunch", "--no-wait")
    assert (done.exit_code, done.stdout) == (0, "edge: ordered; see 'hotswap-agent status edge'\n")
    assert agent.orders == [("/rollback", {"name": "edge", "why": "a hunch"})]
    assert msgspec.json.decode(agent.run("upgrade", "edge", "--no-wait", "--json").stdout) == {
        "name": "edge",
        "ordered": True,
    }


def test_taken_back_is_what_a_rollback_wants(agent: FakeAgent) -> None:
    agent.events = [{**DONE, "ok": False, "exit_code": RolledBack.exit_code, "message": "a hunch"}]
    done = agent.run("rollback", "edge")
    assert (done.exit_code, done.stdout) == (0, "edge: a hunch\n")
    agent.events = [{"event": "note", "name": "edge", "what": "taken back", "text": "a hunch"}, *agent.events]
    done = agent.run("rollback", "edge")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "edge: taken back: a hunch\n", "")


@pytest.mark.parametrize(
    ("what", "code"), [("kept", 0), ("taken back", 20), ("failed", 10), ("postponed", 10), ("cannot start", 23)]
)
@pytest.mark.parametrize("broken", [True, False])
def test_an_agent_that_ends_meanwhile_is_asked_again(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, what: str, code: int, *, broken: bool
) -> None:
    """By the history, where an older entry says nothing."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    agent.events, agent.break_off = PROGRESS, broken
    agent.looks = [[BAKING], [BAKING]]
    agent.history = [
        entry("taken back", "long ago", at=time.time() - 60),
        entry(what, "so it was", at=time.time() + 60),
    ]
    done = agent.run("upgrade", "edge")
    assert done.exit_code == code, done.stderr
    assert f"{what}: so it was" in done.stdout + done.stderr


def test_an_agent_that_does_not_come_back(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "BACK_SECONDS", 0.1)
    monkeypatch.setattr(doors, "FAREWELL_SECONDS", 0.1)
    agent.events, agent.hold = PROGRESS, True

    def end() -> None:
        eventually(lambda: agent.streams, within=PATIENCE, what="the order is there")
        agent.call(agent.doors.close())

    ending = threading.Thread(target=end)
    ending.start()
    done = agent.run("upgrade", "edge")
    ending.join(PATIENCE)
    assert done.exit_code == 26, done.output
    assert "the agent does not answer any more; waiting for it to come back" in done.stderr


def test_ctrl_c_ends_the_watching_alone(agent: FakeAgent) -> None:
    agent.events, agent.hold = PROGRESS, True
    command = [sys.executable, "-m", "vm_agent.cli.main", "upgrade", "edge", "--socket", str(agent.socket)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = [process.stderr.readline() for _ in PROGRESS]
        os.kill(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=PATIENCE)
    assert seen[-1].startswith("edge: baking")
    assert rest == "hotswap-agent: no longer watching; it goes on: see 'hotswap-agent status edge'\n"
    assert process.returncode == 130


def test_pause_and_resume(agent: FakeAgent) -> None:
    done = agent.run("pause", "edge")
    assert done.stdout == "edge: paused: no upgrade begins until 'hotswap-agent resume'\n"
    assert msgspec.json.decode(agent.run("resume", "edge", "--json").stdout) == {"name": "edge", "paused": False}
    assert agent.orders == [("/pause", {"name": "edge"}), ("/resume", {"name": "edge"})]
