"""Who listens where: sock_diag(7) for the sockets, /proc for whose they are.

INET_DIAG   TCP, by family: address, inode, cookie. Of a listener idiag_rqueue is the length of the accept queue and
            idiag_wqueue its limit. INET_DIAG_SKMEMINFO is an array of u32; the ninth (SK_MEMINFO_DROPS of
            linux/sock_diag.h) counts attempts to connect that this listener dropped.
UNIX_DIAG   name, inode; UNIX_DIAG_RQLEN are the same two lengths. Only what has UNIX_DIAG_VFS has a path; other
            names are abstract, and anybody may take one that looks like a path.
/proc/<pid>/fd/<fd>         a link to ``socket:[inode]``
/proc/<pid>/net/netstat     TcpExt ListenOverflows, of the network namespace of that process
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pyroute2 import DiagSocket
from pyroute2.netlink.exceptions import NetlinkError

from hotswap.address import Address
from hotswap.errors import HotswapError
from vm_agent.network.listening import Expected, Finding, Holder, Listener, Look, judge
from vm_agent.network.namespaces import inside

_LISTEN: Final = 1 << 10  # TCP_LISTEN, net/tcp_states.h
_SKMEMINFO: Final = 1 << 6  # INET_DIAG_SKMEMINFO less one, linux/inet_diag.h
_DROPS: Final = 8
_SHOW: Final = 0x01 | 0x02 | 0x10  # name, vfs, rqlen: linux/unix_diag.h
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Watch:
    """Looks at the listeners of one sidecar, again and again, and remembers the last look."""

    def __init__(self) -> None:
        self._before: Look | None = None
        self._pid = 0

    def check(
        self, promised: Collection[str], pid: int, known: Collection[int] = (), *, everybody: bool = False
    ) -> tuple[Finding, ...]:
        """What is not as promised. Blocks for some milliseconds; best by `asyncio.to_thread`.

        `promised` are addresses, `known` further processes that have the listeners by right. With `everybody` the
        descriptors of all processes are looked at, and so who else has a copy is found. Raises `HotswapError` if the
        kernel tells nothing, or the network namespace may not be entered.
        """
        addresses = tuple(dict.fromkeys(str(Address.parse(text)) for text in promised))
        keepers = frozenset({os.getpid(), 1, *known}) - {pid}
        now = look(addresses, pid, keepers, everybody=everybody)
        before, self._before = self._before, now
        return judge(Expected(addresses, pid, keepers), now, before)


def look(addresses: Collection[str], pid: int, keepers: Collection[int] = (), *, everybody: bool = False) -> Look:
    """What is at these addresses, in the network namespace of this process (0: in the agent's).

    Descriptors of `pid` and the keepers are looked at first, and those of all others only if a listener remains that
    is not the sidecar's, or with `everybody`. Raises `HotswapError`.
    """
    if pid and not Path(f"/proc/{pid}").exists():
        pid = 0
    try:
        found, overflows = inside(pid, lambda: (list(listeners()), _overflows()))
    except (OSError, NetlinkError) as error:
        reason = error.args[1] if len(error.args) > 1 else error
        raise HotswapError(
            f"the listeners of process {pid} cannot be looked at: {reason}; for a network namespace that is not the "
            "agent's it needs CAP_SYS_ADMIN and CAP_SYS_PTRACE"
        ) from None
    there = tuple(one for one in found if one.address in addresses)
    inodes = {one.inode for one in there}
    holders, unseen = _holders([one for one in (pid, *keepers) if one], inodes)
    mine = {inode for inode, some in holders.items() if not pid or any(one.pid == pid for one in some)}
    if everybody or (inodes - mine and pid not in unseen):
        holders, unseen = _holders(_processes(), inodes)
    return Look(
        listeners=there,
        holders=tuple((inode, tuple(sorted(some))) for inode, some in sorted(holders.items())),
        unseen=tuple(sorted(unseen)),
        overflows=overflows,
        started_by=_ancestor(pid) if pid else 0,
    )


def listeners() -> Iterator[Listener]:
    """All of the calling thread's network namespace: TCP over IPv4 and IPv6, and unix sockets with a path."""
    with DiagSocket() as diag:
        diag.bind()
        for family in (socket.AF_INET, socket.AF_INET6):
            for one in diag.get_sock_stats(states=_LISTEN, family=family, extensions=_SKMEMINFO):
                yield Listener(
                    address=str(Address(family, one["idiag_src"], one["idiag_sport"])),
                    inode=one["idiag_inode"],
                    cookie=one["idiag_cookie"],
                    queued=one["idiag_rqueue"],
                    backlog=one["idiag_wqueue"],
                    dual=family == socket.AF_INET6
                    and one["idiag_src"] == "::"
                    and not one.get_attr("INET_DIAG_SKV6ONLY"),
                    drops=_drops(one.get_attr("INET_DIAG_SKMEMINFO")),
                )
        for one in diag.get_sock_stats(states=_LISTEN, family=socket.AF_UNIX, show=_SHOW):
            path, lengths = one.get_attr("UNIX_DIAG_NAME"), one.get_attr("UNIX_DIAG_RQLEN")
            if path and one.get_attr("UNIX_DIAG_VFS") is not None:
                yield Listener(
                    address=str(Address(socket.AF_UNIX, os.fsdecode(path), 0)),
                    inode=one["udiag_ino"],
                    cookie=one["udiag_cookie"],
                    queued=lengths["udiag_rqueue"] if lengths else 0,
                    backlog=lengths["udiag_wqueue"] if lengths else 0,
                )


def _drops(memory: Any) -> int | None:
    """From the array, which pyroute2 gives as ``00:1f:...``; older kernels have a shorter one."""
    raw = bytes.fromhex(str(memory or "").replace(":", ""))
    return int(struct.unpack_from("=I", raw, 4 * _DROPS)[0]) if len(raw) >= 4 * (_DROPS + 1) else None


def _overflows() -> int:
    """Of the calling thread's network namespace."""
    with Path("/proc/thread-self/net/netstat").open() as file:
        for names in file:
            values = next(file, "")
            counts = dict(zip(names.split(), values.split(), strict=False))
            if names.startswith("TcpExt:"):
                return int(counts.get("ListenOverflows", 0))
    return 0


# -- whose they are -------------------------------------------------------------------------------


def _holders(pids: Iterable[int], inodes: Collection[int]) -> tuple[dict[int, list[Holder]], set[int]]:
    """Descriptors of these processes by inode; and the processes that may not be looked at."""
    found: dict[int, list[Holder]] = {}
    unseen: set[int] = set()
    for pid in pids if inodes else ():
        try:
            for fd, inode in _sockets(pid):
                if inode in inodes:
                    found.setdefault(inode, []).append(Holder(pid, fd, _name(pid), _ancestor(pid)))
        except PermissionError:
            unseen.add(pid)
        except OSError:
            pass  # it ended
    return found, unseen


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = _SOCKET.fullmatch(str(fd.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
        if match:
            yield int(fd.name), int(match[1])


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _name(pid: int) -> str:
    return _told(f"/proc/{pid}/comm", str.strip)


def _ancestor(pid: int) -> int:
    """The fourth field of proc_pid_stat(5); the second is in brackets and may contain anything."""
    return int(_told(f"/proc/{pid}/stat", lambda text: text.rpartition(")")[2].split()[1]) or 0)


def _told(path: str, reading: Callable[[str], str]) -> str:
    try:
        with Path(path).open(errors="replace") as file:
            return reading(file.read())
    except OSError:
        return ""
