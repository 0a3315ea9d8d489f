"""Giving up what a process is permitted beyond what it needs: capabilities(7).

    no_new_privs   no program that it starts gains anything by a set-user-ID bit or by capabilities of its file
    bounding       nor may any of them ever have more than this
    permitted, effective, inheritable    what it has itself
    ambient        what a program that it starts has: its successor binds the same ports

The user stays who it is; without CAP_DAC_OVERRIDE root, too, reads only what the modes of files allow.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import prctl

from hotswap.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Collection

LAST: Final = Path("/proc/sys/kernel/cap_last_cap")
STATUS: Final = Path("/proc/self/status")
_PR_CAP_AMBIENT: Final = 47  # linux/prctl.h; python-prctl knows nothing of it
_RAISE: Final = 2
_CLEAR_ALL: Final = 4
_NEWEST_KNOWN: Final = 40  # where cap_last_cap cannot be read


def drop(keep: Collection[str]) -> list[str]:
    """Keep only these capabilities (``CAP_NET_BIND_SERVICE``), as far as there are; the names of those kept.

    Raises `PermissionDenied` if anything else is left.
    """
    kept = {name: getattr(prctl, name) for name in sorted(keep) if has(name)}
    numbers = frozenset(kept.values())
    everything = range(_last() + 1)
    try:
        prctl.set_no_new_privs(True)
        if _set("CapEff") >> prctl.CAP_SETPCAP & 1:  # else no_new_privs alone keeps the rest out of reach
            for number in everything:
                if number not in numbers and prctl.capbset_read(number):
                    prctl.capbset_drop(number)
        sets = (prctl.CAP_PERMITTED, prctl.CAP_EFFECTIVE, prctl.CAP_INHERITABLE)
        prctl.set_caps(*((number, flag, number in numbers) for number in everything for flag in sets))
        _ambient(_CLEAR_ALL, 0)
        for number in numbers:
            _ambient(_RAISE, number)
    except (OSError, ValueError) as error:
        raise PermissionDenied(f"privileges cannot be dropped: {error}; start it without --drop-privileges") from None
    wanted = sum(1 << number for number in numbers)
    left = {name: _set(name) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}
    if any(value != wanted for value in left.values()):
        raise PermissionDenied(f"privileges were to be dropped, and there are still some: {left}")
    return [*kept]


def has(name: str) -> bool:
    """Whether this process is permitted a capability."""
    return bool(_set("CapPrm") >> getattr(prctl, name) & 1)


def _ambient(what: int, number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(one) for one in (what, number, 0, 0)]
    if libc.prctl(_PR_CAP_AMBIENT, *words):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _last() -> int:
    try:
        return int(LAST.read_text())
    except (OSError, ValueError):
        return _NEWEST_KNOWN


def _set(name: str) -> int:
    """A set of this process, as a mask of bits."""
    return next(int(line.split()[1], 16) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
