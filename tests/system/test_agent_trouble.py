"""An agent among operators, editors and leftovers: what they do to it hurts no sidecar."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.agents import NEW, OLD, PATIENCE, Watched
from tests.kit.stage import Stage
from tests.kit.versions import edit
from tests.kit.waiting import Deadline, eventually

KEYS = {"health": {"interval": "200ms"}, "upgrade": {"bake": "0s"}}


@pytest.fixture
def edge(stage: Stage) -> Iterator[Watched]:
    made = Watched(stage, **KEYS)
    try:
        yield made
    finally:
        print(made.agents.said())


def takes_long(lib: Path) -> None:
    """It says nothing for a minute."""
    edit(
        lib / "proxy/cli/run.py",
        "    raise_open_files()\n",
        "    __import__('threading').Event().wait(60)\n    raise_open_files()\n",
    )


@pytest.mark.all
def test_an_editor_that_saves_by_removing_the_file_stops_nothing(edge: Watched) -> None:
    pid = edge.start()
    file = edge.agents.specs / "edge.yaml"
    text = file.read_text()
    file.unlink()
    deadline = Deadline(1.0)  # longer than the agent takes to see it
    eventually(lambda: deadline.passed, within=PATIENCE, what="the agent saw that it is away")
    file.write_text(text + "# saved\n")
    deadline = Deadline(3.0)
    eventually(lambda: deadline.passed, within=PATIENCE, what="as long as it takes to be gone")
    assert edge.agents.serves("edge", OLD)["pid"] == pid
    assert not [one for one in edge.agents.decisions("edge") if one.startswith("stopped")]
    file.unlink()
    assert edge.agents.agent("apply").returncode == 0  # somebody says so: at once
    eventually(lambda: not edge.agents.sidecar("edge"), within=PATIENCE, what="it is gone")


@pytest.mark.all
def test_a_sidecar_whose_spec_went_while_there_was_no_agent_is_stopped(edge: Watched) -> None:
    edge.start()
    edge.agents.kill()
    (edge.agents.specs / "edge.yaml").unlink()
    edge.agents.start()
    eventually(lambda: not edge.agents.sidecar("edge"), within=PATIENCE, what="it is stopped and forgotten")
    with pytest.raises(ConnectionRefusedError):
        edge.status()


@pytest.mark.all
def test_an_agent_that_is_told_to_end_waits_for_no_rehearsal(edge: Watched) -> None:
    pid = edge.start()
    edge.agents.release(NEW, takes_long)
    edge.want(NEW)
    eventually(lambda: edge.agents.sidecar("edge").get("state") == "rehearsing", within=PATIENCE, what="a rehearsal")
    deadline = Deadline(20.0)  # the order itself takes 60 s to be given up
    edge.agents.kill(signal.SIGTERM)
    assert not deadline.passed
    assert edge.status() == 200
    edge.want(OLD)
    edge.agents.start()
    assert edge.agents.serves("edge", OLD)["pid"] == pid


@pytest.mark.all
def test_leftovers_and_strange_names_keep_no_agent_from_its_work(edge: Watched) -> None:
    pid = edge.start()
    edge.agents.kill()
    stray = edge.agents.state / "sidecars/not a sidecar"
    stray.mkdir()
    (stray / "memory.json").write_text("{}")
    (edge.agents.state / "sidecars/edge/memory.json").write_text("{")
    Path(os.fsdecode(os.fsencode(edge.agents.specs) + b"/caf\xe9.yaml")).write_text("name: cafe\n")
    edge.agents.start()
    assert edge.agents.serves("edge", OLD)["pid"] == pid
    (broken,) = edge.agents.ask("status")["broken_specs"]
    assert "no UTF-8" in broken["error"]
    assert edge.agents.agent("apply").returncode == 21


@pytest.mark.all
def test_a_configuration_that_is_broken_when_a_crash_comes_can_be_mended(edge: Watched) -> None:
    pid = edge.start()
    text = edge.config.read_text()
    edge.config.write_text("listeners: [")
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: [one for one in edge.agents.decisions("edge") if one.startswith("died")], within=PATIENCE, what="death"
    )
    edge.config.write_text(text)
    eventually(lambda: edge.agents.sidecar("edge").get("health", {}).get("word") == "ready", within=PATIENCE, what="up")
    assert edge.status() == 200


@pytest.mark.all
def test_upgrades_there_and_back_leave_nothing_behind(edge: Watched) -> None:
    edge.start()
    edge.agents.release(NEW)

    def there_and_back() -> tuple[int, int]:
        done = edge.agents.agent("upgrade", "edge", "--release", NEW)
        assert done.returncode == 0, done.stderr
        done = edge.agents.agent("upgrade", "edge", "--release", OLD)
        assert done.returncode == 0, done.stderr
        agent = Path(f"/proc/{edge.agents.pid}")
        files = sum(1 for one in edge.agents.state.glob("*") for _ in [one])
        return len(list((agent / "fd").iterdir())), files

    first = there_and_back()
    for _ in range(4):
        last = there_and_back()
    assert last[0] <= first[0] + 1
    assert last[1] == first[1]


@pytest.mark.all
def test_a_sidecar_that_hung_while_there_was_no_agent_is_started_anew(edge: Watched) -> None:
    pid = edge.start()
    edge.agents.kill()
    os.kill(pid, signal.SIGSTOP)
    edge.agents.start()
    eventually(lambda: edge.agents.sidecar("edge").get("pid") not in {pid, None, 0}, within=PATIENCE, what="a new one")
    edge.agents.serves("edge", OLD)
    assert edge.status() == 200
