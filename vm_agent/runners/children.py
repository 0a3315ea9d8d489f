"""Sidecars as the agent's own processes, on machines without systemd: the agent plays its part.

It is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)): a generation that was started by the one before falls to the agent
when that one ends, and the agent is told how it ends. Sidecars outlive the agent, who finds them again by `adopt`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import prctl

from hotswap.errors import HotswapError
from hotswap.log import fields
from vm_agent.errors import StartFailed, UnknownSidecar
from vm_agent.runners import adoption, living, processes, sessions
from vm_agent.runners.base import Changed, Launch, Running
from vm_agent.runners.cgroups import Own, memory_limit, nice_for, total_memory
from vm_agent.runners.supervised import Supervised
from vm_agent.spec.model import Limits

log = logging.getLogger("hotswap.agent")


class Children:
    """A `Runner` that needs nothing but the kernel."""

    def __init__(self) -> None:
        self._sidecars: dict[str, Supervised] = {}
        self._changed: Changed = lambda _name: None
        self._own = Own({}, frozenset())
        self._sessions: set[int] = set()  # of all sidecars that there ever were, until nobody is in them

    @property
    def kind(self) -> str:
        """See `Runner`."""
        return "children"

    async def open(self, changed: Changed) -> None:
        """See `Runner`."""
        self._changed = changed
        self._own = Own.find()
        try:
            prctl.set_child_subreaper(1)
        except OSError as error:
            raise HotswapError(f"this process cannot become a subreaper: {error.strerror}") from None
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    async def close(self) -> None:
        """See `Runner`. Also lets go of what was held: the agent after this one is told by `adopt`."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        for sidecar in self._sidecars.values():
            sidecar.let_go()
        self._sidecars.clear()

    async def start(self, launch: Launch) -> None:
        """See `Runner`."""
        if launch.name in self._sidecars:
            raise StartFailed(f"{launch.name} runs already: stop it before")
        sidecar = Supervised(launch, self._own, self._changed)
        self._sidecars[launch.name] = sidecar
        try:
            await sidecar.start()
        except BaseException:
            if self._sidecars.get(launch.name) is sidecar:
                await sidecar.end()
                self._forget(launch.name)
            raise
        for text in _missed(launch.limits, sidecar.missed):
            log.warning("started without a limit", extra=fields(sidecar=launch.name, limit=text))

    async def adopt(self, launch: Launch) -> bool:
        """See `Runner`. Waits for one that starts; one that hangs is killed after the time for a start.

        Raises `HotswapError` if its socket cannot be bound, and for one that systemd starts anew whatever is done here.
        """
        if launch.name in self._sidecars:
            return True
        found = await adoption.find(launch.runtime_dir, launch.name)
        recalled = sessions.recall(sessions.record(launch.runtime_dir, launch.name))
        if found is None and not recalled:
            return False
        if found is not None and not processes.belongs(found.pid, recalled):
            _leave_to_systemd(launch.name, processes.service_of(found.pid))
        sidecar = Supervised(launch, self._own, self._changed, None if found is None else found.uid)
        if found is None:  # READY=1 comes to us from here on; it may have come to nobody just before
            found = await adoption.find(launch.runtime_dir, launch.name)
        self._sidecars[launch.name] = sidecar
        try:
            if found is not None:
                sidecar.adopt(found.pid, ready=found.ready, patience=0.0 if found.answered else launch.start_timeout)
            elif not await sidecar.await_start():
                if self._sidecars.pop(launch.name, None) is sidecar:
                    sidecar.let_go()
                return False
        except BaseException as error:
            sidecar.let_go()
            self._sidecars.pop(launch.name, None)
            if isinstance(error, ProcessLookupError):
                return False
            raise
        if not await adoption.announce(launch.runtime_dir, launch.name) and sidecar.look().ready:
            log.warning("adopted without its listeners: a crash refuses clients", extra=fields(sidecar=launch.name))
        return True

    async def look(self, name: str) -> Running | None:
        """See `Runner`."""
        sidecar = self._sidecars.get(name)
        return None if sidecar is None else sidecar.look()

    async def limit(self, launch: Launch) -> list[str]:
        """See `Runner`."""
        sidecar = self._of(launch.name)
        sidecar.launch = launch
        limits = launch.limits
        sidecar.missed = sidecar.group.apply(limits, total_memory())
        missed = _missed(limits, sidecar.missed)
        refused: set[str] = set()
        for pid in sidecar.members():
            if "cpu_weight" in sidecar.missed:
                refused |= living.reprioritise(pid, nice_for(limits.cpu_weight))
            refused |= living.rescore(pid, limits.oom_score_adj)
            if limits.open_files is not None:
                refused |= living.refile(pid, limits.open_files)
        return [*missed, *sorted(refused)]

    async def stop(self, name: str, seconds: float) -> None:
        """See `Runner`."""
        sidecar = self._sidecars.get(name)
        if sidecar is not None:
            await sidecar.stop(seconds)
            self._forget(name)

    async def kill(self, name: str) -> None:
        """See `Runner`."""
        self._of(name).kill()

    def _of(self, name: str) -> Supervised:
        if name not in self._sidecars:
            raise UnknownSidecar(f"{name} does not run")
        return self._sidecars[name]

    def _forget(self, name: str) -> None:
        sidecar = self._sidecars.pop(name, None)
        if sidecar is not None:
            self._sessions |= sidecar.sessions
        self._reap()
        if sidecar is not None:
            sidecar.group.remove()  # which one that nobody waited for would keep

    def _reap(self) -> None:
        """SIGCHLD: wait for what fell to us, of sidecars only, and not for whom a pidfd will speak."""
        watched = {pid for sidecar in self._sidecars.values() for pid in sidecar.watched()}
        for sidecar in self._sidecars.values():
            self._sessions |= sidecar.sessions
        ours = self._sessions - {os.getsid(0)}
        for pid in processes.offspring() - watched:
            stat = processes.stat_of(pid)
            if stat is not None and stat.state == "Z" and stat.session in ours:
                processes.reap(pid)
        self._sessions = {*processes.in_sessions(self._sessions).values()}


def _leave_to_systemd(name: str, service: str) -> None:
    if service:
        raise HotswapError(
            f"{name} runs as {service}, which systemd looks after: set runner: systemd, or end it by "
            f"'systemctl disable --now {service}'"
        )


def _missed(limits: Limits, missed: list[str]) -> list[str]:
    """What nothing enforces, for people. RLIMIT_AS is no stand-in: it counts addresses, not memory."""
    why = "the agent has no writable control group for it"
    told = {
        "memory": f"memory: {memory_limit(limits, total_memory())} bytes are not enforced: {why}",
        "cpu": f"cpu: {limits.cpu} cores are not enforced: {why}",
        "cpu_weight": f"cpu_weight: by priority (nice {nice_for(limits.cpu_weight)}) only: {why}",
    }
    return [told[limit] for limit in missed]
