"""`hotswap-agent` with a real agent: what it says is what becomes of a sidecar, whoever dies meanwhile."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import msgspec
import pytest
import yaml

from tests.kit.agents import PATIENCE, Agents
from tests.kit.companion import ROOT
from tests.kit.ports import loopback
from tests.kit.stage import Stage, configuration
from tests.kit.waiting import eventually

OLD, NEW = "1.0.0", "1.1.0"

pytestmark = pytest.mark.all


class Edge:
    """An agent with one sidecar."""

    def __init__(self, stage: Stage, bake: str) -> None:
        self.agents = Agents(stage.directory / "agent", stage.offspring)
        self.config = stage.directory / "edge.conf"
        self.config.write_text(yaml.safe_dump(configuration(loopback(), loopback(), stage.upstreams())))
        self.spec: dict[str, object] = {
            "name": "edge",
            "release": OLD,
            "config": str(self.config),
            "upgrade": {"bake": bake},
        }
        self._commands: list[subprocess.Popen[str]] = []
        for release in (OLD, NEW):
            self.agents.release(release)

    def start(self) -> None:
        self.agents.specs.joinpath("edge.yaml").write_text(yaml.safe_dump(self.spec))
        self.agents.start()
        self.agents.serves("edge", OLD)

    def watch(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        command = [*self.agents.program(), *arguments, "--socket", str(self.agents.socket)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._commands.append(process)
        return process

    def close(self) -> None:
        for process in self._commands:
            process.kill()
            process.communicate()


@pytest.fixture
def edge(stage: Stage) -> Iterator[Edge]:
    made = Edge(stage, "2s")
    try:
        yield made
    finally:
        made.close()
        print(made.agents.said())


def state(edge: Edge) -> str:
    return str(edge.agents.sidecar("edge").get("state"))


def test_a_spec_is_put_into_place_and_upgraded(edge: Edge, stage: Stage) -> None:
    agents = edge.agents
    agents.start()
    file = stage.directory / "mine.yaml"
    file.write_text(yaml.safe_dump(edge.spec))
    done = agents.agent("apply", str(file), "--settings", str(agents.settings))
    assert done.returncode == 0, done.stderr
    assert (agents.specs / "edge.yaml").read_bytes() == file.read_bytes()
    assert agents.sidecar("edge")["release"] == OLD
    done = agents.agent("upgrade", "edge", "--release", NEW)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"edge: release {NEW} serves\n"
    assert "edge: baking" in done.stderr
    assert agents.agent("upgrade", "edge", "--release", NEW).returncode == 0  # it does already
    assert agents.agent("upgrade", "egde").returncode == 24
    assert agents.agent("apply").returncode == 0
    assert agents.agent("rollback", "edge").returncode == 0
    assert agents.sidecar("edge")["release"] == OLD
    assert agents.agent("rollback", "edge").returncode == 25
    assert "edge  serving" in agents.agent("status").stdout
    assert "went back" in agents.agent("history", "edge").stdout
    done = agents.agent("upgrade", "edge", "--release", "9.9.9")
    assert done.returncode == 22
    assert "release 9.9.9 is missing" in done.stderr


@pytest.mark.parametrize("point", ["agent.rehearsing.after", "agent.baking.after"])
def test_who_watches_an_agent_that_is_killed_hears_the_verdict_all_the_same(edge: Edge, point: str) -> None:
    agents = edge.agents
    edge.start()
    agents.arm(f"{point}:kill")
    process = edge.watch("upgrade", "edge", "--release", NEW)
    assert agents.ended() == -signal.SIGKILL
    agents.disarm()
    agents.start()
    out, err = process.communicate(timeout=PATIENCE)
    assert "waiting for it to come back" in err
    assert process.returncode in ({0} if "baking" in point else {0, 10}), out + err
    whats = [line.partition(":")[0] for line in agents.decisions("edge")]
    assert (process.returncode == 0) is (whats[-1] == "kept"), whats


def test_an_agent_that_is_stopped_in_a_bake_lets_go_of_who_watches(edge: Edge) -> None:
    agents = edge.agents
    edge.spec["upgrade"] = {"bake": "10s"}
    edge.start()
    process = edge.watch("upgrade", "edge", "--release", NEW, "--json")
    eventually(lambda: state(edge) == "baking", within=PATIENCE, what="it bakes")
    agents.kill(signal.SIGTERM)
    agents.start()
    out, err = process.communicate(timeout=PATIENCE)
    events = [msgspec.json.decode(line) for line in out.splitlines()]
    assert process.returncode == 0, err
    assert events[-1]["event"] == "result"
    assert events[-1]["ok"]
    assert events[-1]["release"] == NEW
