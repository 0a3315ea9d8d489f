"""What /proc tells of processes: proc_pid_stat(5), proc_pid_cmdline(5), proc_pid_cgroup(5), proc_pid_fd(5).

Of a process of somebody else, or one that gave up being looked at (PR_SET_DUMPABLE, as a proxy with TLS does), only
root sees descriptors and environment. What cannot be seen is None, and nothing is concluded from it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_FIRST_DESCRIPTORS: Final = 512  # a lock is opened, or received, before any connection
_STATE, _SOURCE, _SESSION, _BEGAN = 0, 1, 3, 19  # after the name, proc_pid_stat(5)


@dataclass(frozen=True)
class Process:
    """One."""

    pid: int
    source: int = 0
    """Who started it, or got it since."""
    session: int = 0
    state: str = "S"
    began: float = 0.0
    """Seconds since the epoch, to a hundredth."""
    command: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """The names of its control groups, without what is above them."""


def everybody(proc: Path = PROC) -> dict[int, Process]:
    """All, by pid, but those of the kernel and those that ended and were not waited for."""
    booted, ticks = _booted(proc), os.sysconf("SC_CLK_TCK")
    found: dict[int, Process] = {}
    for name in [entry.name for entry in os.scandir(proc)]:
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # gone meanwhile
                one = _process(proc / name, int(name), booted, ticks)
                if one.command and one.state not in "ZX":
                    found[one.pid] = one
    return found


def _process(place: Path, pid: int, booted: float, ticks: int) -> Process:
    fields = (place / "stat").read_bytes().rpartition(b")")[2].split()
    lines = (place / "cgroup").read_text().splitlines()
    return Process(
        pid=pid,
        source=int(fields[_SOURCE]),
        session=int(fields[_SESSION]),
        state=fields[_STATE].decode(),
        began=booted + int(fields[_BEGAN]) / ticks,
        command=command(place),
        groups=tuple(sorted({line.split(":", 2)[2].rpartition("/")[2] for line in lines} - {""})),
    )


def _booted(proc: Path) -> float:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def command(place: Path) -> tuple[str, ...]:
    """The command line of the process in this directory of /proc. Raises `OSError`."""
    raw = (place / "cmdline").read_bytes()
    return tuple(word.decode(errors="replace") for word in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def holders(files: Mapping[str, Path], among: Collection[int], proc: Path = PROC) -> dict[str, frozenset[int]]:
    """Who has which of these files open, as far as may be seen. Looks at the first few hundred descriptors of each."""
    wanted: dict[tuple[int, int], str] = {}
    for name, path in files.items():
        with contextlib.suppress(OSError):
            info = path.stat()
            wanted[info.st_dev, info.st_ino] = name
    names = {str(path): name for name, path in files.items()}
    found: dict[str, set[int]] = {name: set() for name in files}
    for pid in among if wanted else ():
        with contextlib.suppress(OSError):
            place = proc / str(pid) / "fd"
            for fd in sorted((entry.name for entry in os.scandir(place)), key=int)[:_FIRST_DESCRIPTORS]:
                with contextlib.suppress(OSError):
                    if str((place / fd).readlink()) in names:
                        info = (place / fd).stat()
                        if (name := wanted.get((info.st_dev, info.st_ino), "")) in found:
                            found[name].add(pid)
    return {name: frozenset(pids) for name, pids in found.items()}


def fields(pid: int, proc: Path = PROC) -> dict[str, str]:
    """proc_pid_status(5): ``Uid``, ``CapBnd``, ``VmRSS``... Raises `OSError`."""
    lines = (proc / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
