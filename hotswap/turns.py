"""How soon a process gets the CPU when others compute: the length of its turns there, sched_setattr(2).

Who wakes up takes the CPU at once from somebody with longer turns, else at the end of that one's turn (EEVDF, since
Linux 6.12, where 1.4 ms are usual on two CPUs). Nobody's share of the time changes by it. So who serves takes short
turns, and who prepares to take over, or orders it, long ones. On two cores, with 9000 connections and 10,000 requests a
second, that took a quarter of the time that a client spent in waits of more than 3 ms in an upgrade.

    struct sched_attr: u32 size, u32 policy, u64 flags, s32 nice, u32 priority, u64 runtime, u64 deadline, u64 period

`runtime` is what of an ordinary process is the turn, in nanoseconds; older kernels ignore it. It is inherited, and
needs no privilege.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT: Final = 100_000
"""Nanoseconds: the least there is."""
USUAL: Final = 0
"""As the kernel has it."""
LONG: Final = 20_000_000

_ATTR: Final = struct.Struct("IIQiIQQQ")
_RUNTIME: Final = 5
_OTHER, _BATCH = os.SCHED_OTHER, os.SCHED_BATCH
_NUMBERS: Final = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Of sched_setattr and sched_getattr, which libc does not have everywhere."""

_libc = ctypes.CDLL(None, use_errno=True)


def turn(pid: int = 0) -> int:
    """Nanoseconds of a turn of that process's main thread, 0: of this thread. -1 if that cannot be known."""
    attributes = _get(pid)
    return -1 if attributes is None else attributes[_RUNTIME]


def take(nanoseconds: int) -> bool:
    """Have turns of that length in this thread from now on. False if they stay as they are.

    So it is if an operator chose another policy, if a filter of system calls forbids it, and on other hardware.
    """
    attributes = _get(0)
    if attributes is None or attributes[1] not in {_OTHER, _BATCH}:
        return False
    attributes[_RUNTIME:] = [nanoseconds, 0, 0]
    return _call(0, 0, _ATTR.pack(*attributes), 0)


@contextmanager
def long_ones() -> Iterator[None]:
    """Long turns meanwhile, here; and for good in whoever is started meanwhile."""
    before = turn()
    changed = take(LONG)
    try:
        yield
    finally:
        if changed:
            take(before)


def _get(pid: int) -> list[int] | None:
    found = ctypes.create_string_buffer(_ATTR.size)
    return list(_ATTR.unpack(found.raw)) if _call(1, pid, found, _ATTR.size, 0) else None


def _call(which: int, *arguments: object) -> bool:
    numbers = _NUMBERS.get(os.uname().machine)
    return numbers is not None and _libc.syscall(numbers[which], *arguments) == 0
