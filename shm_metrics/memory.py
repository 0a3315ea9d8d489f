"""Shared memory: what is asked of the kernel. For its locks see `shm_metrics.locks`.

    by name         POSIX shared memory, shm_open(3): outlives its processes, until it is unlinked
    without one     memfd_create(2): lives as long as somebody has it open

Nobody can save a process whose memory is truncated by another one: a store would end it by SIGBUS. Memory without a
name is sealed against that; who may truncate one with a name may kill its processes as well. So it is for one user
alone, unless a `Share` says who else may have it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from typing import NamedTuple

import posix_ipc

from shm_metrics.errors import SegmentForeign, SegmentFull, SegmentTruncated

_SHORTAGES = frozenset((errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG))


class Share(NamedTuple):
    """Users besides our own (and root) who may have memory together with us, and the group that all have in common."""

    uids: frozenset[int]
    group: int


def open_named(name: str, *, make: bool, of_others: bool = False, share: Share | None = None) -> int:
    """The POSIX shared memory of that name, for reading and writing, made if it is not there.

    Raises `SegmentForeign` if it is none, or somebody else's (root may have it nevertheless, with `of_others`, and be
    there a group as well that may write it), and FileNotFoundError.
    """
    try:
        try:  # not with O_CREAT: fs.protected_regular forbids that for what belongs to others, proc(5)
            fd = _shm_open(name, 0)
        except posix_ipc.ExistentialError:
            if not make:
                raise
            fd = _shm_open(name, posix_ipc.O_CREAT)
    except posix_ipc.ExistentialError:
        raise FileNotFoundError(errno.ENOENT, "no such segment", name) from None
    except (posix_ipc.PermissionsError, PermissionError):
        raise SegmentForeign("it belongs to another user") from None
    except (OSError, ValueError, posix_ipc.Error) as error:  # a directory is said to be an invalid parameter
        raise SegmentForeign(f"it cannot be opened: {error}") from None
    os.set_inheritable(fd, False)
    check_owner(fd, of_others=of_others, share=share, by_group=of_others)
    give(fd, share)
    return fd


def _shm_open(name: str, flags: int) -> int:
    fd: int = posix_ipc.SharedMemory(f"/{name}", flags=flags, mode=0o600).fd
    return fd


def unlink(name: str) -> None:
    """Take the name away; no harm if it is gone already.

    Nor if it belongs to one of a `Share`, whose names only that one can take away, /dev/shm being sticky: whoever
    starts next goes on counting in it.
    """
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except (posix_ipc.ExistentialError, posix_ipc.PermissionsError):
        pass


def unnamed(share: Share | None = None) -> int:
    """Fresh memory without a name, which nobody can make smaller."""
    fd = os.memfd_create("shm_metrics", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    give(fd, share)
    return fd


def give(fd: int, share: Share | None) -> None:
    """Let those who share it have it, if it is ours to give. Closes it and raises `SegmentForeign` if that fails."""
    status = os.fstat(fd)
    if share is None or status.st_uid != os.geteuid():
        return
    try:
        if status.st_gid != share.group:
            os.fchown(fd, -1, share.group)
        os.fchmod(fd, 0o660)
    except OSError as error:
        os.close(fd)
        raise SegmentForeign(f"it cannot be given to the group {share.group}: {error.strerror}") from None


def reopened(fd: int) -> int:
    """The same memory as an open file of its own. Raises `SegmentForeign` if that cannot be had."""
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise SegmentForeign("it belongs to another user") from None
    except OSError as error:
        raise SegmentForeign(f"it cannot be opened anew: {error.strerror}") from None
    return own


def check_owner(fd: int, *, of_others: bool, share: Share | None = None, by_group: bool = False) -> None:
    """Closes it and raises `SegmentForeign` if it is no memory, or others could have written it.

    `of_others`: those whose it is, if we are root and somebody has handed it to us. `by_group`: any group may write it.
    """
    status = os.fstat(fd)
    problem = ""
    uids = {os.geteuid()} if share is None else {os.geteuid(), 0, *share.uids}
    group_may = by_group or (share is not None and status.st_gid == share.group)
    if not stat.S_ISREG(status.st_mode):
        problem = "it is no shared memory"
    elif status.st_uid not in uids and not (of_others and os.geteuid() == 0):
        problem = f"it belongs to the user {status.st_uid}"
    elif status.st_mode & (0o002 if group_may else 0o022) and status.st_nlink:  # a memfd has no name, and mode 0777
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
