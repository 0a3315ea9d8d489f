"""Segments by name: ``/dev/shm/shm_metrics.NAME.N``, N from 1. Who looks takes the sound one with the highest N.

One that is refused (damaged, newer, somebody else's) is left alone, and a fresh one made beside it, with the next
number. A segment outlives its processes, so that counters go on after a crash; an orderly end unlinks it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from time import time_ns
from typing import Final, NamedTuple

from shm_metrics import layout, memory
from shm_metrics.definitions import Definitions
from shm_metrics.errors import MetricsError, SegmentBusy, SegmentForeign, SegmentRefused
from shm_metrics.layout import CLAIMS, LIFE, Geometry
from shm_metrics.locks import is_locked, lock, unlock
from shm_metrics.memory import Share
from shm_metrics.segment import Segment

FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is, shm_overview(7)
PREFIX: Final = "shm_metrics."
GEOMETRY: Final = Geometry()


class Opened(NamedTuple):
    """A segment, the name it was found or made under, and why others of that name were not taken."""

    segment: Segment
    name: str
    refused: list[str]

    @property
    def in_place(self) -> bool:
        """Nobody took the name away. To be asked by who has a slot: from then on none does but at an orderly end."""
        return _has_name(self.segment.fd, self.name)


def open_by_name(name: str, geometry: Geometry = GEOMETRY, share: Share | None = None) -> Opened:
    """The segment of that name, made if there is none that is sound.

    `geometry` is for one that is made, `share` says who else may have it. Raises ValueError for an impossible
    name, `MetricsError` if none can be made.
    """
    refused: list[str] = []
    there = sorted(numbers(checked(name)), reverse=True)
    for number in [*there, (there or [0])[0] + 1]:
        file = f"{PREFIX}{name}.{number}"
        try:
            return Opened(_open(file, geometry, share), file, refused)
        except SegmentRefused as error:
            refused.append(f"{file}: {error}")
    raise SegmentForeign(f"no segment can be made: {'; '.join(refused)}")


def segment_name(name: str, runtime: Path) -> str:
    """The name of the segment of a program that runs under names: two of one name differ in their runtime directory."""
    where = hashlib.sha256(os.fsencode(runtime.absolute())).hexdigest()
    return f"hotswap-{name[:100]}-{where[:10]}"


def numbers(name: str) -> list[int]:
    """Those of the segments that are there under that name, whatever they are worth."""
    begin = f"{PREFIX}{name}."
    ends = [one.name.removeprefix(begin) for one in FOLDER.iterdir() if one.name.startswith(begin)]
    return [int(end) for end in ends if end.isascii() and end.isdigit() and len(end) < 10]


def _open(file: str, geometry: Geometry, share: Share | None = None) -> Segment:
    """Raises `SegmentRefused`, and what `Segment.made` raises."""
    while True:
        fd = memory.open_named(file, make=True, share=share)
        try:
            lock(fd, layout.LOCK)
            if _has_name(fd, file):
                segment = _made(fd, file, geometry) if _empty(fd) else _sound(fd)
                unlock(fd, layout.LOCK)
                return segment
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody unlinked it after we had found it


def _sound(fd: int) -> Segment:
    """One that is there, whose definitions can be read. Raises `SegmentRefused`."""
    segment = Segment.joined(fd)
    try:
        Definitions(segment).follow()
    except BaseException:
        segment.locks.close()
        raise
    return segment


def _made(fd: int, file: str, geometry: Geometry) -> Segment:
    try:
        return Segment.made(fd, geometry, time_ns())
    except MetricsError:
        memory.unlink(file)  # it has part of the memory that there is too little of
        raise


def joined(fd: int) -> Segment:
    """The segment behind a descriptor, which becomes its own. Raises `SegmentRefused`, and has closed it then."""
    try:
        return Segment.joined(fd)
    except BaseException:
        os.close(fd)
        raise


def made(fd: int, geometry: Geometry) -> Segment:
    """A fresh segment on unnamed memory, which becomes its own. Raises `SegmentFull`, and has closed it then."""
    try:
        return Segment.made(fd, geometry, time_ns())
    except BaseException:
        os.close(fd)
        raise


def unlink(fd: int, name: str) -> None:
    """Take the name away from this segment, if it has it: another one may, or none in this mount namespace."""
    own = memory.reopened(fd)
    try:
        with contextlib.suppress(SegmentBusy):  # who holds it is stopped
            lock(own, layout.LOCK)
        for number in numbers(name):
            file = f"{PREFIX}{name}.{number}"
            if _has_name(own, file):
                memory.unlink(file)
    finally:
        os.close(own)


def _has_name(fd: int, file: str) -> bool:
    """It is this segment that is found by that name. While its lock is held nobody changes that."""
    try:
        there = (FOLDER / file).stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == memory.identity(fd)


def _empty(fd: int) -> bool:
    """Nothing was made of it yet, or whoever began to died: the magic comes last."""
    size = os.fstat(fd).st_size
    head = os.pread(fd, layout.PAGE, 0)
    return not size or (size >= layout.PAGE and not any(head[:8]) and not any(head[8 * CLAIMS : 8 * CLAIMS + 8]))


class Found(NamedTuple):
    """A segment that is there under a name."""

    name: str
    size: int
    users: int
    """Living processes that count in it."""
    refused: str
    """Why it could not be used; empty if it could."""
    touched: float
    """When a process came, told of itself or needed more room, last. Seconds since the epoch."""

    @property
    def stale(self) -> bool:
        """Nobody counts in it, and nobody can unless its name is served again."""
        return not self.users


def found() -> list[Found]:
    """All segments of this user (of all users for root). Changes nothing, disturbs nobody."""
    there = []
    for file in sorted(one.name for one in FOLDER.iterdir() if one.name.startswith(PREFIX)):
        try:
            fd = os.open(FOLDER / file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # gone, or somebody else's
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                there.append(_look(fd, file))
        finally:
            os.close(fd)
    return there


def _look(fd: int, file: str) -> Found:
    status = os.fstat(fd)
    slots, refused = GEOMETRY.slots, ""
    try:
        slots = layout.checked(os.pread(fd, 48, 0), status.st_size).slots
    except MetricsError as error:
        refused = str(error)
    return Found(file, status.st_size, sum(is_locked(fd, LIFE + n) for n in range(slots)), refused, status.st_mtime)


def remove(file: str) -> bool:
    """Unlink one that was `found`, unless somebody counts in it by now. Returns whether it is gone.

    Raises `SegmentBusy`, and `SegmentForeign` for what is no segment.
    """
    try:
        fd = memory.open_named(file, make=False, of_others=True)
    except FileNotFoundError:
        return True
    try:
        lock(fd, layout.LOCK)
        if is_locked(fd, LIFE, layout.MOST_SLOTS):
            return False
        if _has_name(fd, file):  # else it is another one's, made since
            memory.unlink(file)
        return True
    finally:
        os.close(fd)


def checked(name: str) -> str:
    """A name that may be part of a file's. Raises ValueError."""
    if not name or len(name) > 150 or not name.isascii() or not all(c.isalnum() or c in "._-" for c in name):
        raise ValueError(f"{name!r} is no name for a segment: letters, digits, '.', '_' and '-', 150 at most")
    return name
