from __future__ import annotations

from pathlib import Path
from typing import Any

import prctl
import pytest
from jeepney import DBusAddress, Parser, new_method_call

from vm_agent.errors import StartFailed
from vm_agent.runners import unit
from vm_agent.runners.base import Launch, Running
from vm_agent.runners.journal import first_attempt, how
from vm_agent.spec.model import Limits


def launch(**changes: Any) -> Launch:
    wanted = {
        "name": "edge",
        "command": ("/srv/current/bin/hotswap", "run", "-c", "/etc/edge.yaml"),
        "directory": Path("/srv"),
        "runtime_dir": Path("/run/hotswap"),
        **changes,
    }
    return Launch(**wanted)


def made(**changes: Any) -> dict[str, Any]:
    return {name: value for name, (_, value) in unit.properties(launch(**changes), 1000)}


def test_names_of_units_and_sidecars_belong_together() -> None:
    assert unit.unit_of("edge") == "hotswap-sidecar-edge.service"
    assert unit.name_of(unit.unit_of("a-b.c")) == "a-b.c"
    assert [unit.name_of(other) for other in ("hotswap-agent.service", "hotswap-sidecar-.service", "")] == [None] * 3
    path = "/org/freedesktop/systemd1/unit/hotswap_2dsidecar_2dedge_2eservice"
    assert unit.unit_at(path) == "hotswap-sidecar-edge.service"
    assert unit.unit_at("/org/freedesktop/systemd1/unit/odd_zz") == ""


def test_limits_that_a_unit_has_are_not_set_again() -> None:
    wanted = unit.limits(Limits(memory=500, cpu=0.5, cpu_weight=40), 1000)
    found = {"MemoryMax": 500, "CPUQuotaPerSecUSec": 500_000, "CPUWeight": 40, "Id": "hotswap-sidecar-edge.service"}
    assert unit.differing(wanted, found) == []
    assert unit.differing(wanted, {**found, "CPUWeight": 100}) == [("CPUWeight", ("t", 40))]


def test_properties_can_be_written_as_dbus_wants_them() -> None:
    wanted = unit.properties(launch(user="x", watchdog=1.0, writable=(Path("/var/x"),)), 1000)
    address = DBusAddress("/x", "org.x", "org.x")
    message = new_method_call(address, "Start", "ssa(sv)a(sa(sv))", ("n", "fail", wanted, []))
    parser = Parser()
    parser.add_data(message.serialise(1))
    read = parser.get_next_message()
    assert read is not None
    assert [name for name, _ in read.body[2]] == [name for name, _ in wanted]


def test_a_reload_is_an_upgrade_by_the_program_of_the_release() -> None:
    program = "/srv/current/bin/hotswap"
    assert made()["ExecReload"] == [(program, [program, "upgrade", "edge"], False)]
    assert "ExecReload" not in made(command=("/bin/other",))


def test_of_memory_and_its_share_the_lower_one_counts() -> None:
    assert made(limits=Limits(memory=600, memory_share=0.5))["MemoryMax"] == 500
    assert made(limits=Limits(memory=400, memory_share=0.5))["MemoryMax"] == 400
    assert made()["MemoryMax"] == unit.INFINITY
    assert (made()["CPUQuotaPerSecUSec"], made()["CPUWeight"], made()["OOMScoreAdjust"]) == (unit.INFINITY, 50, 500)
    assert made(limits=Limits(cpu=0.25))["CPUQuotaPerSecUSec"] == 250_000


def test_capabilities_are_ambient_for_who_is_not_root_and_bound_everybody() -> None:
    bit = 1 << prctl.CAP_NET_BIND_SERVICE
    mine = made(user="hotswap", capabilities=("CAP_NET_BIND_SERVICE",))
    assert (mine["AmbientCapabilities"], mine["CapabilityBoundingSet"], mine["User"]) == (bit, bit, "hotswap")
    roots = made(capabilities=("CAP_NET_BIND_SERVICE",))
    assert (roots["AmbientCapabilities"], roots["CapabilityBoundingSet"], "User" in roots) == (0, bit, False)
    latest = made(capabilities=("CAP_CHECKPOINT_RESTORE", "CAP_BPF"))  # unknown to python-prctl by name
    assert latest["CapabilityBoundingSet"] == 1 << 40 | 1 << 39
    with pytest.raises(StartFailed, match="no capability CAP_X"):
        made(capabilities=("CAP_X",))


def test_the_runtime_directory_is_made_by_systemd_below_run_only() -> None:
    assert made()["RuntimeDirectory"] == ["hotswap/edge"]
    elsewhere = made(runtime_dir=Path("/var/lib/x"), writable=(Path("/var/log/x"),))
    assert "RuntimeDirectory" not in elsewhere
    assert elsewhere["ReadWritePaths"] == ["/var/log/x", "/var/lib/x/edge"]
    assert not unit.below_run(launch(runtime_dir=Path("/run/../etc")))


def test_a_dollar_sign_in_a_command_is_one() -> None:
    assert made(command=("/bin/x", "${HOME}"))["ExecStart"] == [("/bin/x", ["/bin/x", "$${HOME}"], False)]


def test_the_environment_says_where_it_is_and_what_the_spec_says() -> None:
    assert made(environment={"A": "b c"})["Environment"] == [
        "PYTHONSAFEPATH=1",
        "HOTSWAP_RUNTIME_DIR=/run/hotswap",
        "A=b c",
    ]


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({}, None),
        ({"ActiveState": "inactive", "SubState": "dead"}, None),
        ({"ActiveState": "failed", "SubState": "failed"}, None),
        (
            {
                "ActiveState": "active",
                "SubState": "running",
                "MainPID": 7,
                "NFileDescriptorStore": 2,
                "StatusText": "x",
            },
            Running(7, True, 0, kept=2, status="x"),
        ),
        ({"ActiveState": "reloading", "SubState": "reload", "MainPID": 7, "NRestarts": 3}, Running(7, True, 3)),
        ({"ActiveState": "activating", "SubState": "start", "MainPID": 7}, Running(7, False, 0)),
        (
            {
                "ActiveState": "activating",
                "SubState": "auto-restart",
                "MainPID": 0,
                "NRestarts": 1,
                "ExecMainCode": 2,
                "ExecMainStatus": 9,
                "Result": "watchdog",
            },
            Running(0, False, 1, ending="killed by signal 9 (watchdog)"),
        ),
        (
            {"ActiveState": "deactivating", "SubState": "stop", "MainPID": 7, "ExecMainCode": 1, "ExecMainStatus": 3},
            Running(7, False, 0, ending="exit code 3"),
        ),
    ],
)
def test_what_properties_say_is_what_runs(found: dict[str, Any], state: Running | None) -> None:
    assert unit.state(found) == state


def test_how_an_earlier_process_ended_is_told_while_there_is_no_later_end() -> None:
    running = unit.state({"ActiveState": "active", "MainPID": 7}, "exit code 1")
    assert running is not None
    assert running.ending == "exit code 1"


def test_of_the_journal_only_the_first_attempt_counts() -> None:
    lines = [
        "Starting hotswap-sidecar-edge.service - Hotswap sidecar edge...",
        "the configuration is wrong",
        "hotswap-sidecar-edge.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
        "Failed to start hotswap-sidecar-edge.service - Hotswap sidecar edge.",
        "hotswap-sidecar-edge.service: Scheduled restart job, restart counter is at 1.",
        "hotswap-sidecar-edge.service: Main process exited, code=killed, status=9/KILL",
    ]
    assert first_attempt(lines) == lines[1:3]
    assert how(first_attempt(lines)) == "exit code 3"
    assert how(lines) == "killed by signal 9"
    assert how(["x.service: start operation timed out. Terminating."]) == "not ready in time"
    assert how([]) == ""
