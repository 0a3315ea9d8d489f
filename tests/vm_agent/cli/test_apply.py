"""Specs that are put into place and take effect."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import msgspec
import pytest

from tests.vm_agent.agent import DONE, EDGE, FakeAgent, entry
from vm_agent.cli import following


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)


def write(file: Path, name: str = "edge", release: str = "1.1.0", config: str = "") -> Path:
    """A spec, and its configuration."""
    place = file.with_suffix(".conf")
    place.write_text(f"name: {name}\n")
    file.write_text(f"name: {name}\nrelease: {release}\nconfig: {config or place}\n")
    return file


def test_without_files_all_sidecars_are_waited_for(agent: FakeAgent) -> None:
    moving = {**EDGE, "state": "moving", "operation": {"before": "1.0.0", "after": "1.1.0"}}
    other = {**EDGE, "name": "other"}
    agent.sidecars = [EDGE, other]
    agent.looks = [[moving, other], [moving, other]]
    agent.history = [entry("kept", "passed", at=time.time() + 60)]
    done = agent.run("apply")
    assert done.exit_code == 0
    assert done.stderr == "edge: handing over\nedge: serving\n"
    assert done.stdout == "edge: kept: passed\nother: serving, release 1.0.0\n"


def test_what_this_apply_did_not_set_off_is_no_failure(agent: FakeAgent) -> None:
    waits = "release 1.1.0 is not tried again: error_rate 7.31%"
    agent.sidecars = [{**EDGE, "wanted": "1.1.0", "waits": waits}]
    agent.history = [entry("taken back", "error_rate 7.31%", at=time.time() - 60)]
    done = agent.run("apply")
    assert (done.exit_code, done.stdout) == (0, f"edge: {waits}\n")


def test_what_does_not_run_is_told_with_its_reason(agent: FakeAgent) -> None:
    agent.sidecars = [{**EDGE, "state": "waiting", "release": "", "waits": None}, {**EDGE, "name": "other"}]
    agent.history = [entry("cannot start", "exit code 3", at=time.time() - 60)]
    done = agent.run("apply")
    assert done.exit_code == 23
    assert done.stderr.startswith("hotswap-agent: edge: exit code 3; tried again by itself")


def test_one_failure_of_several_is_the_exit_code(agent: FakeAgent) -> None:
    agent.sidecars = [EDGE, {**EDGE, "name": "other"}]
    agent.history = [entry("taken back", "crashes 1", at=time.time() + 60)]
    done = agent.run("apply", "--json")
    assert done.exit_code == 20
    results = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert [(one["name"], one["exit_code"]) for one in results] == [("edge", 20), ("other", 0)]


def test_one_name_is_watched(agent: FakeAgent) -> None:
    assert agent.run("apply", "edge").stdout == f"edge: {DONE['message']}\n"
    assert agent.orders == [("/apply", {"name": "edge", "watch": True})]


def test_nobody_waits_who_does_not_want_to(agent: FakeAgent) -> None:
    assert agent.run("apply", "--no-wait").stdout == "read: edge\n"


def test_a_broken_spec_is_told_with_its_line(agent: FakeAgent) -> None:
    agent.broken = [{"file": "x.yaml", "error": "x.yaml:3: release: is missing; write release: 1.4.2"}]
    done = agent.run("apply")
    assert done.exit_code == 21
    assert done.stderr == "hotswap-agent: x.yaml:3: release: is missing; write release: 1.4.2\n"


def test_files_are_put_into_place(agent: FakeAgent, directory: Path) -> None:
    file = write(directory / "mine.yaml")
    done = agent.run("apply", str(file))
    assert done.exit_code == 0, done.stderr
    place = agent.specs / "edge.yaml"
    assert place.read_bytes() == file.read_bytes()
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert [one.name for one in agent.specs.iterdir()] == ["edge.yaml"]
    assert agent.orders[-1] == ("/apply", {"name": "edge", "watch": True})


def test_a_spec_replaces_the_one_of_the_same_name_wherever_it_stands(agent: FakeAgent, directory: Path) -> None:
    write(agent.specs / "10-edge.yaml", release="1.0.0")
    assert agent.run("apply", str(write(directory / "mine.yaml"))).exit_code == 0
    assert "1.1.0" in (agent.specs / "10-edge.yaml").read_text()
    assert not (agent.specs / "edge.yaml").exists()


def test_files_that_are_in_place_already_stay(agent: FakeAgent) -> None:
    file = write(agent.specs / "edge.yaml", config="edge.conf")
    before = file.stat()
    assert agent.run("apply", str(file)).exit_code == 0
    assert file.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: mine\nconfig: {conf}\n", "release is missing"),
        ("name: mine\nrelease: 1.1.0\nconfig: mine.conf\n", "config: is relative to its directory; write {conf}"),
        ("name: other\nrelease: 1.1.0\nconfig: {conf}\n", "mine.conf"),
        ("name: edge\nrelease: 1.1.0\nconfig: {good}\n", "is the name in"),
    ],
)
def test_of_files_with_a_mistake_none_is_put_into_place(
    agent: FakeAgent, directory: Path, text: str, told: str
) -> None:
    good = write(directory / "good.yaml")
    bad = write(directory / "mine.yaml", name="mine")
    bad.write_text(text.format(conf=directory / "mine.conf", good=directory / "good.conf"))
    done = agent.run("apply", str(good), str(bad))
    assert done.exit_code == 21
    assert told.format(conf=directory / "mine.conf") in done.stderr
    assert [*agent.specs.iterdir()] == []
    assert agent.orders == []


def test_the_file_of_another_sidecar_is_not_replaced(agent: FakeAgent, directory: Path) -> None:
    other = write(agent.specs / "edge.yaml", name="other")
    before = other.read_text()
    done = agent.run("apply", str(write(directory / "mine.yaml")))
    assert done.exit_code == 21
    assert "edge.yaml is the spec of other; rename that file first" in done.stderr
    assert other.read_text() == before
