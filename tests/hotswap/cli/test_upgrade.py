"""`hotswap upgrade` and `hotswap rollback`: what they order, show, and conclude."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap import attempt, errors
from hotswap.cli.progress import ADVICE, complaint
from hotswap.control import HttpError
from tests.hotswap.cli.server import DONE, PROGRESS, FakeServer, run

FAILURES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AttemptFailed)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "CONFIRM_SECONDS", 0.3)
    monkeypatch.setattr(attempt, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(attempt, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(attempt, "POLL_SECONDS", 0.01)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines()]


def test_the_last_line_can_be_trusted(edge: FakeServer) -> None:
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 0
    assert done.stdout == (
        "edge: generation 4 owns: 3 listeners, 9012 connections, 37 requests in flight moved; downtime 2.1 ms; "
        "nothing left behind\n"
    )


def test_progress_goes_to_standard_error(edge: FakeServer) -> None:
    assert edge.run("upgrade", "edge").stderr.splitlines() == [
        "edge: started the new generation, pid 5000",
        "edge: the new generation is there, version 1.1.0; 9012 connections to copy",
        "edge: round 1: 9012 connections copied, 41 left",
        "edge: freezing for the last pass",
        "edge: the new generation owns",
    ]


@pytest.mark.parametrize(("generation", "who"), [(3, "generation 3"), (0, "a container")])
def test_who_is_called_is_named_if_it_has_served(edge: FakeServer, generation: int, who: str) -> None:
    edge.events = [{"event": "summoned", "generation": generation}, DONE]
    assert edge.run("rollback", "edge").stderr == f"edge: told {who}, which stands by, to take over\n"


def test_events_of_later_versions_are_shown_as_they_are(edge: FakeServer) -> None:
    edge.events = [{"event": "simmering", "seconds": 3, "why": "\x1b[31m"}, DONE]
    assert edge.run("upgrade", "edge").stderr == "edge: simmering seconds=3 why=\\x1b[31m\n"


def test_what_stays_is_said_with_its_reason(edge: FakeServer) -> None:
    edge.events = [
        {**DONE, "kept": [{"count": 2, "reason": "a TLS handshake is under way"}, {"count": 1, "reason": "x"}]}
    ]
    assert edge.run("upgrade", "edge").stdout.endswith(
        "; 3 connections stay with the old generation until they end: 2 a TLS handshake is under way, 1 x\n"
    )


def test_the_order_says_everything(edge: FakeServer) -> None:
    edge.run("upgrade", "edge", "--timeout", "90s", "--require-all", "--", "other/hotswap", "run", "-c", "edge.yaml")
    assert edge.orders == [
        {
            "command": ["other/hotswap", "run", "-c", "edge.yaml"],
            "cwd": str(Path.cwd()),
            "timeout": 90.0,
            "dry_run": False,
            "require_all": True,
            "rollback": False,
            "force": False,
            "why": "",
            "bake": None,
            "external": False,
            "hand_over": False,
        }
    ]


def test_a_rollback_is_an_order_too(edge: FakeServer) -> None:
    assert edge.run("rollback", "edge").exit_code == 0
    assert (edge.orders[0]["rollback"], edge.orders[0]["command"]) == (True, None)


def test_a_dry_run_promises_nothing_happened(edge: FakeServer) -> None:
    edge.after = {}
    done = edge.run("upgrade", "edge", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout == (
        "edge: dry run went well: the new generation could take over 3 listeners, 9012 connections, "
        "37 requests in flight; nothing left behind; generation 3 serves on\n"
    )


def test_json_prints_every_event_and_the_result(edge: FakeServer) -> None:
    done = edge.run("upgrade", "edge", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json_lines(done.stdout) == [*PROGRESS, DONE]


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_has_its_exit_code_and_an_advice(edge: FakeServer, kind: type[errors.AttemptFailed]) -> None:
    edge.events = [{"event": "result", "ok": False, "exit_code": kind.exit_code, "message": "it went wrong"}]
    edge.after = {}
    done = edge.run("upgrade", "edge")
    assert (done.exit_code, done.stdout) == (kind.exit_code, "")
    assert done.stderr == f"hotswap: edge: it went wrong; {ADVICE[kind.exit_code].replace('NAME', 'edge')}\n"


def test_several_mistakes_are_told_a_line_each() -> None:
    text = complaint("edge", {"exit_code": 3, "message": "it gave up: a.yaml:1: x\na.yaml:2: y\x1b[2J"})
    assert text.splitlines()[1].startswith("a.yaml:2: y\\x1b[2J; mend the configuration")


def test_every_exit_code_has_an_advice() -> None:
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HotswapError)
    }
    assert codes - {1, errors.AlreadyRunning.exit_code} <= ADVICE.keys()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_refused_order_is_a_result_too(edge: FakeServer, *, as_json: bool) -> None:
    edge.failure = errors.Busy("another attempt is under way")
    done = edge.run("upgrade", "edge", *(["--json"] if as_json else []))
    assert done.exit_code == 12
    if as_json:
        assert json_lines(done.stdout)[-1]["exit_code"] == 12
    else:
        assert done.stderr.startswith("hotswap: edge: another attempt is under way; 'hotswap status edge'")


def test_a_server_with_a_bug_is_no_success(edge: FakeServer) -> None:
    edge.failure = HttpError(500, "internal error")
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 1
    assert "internal error" in done.stderr


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_nobody_there(tmp_path: Path, command: str) -> None:
    done = run(command, "edge", runtime_dir=tmp_path)
    assert done.exit_code == 4
    assert "nothing runs there" in done.stderr


@pytest.mark.parametrize("timeout", ["soon", "0s", "-1s", "1s2", ""])
def test_a_timeout_is_a_duration(edge: FakeServer, timeout: str) -> None:
    done = edge.run("upgrade", "edge", "--timeout", timeout)
    assert done.exit_code == 2
    assert "duration" in done.stderr
    assert edge.orders == []


# -- nobody is believed without a look --------------------------------------------------------------


def test_a_success_is_none_if_the_new_generation_does_not_answer(edge: FakeServer) -> None:
    edge.after = {}
    done = edge.run("upgrade", "edge")
    assert done.exit_code == errors.ConnectionsLost.exit_code
    assert "generation 4 took over, but does not answer now: generation 3 answers" in done.stderr


def test_a_broken_connection_after_a_takeover_is_a_success(edge: FakeServer) -> None:
    edge.break_off, edge.events = True, PROGRESS
    edge.history = [
        {"generation": 4, "how": "upgrade", "listeners": 2, "connections": 5, "in_flight": 1, "downtime_ms": 3}
    ]
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 0
    assert "generation 4 owns: 2 listeners, 5 connections, 1 request in flight moved; downtime 3.0 ms" in done.stdout


def test_what_moved_is_not_made_up(edge: FakeServer) -> None:
    edge.break_off, edge.events = True, PROGRESS
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 0
    assert "how much moved is unknown" in done.stdout


def test_a_source_that_died_early_is_told(edge: FakeServer) -> None:
    edge.break_off, edge.events = True, PROGRESS[:3]
    edge.history = [{"generation": 4, "outcome": "failed: at first"}, {"generation": 4, "how": "crash"}]
    done = edge.run("upgrade", "edge")
    assert done.exit_code == errors.ConnectionsLost.exit_code
    assert "generation 3 died: another process took its place and serves with its listeners only" in done.stderr


def test_a_broken_connection_and_the_old_generation_serves(edge: FakeServer) -> None:
    edge.break_off, edge.events, edge.after = True, PROGRESS[:2], {}
    done = edge.run("upgrade", "edge", "--json")
    assert done.exit_code == errors.AttemptFailed.exit_code
    assert json_lines(done.stdout)[-1]["message"].endswith("generation 3 serves as before")


def test_a_broken_connection_and_the_failure_on_record(edge: FakeServer) -> None:
    edge.break_off, edge.events = True, PROGRESS[:2]
    edge.after = {"last_upgrade": {"ok": False, "exit_code": 14, "message": "cannot restore"}}
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 14
    assert "cannot restore" in done.stderr


def test_a_broken_connection_and_another_process_with_the_same_number(edge: FakeServer) -> None:
    edge.break_off, edge.events, edge.after = True, PROGRESS[:2], {"generation": 1, "pid": 6000}
    done = edge.run("upgrade", "edge")
    assert done.exit_code == errors.ConnectionsLost.exit_code
    assert "took its place and was started anew" in done.stderr


def test_a_broken_connection_in_the_middle_waits_for_the_end(edge: FakeServer) -> None:
    edge.break_off, edge.events, edge.after = True, PROGRESS[:3], {"state": "handover"}
    done = edge.run("upgrade", "edge", "--timeout", "10ms")
    assert done.exit_code == errors.SourceHung.exit_code
    assert "whoever owns does not answer" in done.stderr


def test_an_answer_without_a_result_is_no_result(edge: FakeServer) -> None:
    edge.events, edge.after = PROGRESS, {}
    assert edge.run("upgrade", "edge").exit_code == errors.AttemptFailed.exit_code


def test_nobody_left_after_a_broken_connection(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.break_off = True

    def gone(*_arguments: object) -> None:
        (edge.runtime_dir / "edge" / "control.sock").unlink(missing_ok=True)

    monkeypatch.setattr(attempt.Attempt, "_find_out", _after(gone, attempt.Attempt._find_out))
    edge.events = PROGRESS[:3]
    done = edge.run("upgrade", "edge")
    assert done.exit_code == errors.NotRunning.exit_code
    assert "then nobody answered" in done.stderr


def _after(first: Any, then: Any) -> Any:
    def both(*arguments: Any) -> Any:
        first(*arguments)
        return then(*arguments)

    return both


def test_an_interrupt_stops_watching_only(edge: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attempt.Attempt, "run", interrupt)
    done = edge.run("upgrade", "edge")
    assert done.exit_code == 130
    assert "the attempt goes on" in done.stderr
