"""Room on the disks that the agent and its sidecars write to: bytes, inodes, and whether the next release would fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from vm_agent.inspection.findings import Finding, Severity, size
from vm_agent.releases.disk import rounded
from vm_agent.releases.manifest import FILES, Item

if TYPE_CHECKING:
    from vm_agent.releases.store import Releases

FULL: Final = 0.05
SCARCE: Final = 0.10
"""Shares that are free, below which it is an error, and a warning."""
_LIST_LIMIT: Final = 64 << 20  # bytes


@dataclass(frozen=True)
class Disk:
    """One file system."""

    path: str
    """The first of those that are on it."""
    uses: tuple[str, ...]
    """What is on it, for people."""
    total: int
    free: int
    """Bytes; what is kept for root does not count."""
    inodes: int = 0
    """All of them; 0: this file system makes them as they are needed."""
    free_inodes: int = 0
    writable: bool = True


def look(places: Iterable[tuple[str, Path]]) -> list[Disk]:
    """The file systems of these places, each once. A place that is not there is looked for above it."""
    found: dict[int, Disk] = {}
    for use, path in places:
        while not path.exists() and path != path.parent:
            path = path.parent
        device = path.stat().st_dev
        if device in found:
            there = found[device]
            if use not in there.uses:
                found[device] = Disk(**{**vars(there), "uses": (*there.uses, use)})
            continue
        state = os.statvfs(path)
        found[device] = Disk(
            path=str(path),
            uses=(use,),
            total=(state.f_blocks - state.f_bfree + state.f_bavail) * state.f_frsize,
            free=state.f_bavail * state.f_frsize,
            inodes=state.f_files,
            free_inodes=state.f_favail,
            writable=not state.f_flag & os.ST_RDONLY,
        )
    return list(found.values())


def needed(releases: Releases) -> int:
    """Bytes that the next release will take, if it is like the one that was installed last; 0: there is none yet."""
    installed = releases.installed()
    if not installed:
        return 0
    try:
        with (installed[-1].path / FILES).open("rb") as stream:
            items = msgspec.json.decode(stream.read(_LIST_LIMIT), type=list[Item])
    except (OSError, msgspec.DecodeError):
        return 0
    return sum(rounded(item.size) for item in items)


def judge(disks: Iterable[Disk]) -> Iterator[Finding]:
    """What is full, or nearly."""
    for disk in disks:
        if not disk.writable:
            continue
        on = ", ".join(disk.uses)
        if severity := _severity(disk.free, disk.total):
            yield Finding(
                severity=severity,
                what="disk_full",
                place=disk.path,
                text=f"{size(disk.free)} of {size(disk.total)} are free ({disk.free / disk.total:.1%}); on it: {on}",
                remedy=_remedy(disk),
            )
        if severity := _severity(disk.free_inodes, disk.inodes):
            yield Finding(
                severity=severity,
                what="disk_full",
                place=f"inodes of {disk.path}",
                text=(
                    f"{disk.free_inodes} of {disk.inodes} inodes are free "
                    f"({disk.free_inodes / disk.inodes:.1%}); on it: {on}"
                ),
                remedy=f"find what has so many files: du --inodes -x {disk.path} | sort -n | tail",
            )


def judge_room(disk: Disk, bytes_needed: int) -> Iterator[Finding]:
    """Of the disk that releases are installed on."""
    if bytes_needed > disk.free:
        yield Finding(
            severity="warning",
            what="disk_full",
            place=f"next release in {disk.path}",
            text=f"the next release takes about {size(bytes_needed)}, and {size(disk.free)} are free",
            remedy=f"lower `releases.keep`, or free some: {_remedy(disk)}",
        )


def _severity(free: int, total: int) -> Severity | None:
    share = free / total if total else 1.0
    return "error" if share < FULL else "warning" if share < SCARCE else None


def _remedy(disk: Disk) -> str:
    if disk.path.startswith("/dev/shm"):  # noqa: S108 - where POSIX shared memory is, shm_overview(7)
        return "hotswap doctor --fix removes segments that nobody uses; mount -o remount,size=... /dev/shm gives more"
    return f"du -xh {disk.path} | sort -h | tail shows what takes it"
