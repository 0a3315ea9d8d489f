"""A sidecar as a transient unit: its properties as D-Bus takes them, and what the properties of a unit say of it.

Names, types and units are those of org.freedesktop.systemd1(5): ``t`` microseconds or bytes, 2^64-1 for no limit.

- ``NotifyAccess=all``: a successor speaks for itself before it is the main process.
- ``KillMode=process``: a generation that dies takes neither its successor nor its predecessor with it.
- ``RestartUSec=0`` and no start limit: who stops at a limit drops the stored listeners, and clients are refused.
- ``ExecStartPre``: what does nothing but die waits a little before each start, as systemd does from version 254 on
  (``RestartSteps=``). It keeps the times of its starts in the runtime directory, so no agent need be there.
- ``WatchdogSignal=SIGKILL``: a process that is stopped does not hear SIGABRT.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from vm_agent.runners.base import Launch, Running
from vm_agent.runners.cgroups import memory_limit
from vm_agent.runners.plan import capability_numbers
from vm_agent.runners.store import LIMIT
from vm_agent.spec.model import Limits

Value = tuple[str, Any]
"""Signature and value: a variant."""
Property = tuple[str, Value]

PREFIX, SUFFIX = "hotswap-sidecar-", ".service"
UNIT_PATH = "/org/freedesktop/systemd1/unit/"
RUN = Path("/run")
INFINITY = (1 << 64) - 1
STOP_MARGIN = 15.0  # seconds that systemd waits longer than the agent, which kills earlier

_CALM = r"""
read now rest </proc/uptime
now=${now%.*} line= kept= count=0
[ -r "$0" ] && read line <"$0"
for then in $line; do
    if [ $((now - then)) -lt 60 ]; then kept="$kept $then" count=$((count + 1)); fi
done
echo "$kept $now" >"$0"
pause=$((count - 9))
if [ $pause -gt "$1" ]; then pause=$1; fi
if [ $pause -gt 0 ]; then sleep $pause; fi
"""  # ten starts a minute are free
LONGEST_PAUSE = 10.0  # seconds; at most half of what a start may take

_CODES = {1: "exit code", 2: "killed by signal", 3: "killed by signal"}  # CLD_EXITED, CLD_KILLED, CLD_DUMPED


def unit_of(name: str) -> str:
    """The unit's name."""
    return f"{PREFIX}{name}{SUFFIX}"


def name_of(unit: str) -> str | None:
    """The sidecar's name; None for units of others."""
    if not unit.startswith(PREFIX) or not unit.endswith(SUFFIX):
        return None
    return unit.removeprefix(PREFIX).removesuffix(SUFFIX) or None


def unit_at(path: str) -> str:
    """The name of the unit at an object path: everything but letters and digits is ``_`` and two hex digits."""
    label = path.removeprefix(UNIT_PATH)
    first, *rest = label.split("_")
    try:
        return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    except ValueError:
        return ""


def limits(wanted: Limits, total: int) -> list[Property]:
    """Those that can change while it runs."""
    memory = memory_limit(wanted, total)
    cpu = wanted.cpu
    return [
        ("MemoryMax", ("t", INFINITY if memory is None else memory)),
        ("CPUQuotaPerSecUSec", ("t", INFINITY if cpu is None else max(1000, round(cpu * 1e6)))),
        ("CPUWeight", ("t", wanted.cpu_weight)),
    ]


def differing(wanted: list[Property], found: dict[str, Any]) -> list[Property]:
    """Those that the unit does not have yet: systemd writes a file for each that is set, and complains about it."""
    return [(name, (kind, value)) for name, (kind, value) in wanted if found.get(name) != value]


def properties(launch: Launch, total: int) -> list[Property]:
    """All of them. `total`: the machine's memory, bytes. Raises `StartFailed` for a capability there is not."""
    capabilities = sum(1 << number for number in capability_numbers(launch))
    command = list(launch.command)
    pause = min(LONGEST_PAUSE, launch.start_timeout / 2)
    calm = ["/bin/sh", "-c", _CALM, str(starts(launch)), str(int(pause))]
    found: list[Property] = [
        ("Description", ("s", f"Hotswap sidecar {launch.name}")),
        ("Type", ("s", "notify")),
        ("NotifyAccess", ("s", "all")),
        ("ExecStartPre", ("a(sasb)", [(calm[0], _literal(calm), True)])),
        ("ExecStart", ("a(sasb)", [(command[0], _literal(command), False)])),
        ("WorkingDirectory", ("s", str(launch.directory))),
        ("Environment", ("as", _environment(launch))),
        ("Restart", ("s", "always")),
        ("RestartUSec", ("t", 0)),
        ("StartLimitIntervalUSec", ("t", 0)),
        ("FileDescriptorStoreMax", ("u", LIMIT)),
        ("TimeoutStartUSec", ("t", _microseconds(launch.start_timeout))),
        ("TimeoutStopUSec", ("t", _microseconds(launch.stop_timeout + STOP_MARGIN))),
        ("KillMode", ("s", "process")),
        ("LimitCORE", ("t", 0)),
        ("OOMScoreAdjust", ("i", launch.limits.oom_score_adj)),
        ("OOMPolicy", ("s", "continue")),
        ("UMask", ("u", 0o077)),
        ("AmbientCapabilities", ("t", capabilities if launch.user else 0)),
        ("CapabilityBoundingSet", ("t", capabilities)),
        *limits(launch.limits, total),
        *_sandbox(),
    ]
    if Path(command[0]).name == "hotswap":
        reload = [command[0], "upgrade", launch.name]
        found.append(("ExecReload", ("a(sasb)", [(command[0], _literal(reload), False)])))
    if launch.user:
        found.append(("User", ("s", launch.user)))
    if launch.watchdog:
        found.append(("WatchdogUSec", ("t", _microseconds(launch.watchdog))))
        found.append(("WatchdogSignal", ("i", int(signal.SIGKILL))))
    if launch.limits.open_files is not None:
        found.append(("LimitNOFILE", ("t", launch.limits.open_files)))
        found.append(("LimitNOFILESoft", ("t", launch.limits.open_files)))
    writable = [str(path) for path in launch.writable]
    own = launch.runtime_dir / launch.name
    if below_run(launch):
        found += [
            ("RuntimeDirectory", ("as", [str(own.relative_to(RUN))])),
            ("RuntimeDirectoryMode", ("u", 0o700)),
            ("RuntimeDirectoryPreserve", ("s", "yes")),
        ]
    else:
        writable.append(str(own))
    if writable:
        found.append(("ReadWritePaths", ("as", writable)))
    return found


def starts(launch: Launch) -> Path:
    """The times of its latest starts, seconds after the boot."""
    return launch.runtime_dir / launch.name / "starts"


def _literal(words: list[str]) -> list[str]:
    """So that systemd puts no variables in the place of words with a dollar sign, systemd.service(5)."""
    return [word.replace("$", "$$") for word in words]


def below_run(launch: Launch) -> bool:
    """Whether systemd can make the runtime directory: it does so only below /run."""
    own = launch.runtime_dir / launch.name
    return own.is_relative_to(RUN) and ".." not in own.parts and len(own.relative_to(RUN).parts) > 1


def _environment(launch: Launch) -> list[str]:
    """NAME=VALUE. systemd adds NOTIFY_SOCKET and what it passes on."""
    said = {
        "PYTHONSAFEPATH": "1",  # nothing is imported from the working directory
        "HOTSWAP_RUNTIME_DIR": str(launch.runtime_dir),
        **launch.environment,
    }
    return [f"{name}={value}" for name, value in said.items()]


def _sandbox() -> list[Property]:
    """What it cannot do, whoever it is: as systemd/hotswap-proxy@.service, but that it may read below /home.

    Without ``MemoryDenyWriteExecute``: with it nothing that has TLS starts, since pyOpenSSL writes callbacks as code.
    """
    yes = (
        "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectClock", "ProtectControlGroups", "ProtectHostname",
        "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "LockPersonality",
        "RestrictRealtime", "RestrictSUIDSGID",
    )  # fmt: skip
    return [
        *((name, ("b", True)) for name in yes),
        ("ProtectSystem", ("s", "strict")),
        ("ProtectHome", ("s", "read-only")),
        ("ProtectProc", ("s", "invisible")),
        ("RestrictNamespaces", ("t", 0)),
        ("RestrictAddressFamilies", ("(bas)", (True, ["AF_UNIX", "AF_INET", "AF_INET6"]))),
        ("SystemCallArchitectures", ("as", ["native"])),
        ("SystemCallErrorNumber", ("i", 1)),  # EPERM
        ("SystemCallFilter", ("(bas)", (True, ["@system-service"]))),
        ("SystemCallFilter", ("(bas)", (False, ["@privileged", "@resources"]))),
        # To drop privileges; to take short turns on the CPU.
        ("SystemCallFilter", ("(bas)", (True, ["capset", "sched_getattr", "sched_setattr"]))),
    ]


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def state(found: dict[str, Any], ending: str = "") -> Running | None:
    """What the properties of a unit and its service say; None if nothing runs, or is about to again.

    `ending`: how an earlier process ended, for while there is no later one to tell of.
    """
    active, sub = str(found.get("ActiveState", "")), str(found.get("SubState", ""))
    if active in {"", "inactive", "failed"}:
        return None
    pid = 0 if sub == "auto-restart" else int(found.get("MainPID", 0))
    return Running(
        pid=pid,
        ready=active in {"active", "reloading"} and pid > 0,
        restarts=int(found.get("NRestarts", 0)),
        kept=int(found.get("NFileDescriptorStore", 0)),
        ending=end(found) or ending,
        status=str(found.get("StatusText", "")),
    )


def end(found: dict[str, Any]) -> str:
    """How the process that these properties are of ended, for people; empty: it did not."""
    code, status = int(found.get("ExecMainCode", 0)), int(found.get("ExecMainStatus", 0))
    if code not in _CODES:
        return ""
    text = f"{_CODES[code]} {status}"
    result = str(found.get("Result", ""))
    return f"{text} ({result})" if result in {"watchdog", "timeout", "oom-kill"} else text
