"""Will the next generation fit? Asked before it is started, since the kernel answers by killing.

For a moment two generations hold the same state. The destination's memory is estimated by the source's: what is its
own (anonymous pages; the program's files are shared), some more for an allocator that begins afresh, and the values
under way. What is left is looked up in the memory cgroups above this process, of version 1 or 2: limit less usage,
where file cache counts as free, since the kernel drops it first. Swap is left out: a data plane must not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hotswap.errors import Refused

_MEGABYTE = 1 << 20
_GROWTH = 1.1
_VALUE_BYTES = 512  # a saved connection on its way, on average
_UNLIMITED = 1 << 60  # version 1 says "no limit" by a number near 2**63

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


class Headroom(NamedTuple):
    """What a memory cgroup has left, in bytes."""

    group: str
    limit: int
    free: int


def check(values: int, proc: Path = PROC, cgroups: Path = CGROUPS) -> None:
    """Raises `Refused` with the figures if a second generation with so many values would not fit."""
    headroom = tightest(proc, cgroups)
    needed = estimate(values, proc)
    if headroom is not None and needed > headroom.free:
        raise Refused(
            f"the new generation needs about {_mb(needed)}, and its cgroup {headroom.group} has {_mb(headroom.free)} "
            f"left of {_mb(headroom.limit)}: raise the memory limit, or try all the same with --force"
        )


def estimate(values: int, proc: Path = PROC) -> int:
    """Bytes that a copy of this process takes, with so many values under way. 0 if the system does not tell."""
    own = _field(proc / "self" / "status", "RssAnon:") + _field(proc / "self" / "status", "RssShmem:")
    return int(own * 1024 * _GROWTH) + values * _VALUE_BYTES if own else 0


def tightest(proc: Path = PROC, cgroups: Path = CGROUPS) -> Headroom | None:
    """The group with the least left among those that limit this process; None if none does."""
    found: list[Headroom] = []
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for base in (cgroups, cgroups / "unified"):
                found += _climb(base, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            found += _climb(cgroups / "memory", path, *names)
    return min(found, key=lambda one: one.free, default=None)


def _climb(base: Path, path: str, limit: str, usage: str, cache: str) -> list[Headroom]:
    """Every group from `path` up. In a container the path may be that of the host: then only the top is there."""
    found = []
    groups = [base, *(base / part for part in _ancestors(path))]
    for group in groups:
        most, used = _number(group / limit), _number(group / usage)
        if most is not None and used is not None and most < _UNLIMITED:
            free = most - used + _field(group / "memory.stat", cache)
            name = "/" + str(group.relative_to(base)).removeprefix(".")
            found.append(Headroom(name, most, max(free, 0)))
    return found


def _ancestors(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


def _field(file: Path, name: str) -> int:
    """The number after a name in a file of lines; 0 if it is not there."""
    try:
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == name:
                return int(words[1])
    except (OSError, ValueError):
        pass
    return 0


def _mb(size: int) -> str:
    return f"{size / _MEGABYTE:.1f} MB"
