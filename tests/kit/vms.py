"""A virtual machine with the agent on it and one sidecar, `edge`, as an operator would set it up."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.kit.agents import Defect, make_release
from tests.kit.companion import ROOT
from tests.kit.machine import PYTHON, TREE, Machine
from tests.kit.waiting import eventually

PATIENCE = 60.0
SOURCE = "/srv/hotswap/releases"
CONFIG = "/etc/hotswap/edge.yaml"
SPEC = "/etc/hotswap/sidecars/edge.yaml"
FAULTS = "/run/hotswap-faults"

# A test arms one fault; whatever it did, the next agent is a sound one.
_DROP_IN = f"""[Service]
Environment=HOTSWAP_FAULTS={FAULTS}
ExecStopPost=/bin/rm -f {FAULTS}
"""


def units() -> dict[str, str]:
    """What is in systemd/, by the place where it belongs."""
    places = {"sysusers.d": "/usr/lib/sysusers.d", "tmpfiles.d": "/usr/lib/tmpfiles.d"}
    found = {}
    for path in sorted((ROOT / "systemd").rglob("*")):
        if path.is_file():
            found[f"{places.get(path.parent.name, '/etc/systemd/system')}/{path.name}"] = path.read_text()
    return found


def release_of_machines(source: Path, version: str, *defects: Defect) -> Path:
    """A release whose interpreter and dependencies are where a `Machine` has them."""
    number = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python = "/usr" if sys.base_prefix == "/usr" else PYTHON
    packages = f"{TREE}/.venv/lib/{number}/site-packages"
    made = make_release(source, version, *defects, python=f"{python}/bin/{number}", packages=packages)
    for path in (source, *source.parents):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o555)
    return made


class Vm:
    """One of them, booted already. `config` is the sidecar's, `keys` go into its spec."""

    def __init__(self, machine: Machine, config: dict[str, Any], release: str, **keys: Any) -> None:
        self.machine = machine
        self._keys: dict[str, Any] = {
            "name": "edge",
            "release": release,
            "config": CONFIG,
            "run": {"user": "hotswap", "limits": {"memory": "512M", "cpu": 0.5, "oom_score_adj": 500}},
            "health": {"interval": "500ms", "timeout": "1s", "failures": 3},
            "upgrade": {"bake": "1s", "abort_if": {"error_rate": "5%", "crashes": 1}, "min_requests": 10},
        }
        self._keys |= keys
        machine.install(units())
        machine.install(
            {
                "/etc/systemd/system/hotswap-agent.service.d/test.conf": _DROP_IN,
                CONFIG: yaml.safe_dump(config),
            }
        )
        machine.run("systemd-sysusers")
        machine.run("systemd-tmpfiles", "--create")
        self.write_spec()
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "hotswap-agent")
        self.serves(release)

    def write_spec(self, **keys: Any) -> None:
        """Have it say something else, too."""
        self._keys |= keys
        self.machine.install({SPEC: yaml.safe_dump(self._keys)})

    def agent(self, *arguments: str) -> Any:
        """`hotswap-agent` in there, whatever comes of it."""
        return self.machine.attempt("hotswap-agent", *arguments)

    def sidecar(self) -> dict[str, Any]:
        """What the agent says; empty if it does not answer."""
        done = self.agent("status", "edge", "--json")
        if done.returncode:
            return {}
        told: dict[str, Any] = msgspec.json.decode(done.stdout)["sidecars"][0]
        return told

    def serves(self, release: str) -> dict[str, Any]:
        """Wait until this release serves, and nothing is under way."""

        def look() -> dict[str, Any] | None:
            told = self.sidecar()
            return told if told.get("state") == "serving" and told["release"] == release else None

        return eventually(look, within=PATIENCE, what=f"{release} serves") or {}

    def decisions(self) -> list[str]:
        """The history, each entry as ``what: text``."""
        done = self.agent("history", "edge", "--json")
        assert done.returncode == 0, done.stdout
        return [f"{entry['what']}: {entry['text']}" for entry in msgspec.json.decode(done.stdout)["history"]]

    def arm(self, *faults: str) -> None:
        """The agent's next upgrade fails at these points; an agent that is started after that is sound."""
        self.machine.install({FAULTS: "\n".join(faults) + "\n"})

    def main_pid(self, unit: str = "hotswap-sidecar-edge") -> int:
        """As systemd has it."""
        return int(self.machine.show(unit, "MainPID")["MainPID"])

    def failed_units(self) -> str:
        """What systemd is not content with."""
        return self.machine.run("systemctl", "list-units", "--failed", "--no-legend", "--plain").strip()


def forget(source: Path) -> None:
    """Remove releases that a test made."""
    shutil.rmtree(source, ignore_errors=True)
