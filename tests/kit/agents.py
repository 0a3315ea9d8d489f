"""An agent with its sidecars: a directory of specs, a source of releases, and `hotswap-agent run` over them.

    with Agents(directory, offspring) as agents:
        agents.release("1.0.0")
        agents.release("1.1.0", fails_requests)
        agents.spec("edge", release="1.0.0", config=...)
        agents.start()

A release here is a directory: copies of the packages with a program of its own, as `tests.kit.versions` makes them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from hotswap import __version__
from hotswap.faults import VARIABLE as FAULTS
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.load import Load, Plan
from tests.kit.offspring import Offspring, kill
from tests.kit.ports import loopback
from tests.kit.stage import BREEZE, Stage, configuration
from tests.kit.versions import PACKAGES, edit
from tests.kit.waiting import eventually

PATIENCE = 60.0
OLD, NEW = "1.0.0", "1.1.0"

Defect = Callable[[Path], None]
"""Does something to the packages of a release, in this directory."""

_PROGRAM = """#!{python} -P
import os, sys
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "lib")]
sys.path.append({packages!r})
from hotswap.cli.main import main
main()
"""


_RAISE = "        raise RuntimeError('out of order')\n"


def fails_to_start(lib: Path) -> None:
    """It ends before it says anything."""
    edit(lib / "proxy/cli/run.py", "    raise_open_files()\n", "    sys.exit('out of order')\n")


def fails_to_restore(lib: Path) -> None:
    """It starts, and ends over what it is given."""
    line = "saved: Saved, now: float) -> None:\n"
    edit(lib / "proxy/homes.py", line, f"{line}{_RAISE}")


def fails_requests(lib: Path) -> None:
    """Everything moves to it, and then it has no endpoint for any new request."""
    edit(
        lib / "proxy/cluster.py",
        "        if subset:\n            return self._pick_of(subset, tried)\n",
        "        return None\n",
    )


def takes_its_time(lib: Path) -> None:
    """It thinks for 30 ms whenever something happens."""
    line = "        for at in range(count):\n"
    edit(lib / "proxy/reactor.py", line, f"        if count:\n            __import__('time').sleep(0.03)\n{line}")


def make_release(
    source: Path, version: str, *defects: Defect, python: str = sys.executable, packages: str = "", name: str = "edge-"
) -> Path:
    """A release in the source directory; `packages`: where dependencies are."""
    place = source / f"{name}{version}"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, place / "lib" / package, ignore=shutil.ignore_patterns("__pycache__", "native"))
    edit(place / "lib/hotswap/__init__.py", f'__version__ = "{__version__}"', f'__version__ = "{version}"')
    for defect in defects:
        defect(place / "lib")
    program = place / "bin/hotswap"
    program.parent.mkdir()
    program.write_text(_PROGRAM.format(python=python, packages=packages or sysconfig.get_path("purelib")))
    program.chmod(0o755)
    return place


class Agents:
    """One agent, on this machine, with its sidecars as its own children unless `settings` say otherwise."""

    def __init__(self, directory: Path, offspring: Offspring, **settings: Any) -> None:
        self.directory = directory
        self.specs = directory / "specs"
        self.source = directory / "source"
        self.runtime_dir = directory / "run"
        self.state = directory / "state"
        self.socket = self.runtime_dir / "agent.sock"
        self.log = directory / "agent.log"
        self.faults_file = directory / "faults"
        self.pid = 0
        self._offspring = offspring
        for one in (self.specs, self.source, self.runtime_dir):
            one.mkdir(parents=True)
        self.settings = directory / "agent.yaml"
        keys = {
            "specs": str(self.specs),
            "state": str(self.state),
            "runtime_dir": str(self.runtime_dir),
            "runner": "children",
            "releases": {"source": str(self.source)},
        }
        self.settings.write_text(yaml.safe_dump(keys | settings))

    def release(self, version: str, *defects: Defect) -> Path:
        """A release that can be installed."""
        return make_release(self.source, version, *defects)

    def spec(self, name: str, *, release: str, config: Path, **keys: Any) -> Path:
        """Write a spec; it counts as soon as the agent sees it."""
        file = self.specs / f"{name}.yaml"
        fresh = file.with_name(f".{name}.new")
        fresh.write_text(yaml.safe_dump({"name": name, "release": release, "config": str(config), **keys}))
        fresh.replace(file)
        return file

    def start(self) -> int:
        """Start the agent and wait until it answers."""
        self.launch()
        eventually(self._answers, within=PATIENCE, what="the agent answers")
        return self.pid

    def launch(self, **environment: str) -> int:
        """Start it."""
        self.pid = self._offspring.start(
            [*self.program(), "run", "--settings", str(self.settings)],
            env={**self._offspring.environment, FAULTS: str(self.faults_file), **environment},
            cwd=self.directory,
            stderr=self.log,
        )
        return self.pid

    def program(self) -> Sequence[str]:
        """`hotswap-agent`."""
        return (sys.executable, "-m", "vm_agent.cli.main")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the agent, and wait for it."""
        kill(self.pid, number)
        self._offspring.status(self.pid, within=PATIENCE)

    def arm(self, *faults: str) -> None:
        """The agent's next upgrade, or its next life, fails at these points: `agent.baking.after:kill`."""
        self.faults_file.write_text("\n".join(faults) + "\n")

    def disarm(self) -> None:
        """It does not any more."""
        self.faults_file.unlink(missing_ok=True)

    def ended(self) -> int:
        """Wait until the agent ends by itself; its exit code, negative for a signal."""
        return self._offspring.status(self.pid, within=PATIENCE)

    def agent(self, *arguments: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run `hotswap-agent` to its end."""
        return subprocess.run(
            [*self.program(), *arguments, "--socket", str(self.socket)],
            env=self._offspring.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The same with --json, which must succeed."""
        done = self.agent(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.said()}"
        answer: dict[str, Any] = msgspec.json.decode(done.stdout)
        return answer

    def sidecar(self, name: str) -> dict[str, Any]:
        """What the agent says of a sidecar; empty if it does not answer, or knows none."""
        done = self.agent("status", name, "--json")
        if done.returncode:
            return {}
        found: list[dict[str, Any]] = msgspec.json.decode(done.stdout)["sidecars"]
        return found[0]

    def serves(self, name: str, release: str, *, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until this release serves, and nothing is under way."""

        def look() -> dict[str, Any] | None:
            told = self.sidecar(name)
            return told if told.get("state") == "serving" and told["release"] == release else None

        return eventually(look, within=within, what=f"{name} serves {release}") or {}

    def current(self, name: str) -> str:
        """The release that would be started."""
        return (self.state / "sidecars" / name / "current").readlink().name

    def decisions(self, name: str) -> list[str]:
        """What stands in the history of a sidecar, each entry as ``what: text``."""
        entries = self.ask("history", name)["history"]
        return [f"{entry['what']}: {entry['text']}" for entry in entries]

    def said(self) -> str:
        """The end of the agent's log."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else "nothing"

    def _answers(self) -> bool:
        return self.agent("status", "--json").returncode == 0


class Watched:
    """A sidecar `edge` of an agent, before an upstream of the stage. `keys` stand in each of its specs."""

    def __init__(self, stage: Stage, **keys: Any) -> None:
        self.stage = stage
        self.agents = Agents(stage.directory / "agent", stage.offspring)
        self.web, self.raw = loopback(), loopback()
        self.config = stage.directory / "edge.yaml"
        self.config.write_text(yaml.safe_dump(configuration(self.web, self.raw, stage.upstreams())))
        self.keys = keys
        self.oldest = self.agents.release(OLD)

    def want(self, release: str, **keys: Any) -> Path:
        """Write its spec."""
        return self.agents.spec("edge", release=release, config=self.config, **(self.keys | keys))

    def start(self) -> int:
        """Start the agent, and wait until the oldest release serves; its pid."""
        self.want(OLD)
        self.agents.start()
        pid: int = self.agents.serves("edge", OLD)["pid"]
        return pid

    def load(self, plan: Plan = BREEZE) -> Load:
        """Running clients."""
        return self.stage.load(msgspec.structs.replace(plan, http=self.web, tcp=self.raw))

    def status(self) -> int:
        """What a new client is answered."""
        with Client(self.web) as client:
            return client.ask("/bytes?n=10").status
