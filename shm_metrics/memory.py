"""Shared memory: what is asked of the kernel. For its locks see `shm_metrics.locks`.

    by name         POSIX shared memory, shm_open(3): outlives its processes, until it is unlinked
    without one     memfd_create(2): lives as long as somebody has it open

Nobody can save a process whose memory is truncated by another one: a store would end it by SIGBUS. Memory without a
name is sealed against that; who may truncate one with a name may kill its processes as well.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat

import posix_ipc

from shm_metrics.errors import SegmentForeign, SegmentFull, SegmentTruncated

_SHORTAGES = frozenset((errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG))


def open_named(name: str, *, make: bool, of_others: bool = False) -> int:
    """The POSIX shared memory of that name, for reading and writing, made if it is not there.

    Raises `SegmentForeign` if it is none, or somebody else's (root may have it nevertheless, with `of_others`), and
    FileNotFoundError.
    """
    try:
        flags = posix_ipc.O_CREAT if make else 0
        fd: int = posix_ipc.SharedMemory(f"/{name}", flags=flags, mode=0o600).fd
    except posix_ipc.ExistentialError:
        raise FileNotFoundError(errno.ENOENT, "no such segment", name) from None
    except (posix_ipc.PermissionsError, PermissionError):
        raise SegmentForeign("it belongs to another user") from None
    except (OSError, ValueError, posix_ipc.Error) as error:  # a directory is said to be an invalid parameter
        raise SegmentForeign(f"it cannot be opened: {error}") from None
    os.set_inheritable(fd, False)
    check_owner(fd, of_others=of_others)
    return fd


def unlink(name: str) -> None:
    """Take the name away; no harm if it is gone already."""
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except posix_ipc.ExistentialError:
        pass


def unnamed() -> int:
    """Fresh memory without a name, which nobody can make smaller."""
    fd = os.memfd_create("shm_metrics", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd


def reopened(fd: int) -> int:
    """The same memory as an open file of its own. Raises `SegmentForeign` if that cannot be had."""
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise SegmentForeign("it belongs to another user") from None
    except OSError as error:
        raise SegmentForeign(f"it cannot be opened anew: {error.strerror}") from None
    check_owner(own, of_others=True)
    return own


def check_owner(fd: int, *, of_others: bool) -> None:
    """Closes it and raises `SegmentForeign` if it is no memory, or others could have written it.

    `of_others`: those whose it is, if we are root and somebody has handed it to us.
    """
    status = os.fstat(fd)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "it is no shared memory"
    elif status.st_uid != os.geteuid() and not (of_others and os.geteuid() == 0):
        problem = f"it belongs to the user {status.st_uid}"
    elif status.st_mode & 0o022 and status.st_nlink:  # a memfd has no name and by default mode 0777
        problem = f"others may write it (mode {status.st_mode & 0o777:o})"
    if problem:
        os.close(fd)
        raise SegmentForeign(problem)


def identity(fd: int) -> tuple[int, int]:
    """What file a descriptor is of; one that is none is of a file that there is not."""
    try:
        status = os.fstat(fd)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def mapped(fd: int, at: int, size: int) -> memoryview[int]:
    """A part of it. The mapping lasts as long as any view of it. Raises `SegmentFull` and `SegmentTruncated`."""
    try:
        return memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=at))
    except OSError as error:
        raise SegmentFull(f"it cannot be mapped: {error.strerror}") from None
    except ValueError:
        raise SegmentTruncated("it became shorter") from None


def resize(fd: int, size: int) -> None:
    """Make it so long. Raises `SegmentFull`."""
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        raise SegmentFull(f"it cannot grow: {error.strerror}") from None


def back(fd: int, at: int, size: int) -> None:
    """Have the kernel set memory aside. Else a store could end the process by SIGBUS. Raises `SegmentFull`."""
    try:
        os.posix_fallocate(fd, at, size)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise SegmentFull(f"no memory for it: {error.strerror}") from None
        raise
