"""Locks on bytes of a segment: open file description locks, fcntl_locking(2).

Such a lock belongs to an open file, and lasts as long as anybody has that: a descriptor, a copy of it in a child, or
a mapping made through it. So `Locks` has an open file of its own, through which nothing else is done, and holds on to
it in a way that ends with the process and not sooner: by a mapping that children do not inherit. A program that closes
all descriptors, as daemons do, therefore keeps its slot; one that forks leaves none of its locks with its children.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from time import monotonic
from typing import Final

from shm_metrics import memory
from shm_metrics.errors import SegmentBusy, SegmentForeign

PATIENCE: Final = 0.2
"""Seconds to wait for a lock. Who holds it works for microseconds, unless it is stopped."""

_LOCK = struct.Struct("hhqqi4x")
_WRITE, _UNLOCK = fcntl.F_WRLCK, fcntl.F_UNLCK

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED: Final = ctypes.c_void_p(-1).value
_NO_ACCESS: Final = 0


class Locks:
    """The locks that this process has on a segment."""

    def __init__(self, fd: int) -> None:
        """On the memory behind that descriptor. Raises `SegmentForeign` if it cannot be opened anew."""
        self._fd = memory.reopened(fd)
        self._file = memory.identity(self._fd)
        self._patience = PATIENCE
        try:
            self._anchor = _anchored(self._fd)
        except OSError as error:
            os.close(self._fd)
            raise SegmentForeign(f"it cannot be mapped: {error.strerror}") from None

    @property
    def usable(self) -> bool:
        """Nobody closed the descriptor: else its number may by now be that of anything."""
        return memory.identity(self._fd) == self._file

    def take(self, byte: int) -> bool:
        """Take the lock of that byte, if nobody else has it."""
        return try_lock(self._fd, byte)

    def wait(self, byte: int) -> None:
        """Take the lock of that byte. Raises `SegmentBusy`.

        After `PATIENCE`, and from then on at once, until it is to be had again: who is stopped stays so for long, and
        nobody is to wait for it each time.
        """
        try:
            lock(self._fd, byte, self._patience)
        except SegmentBusy:
            self._patience = 0.0
            raise
        self._patience = PATIENCE

    def release(self, byte: int) -> None:
        """Let go of it."""
        unlock(self._fd, byte)

    def held(self, byte: int) -> bool:
        """Somebody else has it: another process, or another `Locks` in this one."""
        return is_locked(self._fd, byte)

    def close(self) -> None:
        """Let go of all of them."""
        if self._anchor:
            _libc.munmap(self._anchor, mmap.PAGESIZE)
        self.abandon()

    def abandon(self) -> None:
        """This is a child, and they are its parent's: let go of the copy of them."""
        self._anchor = 0
        if self.usable:
            os.close(self._fd)
        self._fd = -1


def _anchored(fd: int) -> int:
    """Map something of it for this process alone. Returns where."""
    where = _libc.mmap(None, mmap.PAGESIZE, _NO_ACCESS, mmap.MAP_SHARED, fd, 0)
    if where in {None, _FAILED} or _libc.madvise(where, mmap.PAGESIZE, mmap.MADV_DONTFORK):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(where)


def try_lock(fd: int, byte: int) -> bool:
    """Take the lock of that byte, if no other open file has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(_WRITE, os.SEEK_SET, byte, 1, 0))
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    return True


def unlock(fd: int, byte: int) -> None:
    """Let go of it."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(_UNLOCK, os.SEEK_SET, byte, 1, 0))


def is_locked(fd: int, byte: int, count: int = 1) -> bool:
    """Another open file has the lock of that byte, or of one of so many from there on. One for reading may ask, too."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(_WRITE, os.SEEK_SET, byte, count, 0))
    return bool(_LOCK.unpack(found)[0] != _UNLOCK)


def lock(fd: int, byte: int, patience: float = PATIENCE) -> None:
    """Take the lock of that byte. Raises `SegmentBusy` after so many seconds."""
    until = 0.0
    while not try_lock(fd, byte):
        now = monotonic()
        until = until or now + patience
        if now >= until:
            raise SegmentBusy("another process holds the lock of the metrics, and does not go on")
        os.sched_yield()
