from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.machine import PROGRAMS, Machine
from tests.kit.waiting import eventually

pytestmark = pytest.mark.all

HELLO = """[Unit]
Description=Says hello

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/echo hello from a unit
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine("kit") as booted:
        yield booted


def test_a_unit_is_installed_started_and_heard(machine: Machine) -> None:
    machine.install({"/etc/systemd/system/hello.service": HELLO})
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "hello")
    assert machine.show("hello", "ActiveState", "Result") == {"ActiveState": "active", "Result": "success"}
    eventually(lambda: "hello from a unit" in machine.journal("hello"), within=10, what="the journal has it")


def test_the_checkout_runs_in_there_as_anybody(machine: Machine) -> None:
    said = machine.run("setpriv", "--reuid=nobody", "--clear-groups", f"{PROGRAMS}/hotswap", "--version")
    assert said.startswith("hotswap")


def test_nothing_else_runs_in_there(machine: Machine) -> None:
    failed = machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    running = machine.run("systemctl", "list-units", "--state=running", "--type=service", "--plain", "--no-legend")
    assert failed == ""
    assert {line.split()[0] for line in running.splitlines()} <= {"systemd-journald.service", "dbus.service"}


def test_nothing_is_left_of_it() -> None:
    with Machine("gone") as machine:
        name = machine.name
        machine.install({"/etc/left": "behind"})
    assert name not in Path("/proc/self/mounts").read_text()
    assert not Path("/etc/left").exists()
    assert list(Path("/run").glob(f"{name}*")) == []
    assert list(Path("/sys/fs/cgroup").glob(f"*/{name}")) == []
