"""Sidecars as units of a real systemd, ordered by the runner from inside that machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.hotswap.echo import Options
from tests.kit.companion import Companion
from tests.kit.machine import PROGRAMS, PYTHON, TREE, Machine
from tests.vm_agent.runners.orders import Answer, Wanted
from vm_agent.spec.model import Limits

pytestmark = pytest.mark.all

PATIENCE = 60.0
ADDRESS = "127.0.0.1:7000"
UNIT = "hotswap-sidecar-echo.service"
INTERPRETER = f"{'/usr' if sys.base_prefix == '/usr' else PYTHON}/bin/python3.{sys.version_info[1]}"
PACKAGES = f"{TREE}:{TREE}/.venv/lib/python3.{sys.version_info[1]}/site-packages"
ENVIRONMENT = {"PYTHONPATH": PACKAGES, "PYTHONDONTWRITEBYTECODE": "1"}


class Inside(Companion):
    """The runner in the machine."""

    def __init__(self, machine: Machine, *bus: str) -> None:
        self.module = "orders"
        words = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        argv = machine.command("env", "-C", TREE, *words, INTERPRETER, "-m", "tests.vm_agent.runners.orders", *bus)
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._unread = b""

    def stop(self) -> None:
        """By the end of its input: whoever kills nsenter orphans what runs in the machine, which then cannot end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def order(self, do: str, **what: Any) -> Any:
        answer = self.attempt(do, **what)
        assert not answer.error, answer.error
        return answer.result

    def attempt(self, do: str, **what: Any) -> Answer:
        return msgspec.json.decode(self.ask({"do": do, **what}, within=PATIENCE), type=Answer)


EDGE = """\
name: edge
listeners:
  - {name: raw, address: "127.0.0.1:7100", protocol: tcp, cluster: db}
clusters:
  - {name: db, endpoints: ["127.0.0.1:7101"]}
"""


def wanted(**changes: Any) -> Wanted:
    options = Options("/run/hotswap", ADDRESS)
    command = (INTERPRETER, "-m", "tests.hotswap.echo", msgspec.json.encode(options).decode())
    return msgspec.structs.replace(Wanted("echo", command, "/run/hotswap", ENVIRONMENT, directory=TREE), **changes)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine("units") as made:
        yield made


@pytest.fixture
def inside(machine: Machine) -> Iterator[Inside]:
    made = Inside(machine)
    try:
        yield made
        made.order("stop")
    finally:
        made.stop()
        machine.run("systemctl", "stop", UNIT, check=False)
        print(machine.journal(UNIT)[-8000:])


def test_a_machine_with_systemd_is_looked_after_by_units(inside: Inside) -> None:
    assert inside.order("chose") == "systemd"
    assert inside.order("look") is None
    assert inside.order("adopt", wanted=wanted()) is False


def test_a_sidecar_is_started_looked_at_and_stopped(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    running = inside.order("look")
    assert (running["ready"], running["restarts"], running["ending"]) == (True, 0, "")
    assert machine.show(UNIT, "MainPID", "ActiveState") == {"MainPID": str(running["pid"]), "ActiveState": "active"}
    assert inside.order("say", address=ADDRESS, text="hello") == "1 of 1: hello"
    assert inside.order("until", restarts=0)["kept"] >= 1
    inside.order("stop")
    assert inside.order("look") is None
    assert machine.show(UNIT, "LoadState")["LoadState"] == "not-found"


def test_after_a_death_nobody_is_refused_and_it_is_served_soon(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    pid = inside.order("look")["pid"]
    answer, seconds = inside.order("die", pid=pid, address=ADDRESS, text="soon")
    print(f"served {seconds * 1000:.0f} ms after the kill")
    assert answer == "1 of 1: soon"
    running = inside.order("until", restarts=1)
    assert running["pid"] != pid
    assert running["ending"] == "killed by signal 9"
    assert "echo" in inside.order("told")
    machine.run("kill", "-TERM", str(running["pid"]))  # it drains, and ends well
    assert inside.order("until", restarts=2)["ending"] == "exit code 0"


def test_what_does_nothing_but_die_is_started_a_little_later(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    starts = machine.path("/run/hotswap/echo/starts")
    now = Path("/proc/uptime").read_text().split(".")[0]
    assert len(starts.read_text().split()) == 1
    starts.write_text(f"{' '.join([now] * 12)}\n")
    answer, seconds = inside.order("die", pid=inside.order("look")["pid"], address=ADDRESS, text="hello")
    assert answer == "1 of 1: hello"
    assert seconds > 2.0
    assert len(starts.read_text().split()) == 13
    starts.write_text("no numbers at all\n")
    answer, _ = inside.order("die", pid=inside.order("look")["pid"], address=ADDRESS, text="hello")
    assert answer == "1 of 1: hello"


def test_kill_ends_one_that_hangs(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    pid = inside.order("look")["pid"]
    machine.run("systemctl", "kill", "--signal=STOP", UNIT)
    inside.order("kill")
    assert inside.order("until", restarts=1)["pid"] != pid


def test_the_watchdog_ends_one_that_is_stopped(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted(watchdog=1.0))
    machine.run("systemctl", "kill", "--signal=STOP", UNIT)
    assert inside.order("until", restarts=1)["ready"]


def test_a_start_that_fails_says_why_and_leaves_nothing(machine: Machine, inside: Inside) -> None:
    command = ("/bin/sh", "-c", "echo the configuration is wrong >&2; exit 3")
    failed = inside.attempt("start", wanted=wanted(command=command))
    assert failed.kind == "StartFailed"
    assert "the configuration is wrong" in failed.error
    assert "exit code 3" in failed.error
    assert machine.show(UNIT, "LoadState")["LoadState"] == "not-found"
    missing = inside.attempt("start", wanted=wanted(command=("/nowhere/hotswap", "run")))
    assert missing.kind == "StartFailed"
    assert "/nowhere/hotswap" in missing.error
    late = inside.attempt("start", wanted=wanted(command=("/bin/sleep", "600"), start_timeout=0.5))
    assert late.kind == "StartFailed"
    assert "not ready in time" in late.error
    inside.order("start", wanted=wanted())
    again = inside.attempt("start", wanted=wanted())
    assert again.kind == "StartFailed"
    assert inside.order("look")["ready"]


def test_limits_and_rights_are_properties_of_the_unit(machine: Machine, inside: Inside) -> None:
    limits = Limits(memory=512 << 20, memory_share=0.9, cpu=0.5, cpu_weight=40, oom_score_adj=300, open_files=5000)
    inside.order(
        "start", wanted=wanted(limits=limits, user="nobody", capabilities=("CAP_NET_BIND_SERVICE",), watchdog=20.0)
    )
    shown = {
        "MemoryMax": str(512 << 20),
        "CPUQuotaPerSecUSec": "500ms",
        "CPUWeight": "40",
        "OOMScoreAdjust": "300",
        "LimitNOFILE": "5000",
        "LimitNOFILESoft": "5000",
        "LimitCORE": "0",
        "User": "nobody",
        "AmbientCapabilities": "cap_net_bind_service",
        "CapabilityBoundingSet": "cap_net_bind_service",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "KillMode": "process",
        "NotifyAccess": "all",
        "Restart": "always",
        "RestartUSec": "0",
        "FileDescriptorStoreMax": "512",
        "WatchdogUSec": "20s",
        "RuntimeDirectory": "hotswap/echo",
    }
    assert machine.show(UNIT, *shown) == shown
    pid = inside.order("look")["pid"]
    assert machine.run("cat", f"/proc/{pid}/oom_score_adj") == "300\n"
    assert machine.run("stat", "-c", "%U %a", "/run/hotswap/echo") == "nobody 700\n"
    inside.order("limit", wanted=wanted(limits=limits, user="nobody"))  # as an agent does that begins
    settled = {"DropInPaths": "", "NeedDaemonReload": "no"}
    assert machine.show(UNIT, *settled) == settled
    fewer = Limits(memory=256 << 20, cpu=2.0, cpu_weight=60, oom_score_adj=400, open_files=4000)
    missed = inside.order("limit", wanted=wanted(limits=fewer, user="nobody"))
    assert [text.partition(":")[0] for text in missed] == ["oom_score_adj", "open_files"]
    changed = {"MemoryMax": str(256 << 20), "CPUQuotaPerSecUSec": "2s", "CPUWeight": "60"}
    assert machine.show(UNIT, *changed) == changed
    assert machine.run("cat", f"/proc/{pid}/oom_score_adj") == "400\n"


def test_the_next_agent_adopts_the_unit(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    pid = inside.order("look")["pid"]
    other = Inside(machine)
    try:
        assert other.order("adopt", wanted=wanted()) is True
        assert other.order("look")["pid"] == pid
        _, _ = other.order("die", pid=pid, address=ADDRESS, text="soon")
        other.order("until", restarts=1)
        assert "echo" in other.order("told")
    finally:
        other.stop()


def test_systemd_may_be_executed_anew_under_it(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    pid = inside.order("look")["pid"]
    machine.run("systemctl", "daemon-reexec")
    assert inside.order("look")["pid"] == pid
    answer, _ = inside.order("die", pid=pid, address=ADDRESS, text="soon")
    assert answer == "1 of 1: soon"
    inside.order("until", restarts=1)
    assert "echo" in inside.order("told")


def test_the_system_bus_will_do_as_well(machine: Machine) -> None:
    if machine.attempt("systemctl", "start", "dbus.service").returncode:
        pytest.skip("dbus-daemon is not installed")
    other = Inside(machine, "/run/dbus/system_bus_socket")
    try:
        other.order("start", wanted=wanted())
        pid = other.order("look")["pid"]
        _, _ = other.order("die", pid=pid, address=ADDRESS, text="soon")
        other.order("until", restarts=1)
        assert "echo" in other.order("told")
        other.order("stop")
        assert other.order("look") is None
    finally:
        other.stop()


def test_an_upgrade_moves_the_main_process(machine: Machine, inside: Inside) -> None:
    inside.order("start", wanted=wanted())
    pid = inside.order("look")["pid"]
    words = [f"{name}={value}" for name, value in {**ENVIRONMENT, "HOTSWAP_RUNTIME_DIR": "/run/hotswap"}.items()]
    machine.run("env", "-C", TREE, *words, INTERPRETER, "-m", "hotswap.cli", "upgrade", "echo")
    running = inside.order("until", restarts=0)
    assert running["pid"] != pid
    assert inside.order("say", address=ADDRESS, text="hello") == "1 of 1: hello"


def test_the_real_proxy_is_replaced_by_a_reload_of_its_unit_and_is_well_locked_in(
    machine: Machine, inside: Inside
) -> None:
    machine.install({"/etc/hotswap/edge.yaml": EDGE})
    command = (f"{PROGRAMS}/hotswap", "run", "-c", "/etc/hotswap/edge.yaml")
    proxy = Wanted("edge", command, "/run/hotswap", {}, user="nobody", capabilities=("CAP_NET_BIND_SERVICE",))
    of = "hotswap-sidecar-edge.service"
    inside.order("start", wanted=proxy)
    try:
        pid = inside.order("look", name="edge")["pid"]
        machine.run("systemctl", "reload", of)
        shown = machine.show(of, "MainPID", "NRestarts", "ActiveState", "SubState", "Result")
        assert int(shown.pop("MainPID")) not in {0, pid}
        assert shown == {"NRestarts": "0", "ActiveState": "active", "SubState": "running", "Result": "success"}
        security = machine.run("systemd-analyze", "security", "--no-pager", of)
        exposure = float(security.rpartition("Overall exposure level for")[2].split(":")[1].split()[0])
        assert exposure <= 3.0
    finally:
        inside.order("stop", name="edge")
    assert machine.show(of, "LoadState")["LoadState"] == "not-found"
