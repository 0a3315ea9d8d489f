"""What the supervisor hears of an owner: when it comes to own, while it does, and who comes after it.

    owns         every listener into the store, then MAINPID, READY, STATUS: a crash from then on refuses nobody
    after a death the same, but MAINPID only if nobody takes over soon: see `Tenure.begin`
    meanwhile    WATCHDOG, with MAINPID once more
    reloaded     new listeners into the store, others out of it before they are closed
    drains       STOPPING, and how long it may take; listeners out of the store before they are closed
    gave away    the successor's MAINPID and a barrier: a main process whose end comes first would count as a crash
    adopted      MAINPID twice over: see `Tenure._adopted`

A destination that does not own yet says nothing, nor does a source that gave everything away, but for that.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hotswap.log import fields
from hotswap.spawn import Bystander, on_death
from hotswap.supervisor import name_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Mapping

    from hotswap.estate import Estate
    from hotswap.supervisor import Supervisor

log = logging.getLogger("hotswap")

BARRIER_SECONDS: Final = 5.0
"""For the supervisor to learn of the new main process before the old one ends."""
CLAIM_SECONDS: Final = 3.0
"""After a death, for a process that the supervisor starts in the place of the dead one."""
STOP_SLACK: Final = 10.0
"""Seconds beyond the deadline of a drain, for its end."""


class Tenure:
    """That of one generation. `describe` says in a line what it does."""

    def __init__(
        self, supervisor: Supervisor, estate: Estate, describe: Callable[[], str], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._supervisor = supervisor
        self._estate = estate
        self._describe = describe
        self._loop = loop
        self._stored: set[str] = set()
        self._beat: asyncio.TimerHandle | None = None
        self._claim: asyncio.TimerHandle | None = None  # to come
        self._owns = False
        self._stopping = False
        self.settled = True
        """The supervisor knows who comes next, or had its time to learn it."""

    @property
    def supervised(self) -> bool:
        """Somebody wants to hear it."""
        return bool(self._supervisor.address)

    def begin(self, dropped: Collection[str] = (), *, crashed: bool = False) -> None:
        """This process owns. `dropped`: names in the store that nobody wants any more.

        `crashed`: because another one died; so did a source that did not live to see this. If that was the main
        process, the service failed for systemd: it ends whatever is the main one by then, and starts another. So this
        one becomes the main process only when none came in time; one that comes takes over from it, or is refused.
        """
        self._owns = True
        for name in dropped:
            self._remove(name)
        starter = self._supervisor.starter
        if self.supervised and (crashed or os.getppid() != starter):
            self._stored.clear()
            self.follow(self._estate.held())
            self._claim = self._loop.call_later(CLAIM_SECONDS, self.claim)
        else:
            self.again()
            if self.supervised and not is_systemd(starter):  # the source, which is about to end
                try:
                    on_death(self._loop, os.pidfd_open(starter), self._adopted)
                except OSError:  # it ended just now
                    self._loop.call_soon(self._adopted)
        if self._supervisor.watchdog and self._beat is None:
            self._live()

    def _adopted(self) -> None:
        """The process that started this one has ended. Have systemd notice.

        When it hears MAINPID it decides whether that is a process of its own, and this one was not yet. For another's
        it does not wait when it stops the unit: SIGTERM and SIGKILL come at once. And it decides anew only when another
        process was the main one in between: one that does nothing, and lives until that was heard.
        """
        if not self._owns or not is_systemd(os.getppid()):
            return
        try:
            other = Bystander()
        except OSError as error:
            log.warning("systemd takes this process for another's", extra=fields(reason=str(error)))
            return
        self._supervisor.tell(f"MAINPID={other.pid}")
        self._supervisor.tell(f"MAINPID={os.getpid()}")
        self._supervisor.when_heard(other.end, BARRIER_SECONDS)

    def again(self) -> None:
        """Everything, to a supervisor that may know nothing."""
        if not self._stopping:  # else listeners are closed, or about to be
            self._stored.clear()
            self.follow(self._estate.held())
        self.claim()

    def claim(self) -> None:
        """This process is the main one, whoever else was started."""
        self._forget_claim()
        words = () if self._stopping else ("READY=1", f"STATUS={self._describe()}")
        self._supervisor.tell(f"MAINPID={os.getpid()}", *words)

    def follow(self, held: Mapping[str, int]) -> None:
        """These are the listeners from now on, by address. Call it before others are closed."""
        names = {name_of(address): fd for address, fd in held.items()}
        for name in sorted(self._stored - names.keys()):
            self._remove(name)
        for name, fd in names.items():
            if name not in self._stored:
                # Without FDPOLL=0 one that was told to refuse clients would be dropped.
                self._supervisor.tell("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=[fd])
        self._stored = {*names}

    def let_go(self, addresses: Collection[str]) -> None:
        """These are about to be closed: a stored copy would let clients in whom nobody serves."""
        for address in addresses:
            name = name_of(address)
            self._stored.discard(name)
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._supervisor.tell("FDSTOREREMOVE=1", f"FDNAME={name}")

    def _live(self) -> None:
        """The main process says so with every beat: one that was started beside it may have been taken for it."""
        self._supervisor.tell("WATCHDOG=1", *([] if self._claim is not None else [f"MAINPID={os.getpid()}"]))
        self._beat = self._loop.call_later(self._supervisor.watchdog / 3, self._live)

    def drain(self, seconds: float) -> None:
        """It ends on purpose, and may take so long."""
        self._stopping = True
        microseconds = int((seconds + STOP_SLACK) * 1e6)
        self._supervisor.tell("STOPPING=1", f"STATUS={self._describe()}", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def end(self) -> None:
        """Another one owns."""
        self._owns = False
        self._forget_claim()
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    def _forget_claim(self) -> None:
        if self._claim is not None:
            self._claim.cancel()
            self._claim = None

    def succeeded_by(self, pidfd: int) -> None:
        """That process is the main one from now on. Not `settled` until the supervisor knows."""
        pid = pid_of(pidfd)
        if pid <= 0 or not self.supervised:
            return
        self._supervisor.tell(f"MAINPID={pid}")
        self.settled = False
        self._supervisor.when_heard(self._settle, BARRIER_SECONDS)

    def _settle(self) -> None:
        self.settled = True


def is_systemd(pid: int) -> bool:
    """Whether that is the system's systemd, or a user's. PID 1 is one if it cannot be seen (ProtectProc=)."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
    except OSError:
        return pid == 1


def pid_of(pidfd: int) -> int:
    """The process behind a pidfd; 0 or less if it ended, or lives out of sight. See pidfd_open(2)."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
    except (OSError, ValueError, IndexError):
        return 0
