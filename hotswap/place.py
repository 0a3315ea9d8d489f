"""Where a process lives, as far as others of the same machine can tell it: its container.

A pid is no identity across containers: two of them can both be pid 1. What tells containers apart is the mount
namespace, mount_namespaces(7): each has its own, whatever else a pod shares, and a program that is executed inside
(a probe, a hook) is in it, too. Namespaces are compared by their inode number, which none shares while it lives.

    mnt:[4026532198]

The owner of a name signs its lock file with its place, so that a probe can tell whose process it is that does not
answer any more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NAMESPACE: Final = Path("/proc/self/ns/mnt")

SIGNATURE: Final = 64  # bytes

LIFE: Final = os.urandom(8).hex()
"""Of this very process: no other, before it or beside it, answers with the same."""


def here() -> str:
    """The place of this process; empty if the system does not tell (no /proc). See namespaces(7)."""
    try:
        return str(NAMESPACE.readlink())
    except OSError:
        return ""


def sign(lock: int) -> None:
    """Write the place of this process, the owner, into the lock file. A volume that is full is no reason to fail."""
    with suppress(OSError):
        os.pwrite(lock, here().ljust(SIGNATURE).encode()[:SIGNATURE], 0)


def signed(lock: Path) -> str:
    """The place of the last owner; empty if it is not known."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        try:
            return file.read(SIGNATURE).decode("ascii", "replace").strip()
        except OSError:
            return ""
