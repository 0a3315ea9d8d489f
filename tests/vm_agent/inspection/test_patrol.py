"""The patrol over a real proxy that was started by hand, as an agent finds it that takes it for its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.offspring import kill, wait_for_end
from tests.kit.processes import Instance
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually
from vm_agent.errors import SpecError
from vm_agent.history import Entry, History
from vm_agent.inspection import disks, generations, lives, logs, patrol, processes, segments, subject
from vm_agent.inspection.findings import Finding
from vm_agent.inspection.patrol import Patrol, changes, remembered
from vm_agent.lifecycle.desk import Desk
from vm_agent.lifecycle.driver import Driver
from vm_agent.lifecycle.states import State
from vm_agent.releases.store import Releases
from vm_agent.runners.base import Running
from vm_agent.spec.lists import CAPABILITIES
from vm_agent.spec.model import AgentSettings, Limits, Run, Spec, UpgradePolicy

PATIENCE = 20.0


class Runner:
    """Knows of one process."""

    kind = "children"

    def __init__(self) -> None:
        self.running: Running | None = None

    async def look(self, _name: str) -> Running | None:
        return self.running


class Agent:
    """As much of a daemon as a patrol looks at."""

    def __init__(self, directory: Path, runtime_dir: Path) -> None:
        for name in ("state", "specs"):
            (directory / name).mkdir(exist_ok=True)
        state = str(directory / "state")
        self.settings = AgentSettings(specs=str(directory / "specs"), state=state, runtime_dir=str(runtime_dir))
        self.broken: dict[str, SpecError] = {}
        self.runner = Runner()
        self.history = History(Path(state))
        releases = Releases(Path(state), self.settings.releases)
        self.desk = Desk(self.settings, releases, cast("Any", self.runner), self.history)

    def takes(self, instance: Instance, pid: int) -> Driver:
        """This is one of its sidecars."""
        status = instance.ask("/status")
        held = tuple(listener["address"] for listener in status["listeners"])
        self.runner.running = Running(pid=pid, ready=True, restarts=0, held=held)
        driver = self.desk.drivers[instance.name] = Driver(instance.name, self.desk)
        score = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        driver.spec = Spec(
            name=instance.name,
            release="1.0.0",
            config=str(instance.config_file),
            command=("bin/hotswap", *instance.run_arguments()),
            run=Run(limits=Limits(oom_score_adj=score), capabilities=CAPABILITIES, start_timeout=0.0),
            upgrade=UpgradePolicy(timeout=0.0),
        )
        driver.memory.state = State.SERVING
        driver.resumed = True
        return driver

    def patrol(self) -> Patrol:
        return Patrol(cast("Any", self))

    def decisions(self) -> list[tuple[str, str]]:
        return [(entry.what, entry.facts["finding"]) for entry in self.history.entries()]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setattr(disks, "judge", lambda _disks: [])  # whatever this machine's are like
    monkeypatch.setattr(segments, "look", list)
    monkeypatch.setattr(logs, "JOURNALS", ())
    return Agent(tmp_path, tmp_path / "run")


def words(found: list[Finding], sidecar: str = "edge") -> set[str]:
    return {one.what for one in found if one.sidecar == sidecar}


def test_an_agent_without_sidecars_finds_nothing(agent: Agent) -> None:
    assert asyncio.run(agent.patrol().findings()) == []


def test_what_is_new_and_what_is_gone_stands_once_in_the_history(agent: Agent) -> None:
    async def scenario() -> None:
        first = agent.patrol()
        agent.broken["edge.yaml"] = SpecError("edge.yaml:1: nothing")
        assert len(await first.findings()) == 1
        await first.findings()
        assert agent.decisions() == [("found", "broken_spec")]
        # Another agent knows it from the history.
        second = agent.patrol()
        await second.findings()
        assert agent.decisions() == [("found", "broken_spec")]
        agent.broken.clear()
        assert await second.findings() == []
        await second.findings()
        assert agent.decisions() == [("found", "broken_spec"), ("mended", "broken_spec")]

    asyncio.run(scenario())


def test_a_check_that_fails_is_a_finding_and_mends_nothing(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        walker = agent.patrol()
        agent.broken["edge.yaml"] = SpecError("edge.yaml:1: nothing")
        await walker.findings()

        def fail(_specs: object) -> list[Finding]:
            raise RuntimeError("a bug")

        monkeypatch.setattr(lives, "broken", fail)
        (found,) = await walker.findings()
        assert (found.what, found.place, found.severity) == ("patrol", "specs", "warning")
        assert "RuntimeError: a bug" in found.text
        assert agent.decisions() == [("found", "broken_spec"), ("found", "patrol")]

    asyncio.run(scenario())


def test_a_check_that_hangs_is_not_waited_for(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(patrol, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(lives, "broken", lambda _specs: release.wait() * [])
    try:
        (found,) = asyncio.run(agent.patrol().findings())
    finally:
        release.set()
    assert found.what == "patrol"
    assert "did not come back within 0.2 s" in found.text


def test_processes_that_cannot_be_looked_at_are_a_finding(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(processes, "everybody", fail)
    (found,) = asyncio.run(agent.patrol().findings())
    assert (found.what, found.place) == ("patrol", "processes")


def test_the_walk_goes_on_whatever_happens(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        agent.settings = AgentSettings(**{**_fields(agent.settings), "patrol": 0.01})
        walker = agent.patrol()
        seen = asyncio.Event()
        outcomes: Iterator[Callable[[], list[Finding]]] = iter([_bug, list])

        async def findings() -> list[Finding]:
            step = next(outcomes, None)
            if step is None:
                seen.set()
                return []
            return step()

        monkeypatch.setattr(walker, "findings", findings)
        task = asyncio.create_task(walker.walk())
        async with asyncio.timeout(PATIENCE):
            await seen.wait()
        task.cancel()

    asyncio.run(scenario())


def _fields(settings: AgentSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def _bug() -> list[Finding]:
    raise RuntimeError("a bug")


# -- a real proxy ---------------------------------------------------------------------------------


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge()


@pytest.fixture
def over(edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    made = Agent(tmp_path, edge.instance.runtime_dir)
    monkeypatch.setattr(segments, "look", list)
    return made


def test_a_proxy_that_serves_as_wanted_gives_no_cause(edge: Edge, over: Agent) -> None:
    driver = over.takes(edge.instance, edge.instance.status().pid)

    async def scenario() -> None:
        walker = over.patrol()
        found = await walker.findings()
        assert words(found) == {"version_drift"}, found  # it is none of the agent's releases
        driver.memory.paused = True
        assert words(await walker.findings()) == {"version_drift", "paused"}
        over.runner.running = Running(pid=edge.instance.status().pid, ready=True, restarts=0)
        assert "not_held" in words(await walker.findings())

    asyncio.run(scenario())


@pytest.mark.all
def test_one_that_is_stopped_does_not_answer_and_nothing_of_it_is_mended(
    edge: Edge, over: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = edge.instance.status().pid
    over.takes(edge.instance, pid)
    monkeypatch.setattr("vm_agent.lifecycle.sidecar._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(subject, "LOOK_SECONDS", 0.5)

    async def scenario() -> None:
        walker = over.patrol()
        await walker.findings()
        kill(pid, signal.SIGSTOP)
        try:
            assert "no_answer" in words(await walker.findings())
        finally:
            kill(pid, signal.SIGCONT)

    asyncio.run(scenario())
    assert ("mended", "version_drift") not in over.decisions()


@pytest.mark.all
def test_whoever_keeps_the_lock_of_a_sidecar_is_found(
    edge: Edge, over: Agent, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over.takes(edge.instance, edge.instance.status().pid)
    lock = edge.instance.runtime_dir / edge.instance.name / "lock"
    program = f"import os, signal; fd = os.open({str(lock)!r}, os.O_RDONLY); print('open', flush=True); signal.pause()"
    told = tmp_path / "told"
    argv = [sys.executable, "-I", "-c", program]
    pid = stage.offspring.start(argv, env=stage.offspring.environment, cwd=tmp_path, stderr=told)
    eventually(lambda: "open" in told.read_text(), within=PATIENCE, what="it opened the lock")
    monkeypatch.setattr(generations, "GRACE", -1.0)

    async def scenario() -> None:
        walker = over.patrol()
        left = [one for one in await walker.findings() if one.what == "leftover_generation"]
        assert [one.place for one in left] == [f"process {pid}"]
        kill(pid, signal.SIGKILL)
        wait_for_end(pid, within=PATIENCE)
        assert "leftover_generation" not in words(await walker.findings())

    asyncio.run(scenario())


@pytest.mark.all
def test_a_generation_that_drains_is_found_once_it_is_late(
    edge: Edge, over: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = edge.instance
    old = instance.status().pid
    with Client(edge.raw) as client:
        eventually(lambda: instance.status().connections > 0, within=PATIENCE, what="it is connected")
        instance.config["listeners"].pop()  # whoever is connected there stays with the old generation
        instance.write_config()
        assert instance.upgrade().exit_code == 0
        driver = over.takes(instance, instance.status().pid)

        async def scenario() -> None:
            walker = over.patrol()
            assert "leftover_generation" not in words(await walker.findings())
            monkeypatch.setattr(generations, "GRACE", -3600.0)
            assert driver.spec is not None
            (left,) = [one for one in await walker.findings() if one.what == "leftover_generation"]
            assert left.place == f"process {old}"
            assert "gave everything to generation 2" in left.text
            client.close()
            wait_for_end(old, within=PATIENCE)
            assert "leftover_generation" not in words(await walker.findings())

        asyncio.run(scenario())


@pytest.mark.all
def test_certificates_and_access_logs_are_those_that_a_real_proxy_tells(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    edge = stage.edge(authority=authority)
    pair = authority.issue("edge", days=5)  # renewed, by one that ends sooner
    eventually(
        lambda: edge.instance.status().server["certificates"][0]["serial"] == f"{pair.serial:x}",
        within=PATIENCE,
        what="the proxy shows the new certificate",
    )
    access = tmp_path / "access.log"
    for listener in edge.instance.config["listeners"]:
        listener["access_log"] = str(access)
    edge.instance.write_config()
    assert edge.instance.upgrade().exit_code == 0
    over = Agent(tmp_path, edge.instance.runtime_dir)
    over.takes(edge.instance, edge.instance.status().pid)

    async def scenario() -> None:
        walker = over.patrol()
        found = {one.what: one for one in await walker.findings() if one.sidecar == "edge"}
        assert (found["certificate"].severity, found["certificate"].place) == ("error", str(pair.cert))
        assert "log_volume" not in found
        monkeypatch.setattr(logs, "LARGE", 0)
        access.unlink()
        found = {one.what: one for one in await walker.findings() if one.sidecar == "edge"}
        assert "was removed" in found["log_volume"].text

    asyncio.run(scenario())


# -- pure -----------------------------------------------------------------------------------------


def finding(severity: Any = "warning", place: str = "", sidecar: str = "edge") -> Finding:
    return Finding(sidecar=sidecar, severity=severity, what="limits", place=place, text="so", remedy="mend")


@pytest.mark.parametrize(
    ("known", "found", "unseen", "new", "gone"),
    [
        ([], [], (), 0, 0),
        ([], [finding()], (), 1, 0),
        ([finding()], [finding()], (), 0, 0),
        ([finding()], [finding("error")], (), 1, 0),
        ([finding()], [finding(place="memory")], (), 1, 1),
        ([finding()], [], (), 0, 1),
        ([finding()], [], ("edge",), 0, 0),
        ([finding()], [], ("other",), 0, 1),
        ([finding(sidecar="")], [], ("edge",), 0, 1),
    ],
)
def test_differences_between_two_patrols(
    known: list[Finding], found: list[Finding], unseen: tuple[str, ...], new: int, gone: int
) -> None:
    fresh, vanished = changes({one.key: one for one in known}, found, unseen)
    assert (len(fresh), len(vanished)) == (new, gone)


def test_the_history_tells_what_was_not_mended() -> None:
    def entry(what: str, place: str, **facts: Any) -> Entry:
        return Entry(at=1.0, name="edge", what=what, text="so", facts={"finding": "limits", "place": place, **facts})

    entries = [
        entry("found", "memory", severity="error", remedy="mend"),
        entry("found", "open_files", severity="warning"),
        entry("mended", "memory"),
        Entry(at=1.0, name="edge", what="found", text="of an older agent", facts={}),
        Entry(at=1.0, name="edge", what="died", text="killed by signal 9"),
    ]
    known = remembered(entries)
    assert [(one.place, one.severity) for one in known.values()] == [("open_files", "warning")]
