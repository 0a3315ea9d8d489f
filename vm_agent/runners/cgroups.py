"""Control groups for sidecars that are the agent's own: one each, in the agent's own group, where that may be.

Version 2 (cgroup-v2.rst in the kernel's documents) has one tree; a group has files of a controller only if the one
above hands it down, in cgroup.subtree_control, and a group that does so may have no processes itself. Version 1 has a
tree for each controller. Files and units:

                version 2                        version 1
    memory      memory.max        bytes, max     memory.limit_in_bytes       bytes, -1
    cpu         cpu.max           quota period   cpu.cfs_quota_us            of cpu.cfs_period_us = 100000, -1
    cpu weight  cpu.weight        1-10000, 100   cpu.shares                  2-262144, 1024
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from vm_agent.spec.model import Limits

PERIOD = 100_000  # microseconds
PREFIX = "sidecar-"


@dataclass(frozen=True)
class Own:
    """Where this process is: the directory of its group by controller, and whether that is version 2."""

    directories: dict[str, Path]
    unified: frozenset[str]

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Own:
        """Read proc_pid_cgroup(5) and proc_pid_mountinfo(5). Controllers out of reach are not there."""
        mounts: dict[str, Path] = {}
        with contextlib.suppress(OSError):
            for line in (proc / "mounts").read_text().splitlines():
                _, where, kind, options, *_ = line.split(" ")
                if kind == "cgroup2":
                    mounts[""] = Path(where)
                elif kind == "cgroup":
                    mounts.update({name: Path(where) for name in options.split(",") if name in {"memory", "cpu"}})
        directories, unified = {}, set()
        with contextlib.suppress(OSError):
            for line in (proc / "cgroup").read_text().splitlines():
                _, names, path = line.split(":", 2)
                for name in names.split(","):
                    if name not in mounts:
                        continue
                    group = mounts[name] / path.lstrip("/")
                    if name:
                        directories[name] = group
                        continue
                    for offered in _words(group / "cgroup.controllers") & {"memory", "cpu"}:
                        directories.setdefault(offered, group)
                        unified.add(offered)
        return cls(directories, frozenset(unified))


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()


def memory_limit(limits: Limits, total: int) -> int | None:
    """The lower one of bytes and share of the machine's `total`; None: no limit."""
    said = [limits.memory] if limits.memory is not None else []
    if limits.memory_share is not None:
        said.append(math.floor(total * limits.memory_share))
    return min(said) if said else None


def total_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Of the machine, bytes."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def nice_for(weight: int) -> int:
    """The priority that stands in for a weight: each step of nice is a factor of 1.25, sched(7)."""
    return max(-20, min(19, round(-math.log(weight / 100) / math.log(1.25))))


class Group:
    """The group of one sidecar. It is made by `apply`, as far as the kernel lets us."""

    def __init__(self, name: str, runtime_dir: Path, own: Own) -> None:
        """`runtime_dir` tells it from one of the same name of another agent, which may be in the same group."""
        self._own = own
        digest = hashlib.sha256(os.fsencode(runtime_dir.absolute())).hexdigest()[:8]
        self.name = f"{PREFIX}{name}-{digest}"
        self._paths = {controller: path / self.name for controller, path in own.directories.items()}

    def apply(self, limits: Limits, total: int) -> list[str]:
        """Write the limits. Returns those that nothing enforces: ``memory``, ``cpu``, ``cpu_weight``."""
        memory = memory_limit(limits, total)
        cpu = None if limits.cpu is None else max(1000, round(limits.cpu * PERIOD))
        missed = []
        if (
            not self._write(
                "memory",
                "memory.max",
                "max" if memory is None else f"{memory}",
                "memory.limit_in_bytes",
                f"{-1 if memory is None else memory}",
            )
            and memory is not None
        ):
            missed.append("memory")
        if (
            not self._write(
                "cpu",
                "cpu.max",
                f"{'max' if cpu is None else cpu} {PERIOD}",
                "cpu.cfs_quota_us",
                f"{-1 if cpu is None else cpu}",
            )
            and cpu is not None
        ):
            missed.append("cpu")
        if not self._write(
            "cpu", "cpu.weight", f"{limits.cpu_weight}", "cpu.shares", f"{max(2, limits.cpu_weight * 1024 // 100)}"
        ):
            missed.append("cpu_weight")
        return missed

    def doors(self) -> list[str]:
        """The files to write a pid to, to bring a process in."""
        return sorted({str(path / "cgroup.procs") for path in self._paths.values() if path.is_dir()})

    def members(self) -> set[int]:
        """All processes in it."""
        return {int(pid) for door in self.doors() for pid in _words(Path(door))}

    def remove(self) -> None:
        """Take it away once it is empty."""
        for path in set(self._paths.values()):
            with contextlib.suppress(OSError):
                path.rmdir()

    def _write(self, controller: str, new: str, new_text: str, old: str, old_text: str) -> bool:
        path = self._paths.get(controller)
        if path is None:
            return False
        unified = controller in self._own.unified
        try:
            if unified:
                handed_down = path.parent / "cgroup.subtree_control"
                if controller not in _words(handed_down):
                    handed_down.write_text(f"+{controller}")
            path.mkdir(exist_ok=True)
            (path / (new if unified else old)).write_text(new_text if unified else old_text)
        except OSError:
            return False
        return True
