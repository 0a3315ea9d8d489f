"""status, connections, history: for people, for pipes, for programs."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest

from hotswap.cli import output
from hotswap.errors import PermissionDenied
from tests.hotswap.cli.server import FakeServer, run
from tests.kit.users import User, needs_users


def test_status_tells_who_serves(edge: FakeServer) -> None:
    done = edge.run("status", "edge")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "edge: generation 3, serving"
    assert "  listeners     web 127.0.0.1:8080, db unix:/db" in lines
    assert "  connections   9012, 37 requests in flight" in lines
    assert "  last upgrade  none" in lines
    assert "  accepted      10" in lines


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"ok": True, "connections": 5, "downtime_ms": 2.0}, "went well, downtime 2.0 ms, 5 connections moved"),
        ({"ok": True, "dry_run": True, "connections": 5}, "dry run went well, 5 connections would move"),
        ({"ok": False, "exit_code": 14, "message": "it died"}, "failed (exit code 14), it died"),
    ],
)
def test_status_tells_of_the_last_upgrade(edge: FakeServer, last: dict[str, object], words: str) -> None:
    edge.status["last_upgrade"] = last
    assert f"  last upgrade  {words}\n" in edge.run("status", "edge").stdout


@needs_users
def test_a_runtime_directory_of_somebody_else_is_no_mistake_in_the_arguments(edge: FakeServer) -> None:
    def asked() -> str:
        done = run("status", "edge", runtime_dir=edge.runtime_dir)
        return f"{done.exit_code} {done.exception!r}"

    edge.runtime_dir.chmod(0o700)
    assert User(1001).run(asked).startswith(f"{PermissionDenied.exit_code} "), User(1001).run(asked)


@pytest.mark.parametrize(
    ("generation", "revision", "words"),
    [(2, -1, "generation 2"), (0, -1, "it has not served"), (2, 7, "revision 7, generation 2")],
)
def test_status_tells_who_stands_by(edge: FakeServer, generation: int, revision: int, words: str) -> None:
    edge.status["standbys"] = [{"generation": generation, "version": "1.0.0", "build": "b", "revision": revision}]
    assert f"  stands by     version 1.0.0 (build b), {words}\n" in edge.run("status", "edge").stdout


def test_status_of_a_server_that_tells_little(edge: FakeServer) -> None:
    edge.status = {"name": "edge"}
    assert edge.run("status", "edge").exit_code == 0


def test_status_without_a_name_lists_all(edge: FakeServer) -> None:
    with FakeServer(edge.runtime_dir, "core") as core:
        core.status["connections"] = 7
        done = edge.run("status")
    heading, first, second = done.stdout.splitlines()
    assert heading.split()[:3] == ["NAME", "STATE", "GENERATION"]
    assert first.split()[:4] == ["core", "serving", "3", "1.0.0"]
    assert second.split()[0] == "edge"


def test_status_where_nothing_runs(tmp_path: Path) -> None:
    done = run("status", runtime_dir=tmp_path / "none")
    assert (done.exit_code, done.stdout) == (0, f"nothing runs in {tmp_path / 'none'}\n")
    done = run("status", "--json", runtime_dir=tmp_path / "none")
    assert msgspec.json.decode(done.stdout)["running"] == []


def test_a_wrong_name_is_told_the_right_ones(edge: FakeServer) -> None:
    done = edge.run("status", "egde")
    assert done.exit_code == 4
    assert "these run there: edge" in done.stderr


@pytest.mark.parametrize("name", ["../edge", "", ".", "a/b"])
def test_a_name_is_no_path(edge: FakeServer, name: str) -> None:
    assert edge.run("status", name).exit_code == 2


def test_connections_are_rows(edge: FakeServer) -> None:
    edge.connections = [
        {"serial": 1, "kind": "tcp", "peer": "127.0.0.1:5"},
        {"serial": 20, "kind": "http1", "peer": None, "note": "\x1b[2Jevil\n"},
    ]
    assert edge.run("connections", "edge").stdout.splitlines() == [
        "SERIAL  KIND   PEER         NOTE",
        "     1  tcp    127.0.0.1:5  -",
        "    20  http1  -            \\x1b[2Jevil\\n",
    ]


def test_history_is_a_table(edge: FakeServer) -> None:
    edge.history = [{"generation": 1, "began": 0.0, "how": "cold", "outcome": "serving", "command": ["a", "b c"]}]
    heading, line = edge.run("history", "edge").stdout.splitlines()
    assert heading.split() == ["GENERATION", "BEGAN", "HOW", "OUTCOME", "VERSION", "BUILD", "PID", "COMMAND"]
    assert line.split()[0] == "1"
    assert line.endswith("a 'b c'")


@pytest.mark.parametrize("command", ["connections", "history"])
def test_nothing_to_show_is_said(edge: FakeServer, command: str) -> None:
    done = edge.run(command, "edge")
    assert done.exit_code == 0
    assert done.stdout.startswith("edge has no ")


@pytest.mark.parametrize("command", ["status", "connections", "history"])
def test_json_is_what_the_server_said(edge: FakeServer, command: str) -> None:
    expected = {
        "status": edge.status,
        "connections": {"connections": edge.connections},
        "history": {"history": edge.history},
    }
    done = edge.run(command, "edge", "--json")
    assert msgspec.json.decode(done.stdout) == expected[command]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.print_table(("name", "number"), [["a[red]", 1]])
    assert "a[red]" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0021, "2.1 ms"), (41.2, "41 s"), (90, "1 min 30 s"), (12_000, "3 h 20 min"), (90_000, "1 d 1 h")],
)
def test_spans_are_readable(seconds: float, text: str) -> None:
    assert output.span(seconds) == text


@pytest.mark.parametrize(
    ("text", "first", "whole"),
    [
        ("one", "one", "one"),
        ("it said:\n  a\n    b\n", "it said: a", "it said:\n    a\n      b"),
        ("one\ntwo", "one", "one\n    two"),
        ("\x1b[2J\n\x9b1m\r", "\\x1b[2J", "\\x1b[2J\n    \\x9b1m\\r"),
        ("", "", ""),
        (None, "-", "-"),
    ],
)
def test_texts_of_several_lines_stay_readable_and_drive_no_terminal(text: str | None, first: str, whole: str) -> None:
    assert output.headline(text) == first
    assert output.block(text) == whole
