"""What is shown: status, history, inspect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from tests.vm_agent.agent import EDGE, PATIENCE, FakeAgent, entry


@contextmanager
def going_on(agent: FakeAgent, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that ends by Ctrl-C."""
    command = [sys.executable, "-m", "vm_agent.cli.main", *arguments, "--socket", str(agent.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_status_has_a_line_for_each_sidecar(agent: FakeAgent) -> None:
    operation = {"before": "1.0.0", "after": "1.1.0", "why": "x", "bake": {"until": time.time() + 1000}}
    agent.sidecars = [
        {**EDGE, "waits": "release 1.1.0 waits for its window", "paused": True},
        {**EDGE, "name": "other", "state": "baking", "operation": operation},
    ]
    agent.broken = [{"file": "x.yaml", "error": "x.yaml:3: release: is missing"}]
    heading, edge, other, broken = agent.run("status").stdout.splitlines()
    assert heading.split() == ["NAME", "STATE", "SINCE", "RELEASE", "WANTED", "PID", "RESTARTS", "HEALTH", "NOTE"]
    assert "release 1.1.0 waits for its window; paused" in edge
    assert "1.0.0 -> 1.1.0; baking for another 16 min" in other
    assert broken == "broken spec: x.yaml:3: release: is missing"


def test_status_of_one(agent: FakeAgent) -> None:
    agent.sidecars = [
        {**EDGE, "wanted": "1.1.0", "condemned": {"release": "1.1.0", "digest": "x", "reason": "crashes"}}
    ]
    text = agent.run("status", "edge").stdout
    assert text.startswith("edge: serving\n")
    assert "1.0.0, its spec wants 1.1.0" in text
    assert "condemned  1.1.0: crashes" in text
    assert "held       tcp 127.0.0.1:8080" in text


@pytest.mark.parametrize(
    ("told", "held"),
    [({"held": [], "kept": 2}, "2 listeners"), ({"held": [], "kept": 1}, "1 listener"), ({"held": []}, "nothing")],
)
def test_listeners_that_systemd_holds_are_counted(agent: FakeAgent, told: dict[str, Any], held: str) -> None:
    agent.sidecars = [{**EDGE, **told}]
    assert f"  held     {held}\n" in agent.run("status", "edge").stdout


def test_status_says_paused_once_and_whole_seconds(agent: FakeAgent) -> None:
    agent.sidecars = [{**EDGE, "since": time.time(), "waits": "release 0.4.0 waits: paused", "paused": True}]
    (line,) = agent.run("status").stdout.splitlines()[1:]
    assert line.endswith("release 0.4.0 waits: paused")
    assert line.split()[2:4] in (["0", "s"], ["1", "s"])


def test_reasons_of_several_lines_are_shown_as_such(agent: FakeAgent) -> None:
    reason = "it said last:\n    no such file\n      really"
    agent.sidecars = [{**EDGE, "waits": reason}]
    agent.history = [entry("cannot start", reason)]
    agent.findings = [{"severity": "error", "what": "x", "sidecar": "edge", "text": reason, "remedy": ""}]
    assert agent.run("status").stdout.splitlines()[1].endswith("it said last: no such file")
    for command in (["status", "edge"], ["history"], ["inspect"]):
        lines = agent.run(*command).stdout.splitlines()
        at = next(at for at, line in enumerate(lines) if line.endswith("it said last:"))
        assert [line.strip() for line in lines[at + 1 : at + 3]] == ["no such file", "really"]
        assert lines[at + 1].startswith("    ")


def test_help_says_what_each_command_does_in_whole_sentences(agent: FakeAgent) -> None:
    assert "..." not in agent.run("--help").stdout.replace("[ARGS]...", "")


def test_status_as_json_is_what_the_agent_says(agent: FakeAgent) -> None:
    answer = msgspec.json.decode(agent.run("status", "--json").stdout)
    assert answer["sidecars"] == [EDGE]
    assert answer["runner"] == "children"


def test_an_agent_without_sidecars(agent: FakeAgent) -> None:
    agent.sidecars = []
    assert agent.run("status").stdout == "no sidecars\n"


def test_what_strangers_sent_does_not_drive_a_terminal(agent: FakeAgent) -> None:
    agent.sidecars = [{**EDGE, "waits": "\x1b[2J"}]
    agent.history = [entry("failed", "\x1b[2J")]
    agent.findings = [{"severity": "error", "what": "x", "text": "\x1b[2J", "remedy": "\x1b[2J"}]
    for command in (["status"], ["status", "edge"], ["history"], ["inspect"]):
        assert "\x1b" not in agent.run(*command).stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_status_that_is_watched_has_a_line_for_each_change(agent: FakeAgent, form: tuple[str, ...]) -> None:
    with going_on(agent, "status", "--watch", *form) as process:
        assert process.stdout is not None
        assert "serving" in process.stdout.readline()
        agent.sidecars = [{**EDGE, "state": "moving"}]
        assert "moving" in process.stdout.readline()
        agent.sidecars = []
        assert process.stdout.readline() in ("edge: is no more\n", '{"name":"edge","state":"gone"}\n')


def test_history(agent: FakeAgent) -> None:
    agent.history = [entry("agent began", "looks after 1 sidecar", name=""), entry("kept", "passed")]
    heading, first, second = agent.run("history").stdout.splitlines()
    assert heading.split() == ["WHEN", "SIDECAR", "WHAT", "WHY"]
    assert first.endswith("(agent)  agent began  looks after 1 sidecar")
    assert second.endswith("edge     kept         passed")
    assert len(agent.run("history", "-n", "1").stdout.splitlines()) == 2
    answer = msgspec.json.decode(agent.run("history", "edge", "--json").stdout)
    assert [one["what"] for one in answer["history"]] == ["kept"]


def test_history_that_does_not_exist_yet(agent: FakeAgent) -> None:
    assert agent.run("history", "edge").stdout == "edge has no history yet\n"


def test_history_that_is_followed(agent: FakeAgent) -> None:
    agent.history = [entry("started", "long ago"), entry("upgrading", "the spec wants 1.1.0")]
    with going_on(agent, "history", "edge", "-n", "1", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("edge: upgrading: the spec wants 1.1.0\n")
        agent.history = [*agent.history, entry("kept", "passed")]
        assert process.stdout.readline().endswith("edge: kept: passed\n")


@pytest.mark.parametrize(("severity", "code"), [("error", 1), ("warning", 0), ("notice", 0)])
def test_findings_have_their_remedies(agent: FakeAgent, severity: str, code: int) -> None:
    text, remedy = "release 1.1.0 is damaged", "hotswap-agent upgrade edge"
    agent.findings = [
        {"sidecar": "edge", "severity": severity, "what": "release_damaged", "text": text, "remedy": remedy}
    ]
    done = agent.run("inspect")
    assert done.exit_code == code
    assert done.stdout == f"{severity:<8} edge: {text}\n         -> {remedy}\n1 finding\n"
    assert msgspec.json.decode(agent.run("inspect", "--json").stdout) == {"findings": agent.findings}


def test_nothing_is_found(agent: FakeAgent) -> None:
    assert agent.run("inspect").stdout == "all is as it should be\n"
