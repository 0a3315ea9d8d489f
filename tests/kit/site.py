"""A machine with the units of `systemd/`, in a network namespace where upstreams and clients are its neighbours."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import yaml

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.load import Load, Plan
from tests.kit.machine import Machine, needed
from tests.kit.networks import Network, command
from tests.kit.networks import needed as networks_needed
from tests.kit.processes import Plain
from tests.kit.stage import configuration, secure
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

PATIENCE = 60.0
UNITS = ROOT / "systemd"

WEB, RAW = "127.0.0.1:80", "127.0.0.1:81"  # ports that take a capability
SECURE_WEB, SECURE_RAW = "127.0.0.1:443", "127.0.0.1:444"
CERTIFICATES = "/etc/hotswap/tls"


class Site:
    """The proxy `edge` as hotswap-proxy@edge.service, off until `start`. A context manager."""

    unit = "hotswap-proxy@edge.service"

    def __init__(self, folder: Path, *, name: str = "site") -> None:
        needed()
        networks_needed()
        self.authority = Authority(folder / "authority")
        self.network = Network(f"hs{uuid.uuid4().hex[:8]}m")
        self.machine = Machine(name, netns=f"/run/netns/{self.network.name}")
        self.upstreams: Upstreams
        self.faults = "/etc/hotswap/faults"

    def __enter__(self) -> Self:
        try:
            self.machine.boot()
            places = ("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")
            self.upstreams = self.network.run(Upstreams, *places)
            self.upstreams.wait()
            self.install()
        except BaseException:
            self.machine.stop()
            command("ip", "netns", "del", self.network.name)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.upstreams.stop()
        self.machine.stop()
        command("ip", "netns", "del", self.network.name)

    def install(self) -> None:
        """As docs/systemd.md says."""
        units = {f"/etc/systemd/system/{one.name}": one.read_text() for one in UNITS.iterdir() if one.is_file()}
        tables = {f"/etc/{one}/hotswap.conf": (UNITS / one / "hotswap.conf") for one in ("sysusers.d", "tmpfiles.d")}
        self.machine.install(units | {path: file.read_text() for path, file in tables.items()})
        self.machine.run("systemd-sysusers")
        self.machine.run("systemd-tmpfiles", "--create", "hotswap.conf")
        self.machine.run("systemctl", "daemon-reload")

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit as `systemctl edit` does; without text take the change back."""
        place = f"/etc/systemd/system/{unit}.d/test.conf"
        self.machine.install({place: text})
        self.machine.run("systemctl", "daemon-reload")

    # -- the proxy --------------------------------------------------------------------------------

    def configure(self, change: Callable[[dict[str, Any]], object] = lambda _config: None) -> None:
        """Plain listeners and secure ones, before one http and one tcp upstream."""
        config = configuration(WEB, RAW, self.upstreams)
        behind_tls = configuration(SECURE_WEB, SECURE_RAW, self.upstreams)
        secure(behind_tls, self.authority, behind=False)
        pair = self.authority.issue("edge")
        for listener in behind_tls["listeners"]:
            listener["name"] = f"secure-{listener['name']}"
            listener["tls"] = {"certificates": [{kind: f"{CERTIFICATES}/edge.{kind}" for kind in ("cert", "key")}]}
        config["listeners"] += behind_tls["listeners"]
        change(config)
        keys = {f"{CERTIFICATES}/edge.{kind}": getattr(pair, kind).read_text() for kind in ("cert", "key")}
        self.machine.install({"/etc/hotswap/edge.yaml": yaml.dump(config, Dumper=Plain)})
        self.machine.install(keys, mode=0o600)
        self.machine.run("chown", "-R", "hotswap:", CERTIFICATES)

    def start(self) -> int:
        """Start the unit; the main process, as the machine numbers it."""
        self.machine.run("systemctl", "start", self.unit)
        return self.main_pid()

    def end(self) -> None:
        """Whatever a test did, the next one finds nothing of it."""
        self.machine.run("systemctl", "stop", "hotswap-proxy@edge.socket", self.unit, check=False)
        group = self.show("ControlGroup")["ControlGroup"]
        if group:
            kill = f"kill -9 $(cat /sys/fs/cgroup{group}/cgroup.procs) 2>/dev/null; true"
            self.machine.run("sh", "-c", kill)
        self.machine.run("sh", "-c", "rm -rf /etc/systemd/system/hotswap-*.d /run/hotswap/edge /etc/hotswap/faults")
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "reset-failed")

    def show(self, *properties: str) -> dict[str, str]:
        """Of its unit."""
        return self.machine.show(self.unit, *properties)

    def main_pid(self) -> int:
        """As systemd has it."""
        return int(self.show("MainPID")["MainPID"])

    def status(self) -> dict[str, Any]:
        """What `hotswap status --json` says."""
        said = self.machine.attempt("hotswap", "status", "edge", "--json").stdout
        try:
            found: dict[str, Any] = msgspec.json.decode(said)
        except msgspec.DecodeError:
            return {}
        return found

    def serving_pid(self) -> int:
        """Who answers as the owner; 0 if nobody does."""
        status = self.status()
        return int(status["pid"]) if status.get("state") == "serving" else 0

    def wait_settled(self, *, unlike: int = 0) -> int:
        """Until one process serves, and systemd takes it for the main one; its pid."""

        def settled() -> int:
            pid = self.serving_pid()
            shown = self.show("MainPID", "ActiveState", "SubState")
            active = (shown["ActiveState"], shown["SubState"]) == ("active", "running")
            return pid if pid and pid != unlike and active and int(shown["MainPID"]) == pid else 0

        return eventually(settled, within=PATIENCE, what="systemd and the proxy agree on who serves")

    def kill(self, pid: int, number: str = "KILL") -> None:
        """A signal to a process in there."""
        self.machine.run("kill", f"-{number}", str(pid))

    # -- its neighbours ---------------------------------------------------------------------------

    def load(self, plan: Plan, *, tls: bool = False) -> Load:
        """Clients of the proxy; use it as a context manager."""
        http, tcp = (SECURE_WEB, SECURE_RAW) if tls else (WEB, RAW)
        trusted = str(self.authority.file) if tls else ""
        return self.network.run(Load, msgspec.structs.replace(plan, http=http, tcp=tcp, tls=trusted))

    def client(self, address: str = WEB) -> Client:
        """One connection."""
        return self.network.run(Client, address)
