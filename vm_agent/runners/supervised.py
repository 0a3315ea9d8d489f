"""One sidecar under the agent's own eyes: what systemd does for a service of Type=notify with Restart=always.

    start ---> STARTING --READY=1--> RUNNING --death--> (RESTING, after several deaths) --> STARTING ...
    stop  ---> STOPPING: SIGTERM, wait, SIGKILL

A death before the first READY=1 ends the start. `MAINPID=` moves the watch to another process; the one before is
watched on, for it may serve what could not move. A new process finds out by itself what it is: the owner, with the
listeners that were kept, or the successor of one that still answers on handover.sock.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from hotswap.errors import HotswapError
from hotswap.log import Once, fields
from vm_agent.errors import StartFailed
from vm_agent.runners import plan, sessions
from vm_agent.runners.backoff import Backoff
from vm_agent.runners.base import Launch, Running
from vm_agent.runners.cgroups import Group, Own, total_memory
from vm_agent.runners.notify import Letter, NotifySocket
from vm_agent.runners.output import Output
from vm_agent.runners.processes import Watched, belongs, in_sessions, kill_all
from vm_agent.runners.spawning import spawn
from vm_agent.runners.store import Store
from vm_agent.runners.watchdog import Watchdog

log = logging.getLogger("hotswap.agent")

KILL_SECONDS = 10.0  # to be gone after SIGKILL: a process in the kernel's hands may take longer


class Phase(enum.Enum):
    """See the module text."""

    STARTING = "starting"
    RUNNING = "running"
    RESTING = "resting"
    STOPPING = "stopping"


class Supervised:
    """One sidecar. Everything happens in the event loop's thread."""

    def __init__(self, launch: Launch, own: Own, changed: Callable[[str], None], uid: int | None = None) -> None:
        """Bind the notify socket. `uid`: who it runs as, if it runs already. Raises `HotswapError`."""
        self.launch = launch
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._uid = plan.uid_of(plan.account_of(launch)) if uid is None else uid
        agents = plan.agents_directory(launch)
        self._output = Output(launch.log or agents / f"{launch.name}.log")
        self._socket = NotifySocket(agents / f"{launch.name}.notify", self._uid)
        self._record = sessions.record(launch.runtime_dir, launch.name)
        self._loop.add_reader(self._socket.fileno(), self._notified)
        self.group = Group(launch.name, launch.runtime_dir, own)
        self.missed: list[str] = []
        self._store = Store()
        self._backoff = Backoff()
        self._strangers = Once()
        self.phase = Phase.STARTING
        self._main: Watched | None = None
        self._former: dict[int, Watched] = {}
        self.sessions: set[int] = set()
        self._ready = False
        self._restarts = 0
        self._ending = self._status = ""
        self._stopped = self._closed = False
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._deaths = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None  # the end of a start, or of a rest
        self._watchdog = Watchdog(launch.watchdog, self._hangs)

    # -- what the runner asks ---------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, and return once it is ready. Raises `StartFailed`; `end` it then."""
        self.missed = self.group.apply(self.launch.limits, total_memory())
        self._spawn()
        try:
            await self._first
        except asyncio.CancelledError:
            if self._stopped:
                raise StartFailed(f"{self.launch.name} was stopped before it was ready") from None
            raise

    def adopt(self, pid: int, *, ready: bool, patience: float = 0.0) -> None:
        """Look after a process that runs. It is killed if it is not ready after `patience` seconds; 0: that may be.

        Raises `ProcessLookupError`.
        """
        self._main = Watched(pid, self._died)
        # Of a session that is not written down only this process is ours: a shell may be in it, and its jobs.
        self.sessions |= sessions.recall(self._record)
        self._first.set_result(None)
        self.missed = self.group.apply(self.launch.limits, total_memory())
        self.phase = Phase.RUNNING
        self._ready = ready
        if ready:
            self._watchdog.begin()
        elif patience:
            self._timer = self._loop.call_later(patience, self._late)

    async def await_start(self) -> bool:
        """Look after a process that an agent before this one has just started, and return once it is ready.

        False: there is none, or it ended, or had to be ended since it was not ready in time.
        """
        recalled = sessions.recall(self._record)
        found = sessions.starting(recalled, self.launch.start_timeout)
        if found is None:
            return False
        pid, left = found
        try:
            self._main = Watched(pid, self._died)
        except ProcessLookupError:
            return False
        self.sessions |= recalled
        self.missed = self.group.apply(self.launch.limits, total_memory())
        self._timer = self._loop.call_later(left, self._late)
        try:
            await self._first
        except StartFailed as failure:
            log.error("%s", failure)  # noqa: TRY400  the text says it all
            await kill_all(self.members, KILL_SECONDS)
            return False
        return True

    def look(self) -> Running:
        """What runs now."""
        self._output.trim()
        return Running(
            pid=0 if self._main is None else self._main.pid,
            ready=self._ready and self._main is not None,
            restarts=self._restarts,
            held=self._store.addresses(),
            kept=len(self._store),
            ending=self._ending,
            status=self._status,
        )

    def watched(self) -> set[int]:
        """The pids whose end this will hear of by itself."""
        return {*self._former, *([] if self._main is None else [self._main.pid])}

    def members(self) -> set[int]:
        """All its processes, as far as they can be known: its sessions, and its group."""
        return ({*in_sessions(self.sessions)} | self.group.members() | self.watched()) - {os.getpid()}

    def kill(self) -> None:
        """SIGKILL the main process."""
        if self._main is not None:
            self._main.signal(signal.SIGKILL)

    async def stop(self, seconds: float) -> None:
        """SIGTERM to all generations, SIGKILL to what is left after so many seconds."""
        self.phase = Phase.STOPPING
        self._cancel_timers()
        for watched in self._all():
            watched.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                while self._all():
                    self._deaths.clear()
                    await self._deaths.wait()
        except TimeoutError:
            log.warning("did not end in time: killing it", extra=fields(sidecar=self.launch.name, seconds=seconds))
        await self.end()

    async def end(self) -> None:
        """SIGKILL everything, and let go of what was held."""
        self.phase = Phase.STOPPING
        left = await kill_all(self.members, KILL_SECONDS)
        if left:
            log.error("these do not die", extra=fields(sidecar=self.launch.name, pids=sorted(left)))
        self._close()
        self._socket.remove()
        self._record.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Look after it no more; it runs on."""
        self._close()

    def _close(self) -> None:
        """Once: a stop may come to the end of a start that failed by it."""
        if self._closed:
            return
        self._closed = True
        self._cancel_timers()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for watched in self._all():
            watched.let_go()
        self._main, self._former = None, {}
        self._store.clear()
        if not self._first.done():
            self._stopped = True
            self._first.cancel()

    def _all(self) -> list[Watched]:
        return [*self._former.values(), *([] if self._main is None else [self._main])]

    # -- start and death --------------------------------------------------------------------------

    def _spawn(self) -> None:
        """Raises `StartFailed` if not even a process can be made."""
        launch = self.launch
        self.phase, self._ready, self._status = Phase.STARTING, False, ""
        self._watchdog.seconds = launch.watchdog
        account = plan.account_of(launch)
        plan.prepare(launch, account)
        if self._uid != plan.uid_of(account):
            self._uid = plan.uid_of(account)
            self._socket.give(self._uid)
        fds, names = self._store.fds, self._store.names
        nice = "cpu_weight" in self.missed
        self._output.mark()
        pid = spawn(
            launch,
            plan.command(launch, account, self.group.doors(), listen=fds, nice=nice),
            plan.environment(launch, self._socket.path, names),
            fds,
            self._output,
        )
        self.sessions.add(pid)
        try:
            sessions.remember(self._record, self.sessions)
        except OSError as error:  # the agent after this one does not know then that it was ours
            log.warning("not written down", extra=fields(sidecar=launch.name, file=str(error.filename)))
        self._main = Watched(pid, self._died)
        self._timer = self._loop.call_later(launch.start_timeout, self._late)

    def _late(self) -> None:
        """It runs, and is not ready in time."""
        self._timer = None
        seconds = self.launch.start_timeout
        if not self._first.done():
            self._fail(f"not ready within {seconds:g} s")
        else:
            log.error("not ready in time: killing it", extra=fields(sidecar=self.launch.name, seconds=seconds))
            self.kill()

    def _fail(self, why: str) -> None:
        said = self._output.last()
        text = f"; it said last:\n{said}" if said else f", and wrote nothing to {self._output.path}"
        self._first.set_exception(StartFailed(f"{self.launch.name} could not be started: {why}{text}"))

    def _died(self, watched: Watched) -> None:
        """A process of ours is no more."""
        self._deaths.set()
        self._prune()
        if watched is not self._main:
            self._former.pop(watched.pid, None)
            return
        self._main, self._ending, self._ready = None, watched.ending, False
        self._cancel_timers()
        if not self._first.done():
            self._fail(watched.ending)
        elif self.phase is not Phase.STOPPING:
            log.error("died", extra=fields(sidecar=self.launch.name, pid=watched.pid, how=watched.ending))
            self._rest()
        self._changed(self.launch.name)

    def _rest(self) -> None:
        """Start it anew, at once or a little later."""
        delay = self._backoff.died(self._loop.time())
        self.phase = Phase.RESTING
        if delay:
            log.warning("dies again and again", extra=fields(sidecar=self.launch.name, next_start_in=delay))
            self._timer = self._loop.call_later(delay, self._again)
        else:
            self._again()

    def _again(self) -> None:
        self._timer = None
        self._restarts += 1
        try:
            self._spawn()
        except HotswapError as failure:
            log.error("%s", failure)  # noqa: TRY400  the text says it all
            self._ending = str(failure)
            self._rest_longer()

    def _rest_longer(self) -> None:
        """Never in a circle: a start that fails at once is tried again from the event loop."""
        delay = max(self._backoff.died(self._loop.time()), 1.0)
        self.phase = Phase.RESTING
        self._timer = self._loop.call_later(delay, self._again)

    def _prune(self) -> None:
        """Forget sessions without processes: their numbers may be given to others."""
        self.sessions &= {*in_sessions(self.sessions).values()}

    def _cancel_timers(self) -> None:
        self._watchdog.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what it tells ----------------------------------------------------------------------------

    def _notified(self) -> None:
        spoilt = self._socket.receive(self._deliver)
        if spoilt:
            log.warning("cut messages on the notify socket", extra=fields(sidecar=self.launch.name, count=spoilt))

    def _deliver(self, letter: Letter) -> None:
        message = letter.message
        kept = False
        if self._believes(letter):
            if message.store and not message.remove:
                kept = True
                refused = self._store.add(message.name, letter.fds)
                if refused:
                    log.warning("too many descriptors", extra=fields(sidecar=self.launch.name, dropped=refused))
            self._heed(letter)
        if not kept:
            for fd in letter.fds:  # a BARRIER=1 is answered by that
                os.close(fd)

    def _believes(self, letter: Letter) -> bool:
        """Its own processes only. One that is gone already is known by its user: the socket lets in nobody else."""
        known = letter.uid in {self._uid, 0} and (
            not Path(f"/proc/{letter.pid}").exists() or belongs(letter.pid, self.sessions, self.watched())
        )
        if not known and self._strangers.first((letter.pid, letter.uid)):
            who = {"pid": letter.pid, "uid": letter.uid}
            log.warning("a stranger on the notify socket", extra=fields(sidecar=self.launch.name, **who))
        return known

    def _heed(self, letter: Letter) -> None:
        message = letter.message
        if message.main_pid is not None:
            self._move(message.main_pid)
        if message.remove:
            self._store.remove(message.name)
        if message.status is not None:
            self._status = message.status
        if message.watchdog is not None:
            self._watchdog.seconds = message.watchdog
            if self._ready:
                self._watchdog.begin()
        if message.alive or message.ready:
            self._watchdog.alive()
        if message.hangs:
            self._hangs()
        if message.ready and not self._ready and self._main is not None and self.phase is not Phase.STOPPING:
            self._now_ready()
        if message.store or message.remove or message.status is not None:
            self._changed(self.launch.name)

    def _now_ready(self) -> None:
        self._ready = True
        self.phase = Phase.RUNNING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watchdog.begin()
        if not self._first.done():
            self._first.set_result(None)
        self._changed(self.launch.name)

    def _move(self, pid: int) -> None:
        """Another process is the main one."""
        if self._main is not None and self._main.pid == pid:
            return
        if not belongs(pid, self.sessions, self.watched()):
            log.warning("MAINPID is none of its own", extra=fields(sidecar=self.launch.name, pid=pid))
            return
        watched = self._former.pop(pid, None)
        if watched is None:
            try:
                watched = Watched(pid, self._died)
            except ProcessLookupError:
                return  # dead again; the one before is still the main one
            if belongs(session := os.getsid(pid), self.sessions, self.watched()):
                self.sessions.add(session)
        if self._main is not None:
            self._former[self._main.pid] = self._main
        self._main = watched
        if self.phase is Phase.RESTING:
            self._cancel_timers()  # one that was there before goes on with it
            self.phase = Phase.RUNNING
            self._ready = True
            self._watchdog.begin()
        self._changed(self.launch.name)

    def _hangs(self) -> None:
        log.error("no sign of life: killing it", extra=fields(sidecar=self.launch.name, seconds=self._watchdog.seconds))
        self.kill()
