"""Shared memory and its locks: what is asked of the kernel.

    by name         POSIX shared memory, shm_open(3): outlives its processes, until it is unlinked
    without one     memfd_create(2): lives as long as somebody has it open

A descriptor that came from elsewhere is opened anew through /proc/self/fd: locks belong to the open file, and two
processes that share one would share its locks.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from time import monotonic
from typing import Final

import posix_ipc

from shm_metrics.errors import SegmentBusy, SegmentForeign, SegmentFull

PATIENCE: Final = 0.2
"""Seconds to wait for the lock. Who holds it works for microseconds, unless it is stopped."""

_LOCK = struct.Struct("hhqqi4x")
_WRITE, _UNLOCK = fcntl.F_WRLCK, fcntl.F_UNLCK
_SHORTAGES = frozenset((errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG))


def open_named(name: str, *, make: bool) -> int:
    """The POSIX shared memory of that name, for reading and writing, made if it is not there.

    Raises `SegmentForeign` if it is somebody else's, and FileNotFoundError.
    """
    try:
        flags = posix_ipc.O_CREAT if make else 0
        fd: int = posix_ipc.SharedMemory(f"/{name}", flags=flags, mode=0o600).fd
    except posix_ipc.ExistentialError:
        raise FileNotFoundError(errno.ENOENT, "no such segment", name) from None
    except (posix_ipc.PermissionsError, PermissionError):
        raise SegmentForeign("it belongs to another user") from None
    os.set_inheritable(fd, False)
    check_owner(fd)
    return fd


def unlink(name: str) -> None:
    """Take the name away; no harm if it is gone already."""
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except posix_ipc.ExistentialError:
        pass


def unnamed() -> int:
    """Fresh memory without a name."""
    return os.memfd_create("shm_metrics", os.MFD_CLOEXEC)


def reopened(fd: int) -> int:
    """The same memory as an open file of its own. Raises `SegmentForeign` if that is not permitted."""
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        raise SegmentForeign("it belongs to another user") from None
    check_owner(own)
    return own


def check_owner(fd: int) -> None:
    """Closes it and raises `SegmentForeign` if others could have written it."""
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        os.close(fd)
        raise SegmentForeign(f"it belongs to the user {status.st_uid}")
    if status.st_mode & 0o022 and status.st_nlink:  # a memfd has no name and by default mode 0777
        os.close(fd)
        raise SegmentForeign(f"others may write it (mode {status.st_mode & 0o777:o})")


def mapped(fd: int, at: int, size: int) -> memoryview[int]:
    """A part of it. The mapping lasts as long as any view of it."""
    return memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=at))


def back(fd: int, at: int, size: int) -> None:
    """Have the kernel set memory aside. Else a store could end the process by SIGBUS. Raises `SegmentFull`."""
    try:
        os.posix_fallocate(fd, at, size)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise SegmentFull(f"no memory for it: {error.strerror}") from None
        raise


def try_lock(fd: int, byte: int) -> bool:
    """Take the lock of that byte, if nobody else has it. It is this open file's until `unlock`, or its end."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(_WRITE, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    return True


def unlock(fd: int, byte: int) -> None:
    """Let go of it."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(_UNLOCK, os.SEEK_SET, byte, 1, 0))


def is_locked(fd: int, byte: int) -> bool:
    """Another open file has the lock of that byte."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(_WRITE, os.SEEK_SET, byte, 1, 0))
    return bool(_LOCK.unpack(found)[0] != _UNLOCK)


def lock(fd: int, byte: int) -> None:
    """Take the lock of that byte. Raises `SegmentBusy` after `PATIENCE`."""
    until = 0.0
    while not try_lock(fd, byte):
        now = monotonic()
        until = until or now + PATIENCE
        if now >= until:
            raise SegmentBusy("another process holds the lock of the metrics, and does not go on")
        os.sched_yield()
