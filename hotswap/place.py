"""Where a process lives, as far as others of the same machine can tell it: its container.

A pid is no identity across containers: two of them can both be pid 1. What tells containers apart is the mount
namespace, mount_namespaces(7): each has its own, whatever else a pod shares, and a program that is executed inside
(a probe, a hook) is in it, too. Namespaces are compared by their inode number, which none shares while it lives.

    mnt:[4026532198]
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

NAMESPACE: Final = Path("/proc/self/ns/mnt")

LIFE: Final = secrets.token_hex(8)
"""Of this very process: no other, before it or beside it, answers with the same."""


def here() -> str:
    """The place of this process; empty if the system does not tell (no /proc). See namespaces(7)."""
    try:
        return str(NAMESPACE.readlink())
    except OSError:
        return ""
