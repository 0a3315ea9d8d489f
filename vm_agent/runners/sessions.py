"""The sessions that the agent made for a sidecar, written down for the agent after this one: ``.agent/NAME.sessions``.

The identity of this boot, proc_sys_kernel(5) random/boot_id, and the numbers of the sessions, a line each.

A process that is adopted may also have been started by somebody else: by hand, by a script, by systemd. It is in that
one's session then, with others who are none of the agent's business.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from vm_agent.runners.plan import AGENT_DIRECTORY
from vm_agent.runners.processes import in_sessions, stat_of

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def record(runtime_dir: Path, name: str) -> Path:
    """Where those of a sidecar are written down."""
    return runtime_dir / AGENT_DIRECTORY / f"{name}.sessions"


def remember(path: Path, sessions: Collection[int]) -> None:
    """Raises `OSError`."""
    fresh = path.with_name(f"{path.name}~")
    fresh.write_text("".join(f"{line}\n" for line in (_boot(), *sorted(sessions))))
    fresh.replace(path)


def recall(path: Path) -> set[int]:
    """Those that still have processes; empty if nothing is written down, or was before a boot."""
    try:
        boot, *numbers = path.read_text().splitlines()
        sessions = {int(number) for number in numbers} if boot == _boot() else set()
    except (OSError, ValueError):
        return set()
    return {*in_sessions(sessions).values()} if sessions else set()


def starting(sessions: Collection[int], timeout: float) -> tuple[int, float] | None:
    """(the process that was started last, for a session of its own; the seconds it has left to be ready), if any."""
    now, found = time.clock_gettime(time.CLOCK_BOOTTIME), []
    for pid in sessions:
        stat = stat_of(pid)
        if stat is not None and stat.state not in "ZX" and stat.session == pid and now - stat.began < timeout:
            found.append((stat.began, pid))
    if not found:
        return None
    began, pid = max(found)
    return pid, timeout - (now - began)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
