"""What a disk refuses, told to people; room on it; and what is on it for good."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from vm_agent.errors import ReleaseError

_BLOCK = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)
_FULL = {errno.ENOSPC, errno.EDQUOT}


def refusal(error: OSError, what: str) -> ReleaseError:
    """The error for people. `what` could not be done: ``release 1.4.2 cannot be installed``."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _FULL:
        return ReleaseError(f"{what}: {where}{full()}")
    if error.errno == errno.EROFS:
        return ReleaseError(
            f"{what}: {where}the file system is mounted read-only; mount it for writing, "
            "or set `state` in agent.yaml to a directory on another one"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ReleaseError(
            f"{what}: {where}no permission for uid {os.geteuid()}; run the agent as root, or give it this path (chown)"
        )
    return ReleaseError(f"{what}: {where}{error.strerror or error}")


def full() -> str:
    """That the disk is full, and the remedy."""
    return "the disk is full (No space left on device); free some space or inodes, or lower `releases.keep`, and repeat"


def rounded(size: int) -> int:
    """Bytes that a file of this size takes on most disks."""
    return max(_BLOCK, -(-size // _BLOCK) * _BLOCK)


def require_room(directory: Path, needed: int, what: str) -> None:
    """Raise `ReleaseError` if the disk of `directory` has less than `needed` bytes free: an estimate, made before."""
    state = os.statvfs(directory)
    free = (state.f_bfree if os.geteuid() == 0 else state.f_bavail) * state.f_frsize
    if free < needed:
        raise ReleaseError(
            f"{what}: {directory} has {_mib(free)} free and about {_mib(needed)} are needed; "
            "free some space, or lower `releases.keep`, and repeat"
        )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def sync_all(directory: Path) -> None:
    """Have all of this file system on the disk, syncfs(2). Raises `OSError`, also for a write that failed late."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """A tree, as far as it can be removed; what stays is removed another time."""
    shutil.rmtree(path, ignore_errors=True)
