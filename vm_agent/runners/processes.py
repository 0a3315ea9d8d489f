"""Processes by pid: who belongs to whom, when one dies, how it ended.

A death is a pidfd that becomes readable, pidfd_open(2); it says so of every process, whoever started it. How it ended
is told by waitid(2) to the one that it belongs to: to whoever started it, and after that one's end to the nearest
subreaper above (prctl(2)), which the agent is. Only pids that are known are waited for: others are for `subprocess`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

_FIELD_BEGAN, _FIELD_SESSION, _FIELD_SOURCE, _FIELD_STATE = 19, 3, 1, 0  # after the name, proc_pid_stat(5)
_TICKS = os.sysconf("SC_CLK_TCK")
_ANCESTORS = 64  # to look at
UNKNOWN_END = "ended, and told somebody else how"


@dataclass(frozen=True)
class Stat:
    """What /proc/PID/stat says."""

    state: str
    source: int
    """Who gets to know how it ends."""
    session: int
    began: float
    """Seconds after the boot."""


def stat_of(pid: int) -> Stat | None:
    """None if there is no such process; one that nobody waited for yet has the state Z."""
    if pid <= 0:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    state, source, session = fields[_FIELD_STATE].decode(), int(fields[_FIELD_SOURCE]), int(fields[_FIELD_SESSION])
    return Stat(state, source, session, int(fields[_FIELD_BEGAN]) / _TICKS)


def belongs(pid: int, sessions: Collection[int], pids: Collection[int] = ()) -> bool:
    """Whether a process, or one that it descends from, is in one of these sessions, or one of these."""
    for _ in range(_ANCESTORS):
        stat = stat_of(pid)
        if stat is None:
            return False
        if stat.session in sessions or pid in pids:
            return True
        pid = stat.source
    return False


def service_of(pid: int, proc: Path = Path("/proc")) -> str:
    """The service of systemd that a process is in, proc_pid_cgroup(5); empty if that is none, or this process's."""
    return next((name for name in _services(proc / str(pid)) if name not in _services(proc / "self")), "")


def _services(process: Path) -> list[str]:
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:
        return []
    return [name for line in lines for name in line.split("/") if name.endswith(".service")]


def in_sessions(sessions: Collection[int]) -> dict[int, int]:
    """The session of each process in one of these, those that ended and were not waited for among them."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            stat = stat_of(int(entry.name))
            if stat is not None and stat.session in sessions:
                found[int(entry.name)] = stat.session
    return found


def offspring() -> set[int]:
    """Those whose source this process is, whether it started them or they fell to it."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def reap(pid: int) -> str | None:
    """How a process ended, for people; None if it lives or is not ours. There is no such process after that."""
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except (ChildProcessError, OSError):
        return None
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return f"exit code {result.si_status}"
    return f"killed by signal {result.si_status}"


class Watched:
    """One process that is watched until it dies."""

    def __init__(self, pid: int, died: Callable[[Watched], None]) -> None:
        """`died` is called in the event loop. Raises `ProcessLookupError` if there is none."""
        self.pid = pid
        self.ending = ""
        self._pidfd = os.pidfd_open(pid)
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._dead)

    def signal(self, number: signal.Signals) -> None:
        """Send it one, if it still lives."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def let_go(self) -> None:
        """Watch it no more."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _dead(self) -> None:
        self.let_go()
        self.ending = reap(self.pid) or UNKNOWN_END
        self._died(self)


async def kill_all(find: Callable[[], set[int]], within: float) -> set[int]:
    """SIGKILL whatever `find` finds, again and again until that is nothing. Returns what is left after so many seconds.

    Something that forks while it is killed is found at the next look.
    """
    left: set[int] = set()
    try:
        async with asyncio.timeout(within):
            while left := {pid for pid in find() if _lives(pid)}:
                await asyncio.gather(*(_killed(pid, find) for pid in left))
    except TimeoutError:
        pass
    return left


def _lives(pid: int) -> bool:
    stat = stat_of(pid)
    return stat is not None and stat.state not in "ZX"


async def _killed(pid: int, find: Callable[[], set[int]]) -> None:
    gone = asyncio.Event()
    try:
        watched = Watched(pid, lambda _: gone.set())
    except ProcessLookupError:
        return
    try:
        if pid in find():  # looked at again with the pidfd in hand: the number was not given to another one meanwhile
            watched.signal(signal.SIGKILL)
            await gone.wait()
    finally:
        watched.let_go()
