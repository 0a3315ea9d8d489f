"""Sidecars as transient units of systemd, which starts them anew, keeps their listeners, and enforces their limits.

They are units like any other: ``systemctl status hotswap-sidecar-edge``, and reload is a lossless upgrade. The agent
only orders and looks, so what becomes of the agent is nothing to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message

from hotswap.errors import HotswapError
from hotswap.log import fields
from vm_agent.errors import StartFailed, UnknownSidecar
from vm_agent.runners import journal, living, plan, unit
from vm_agent.runners.base import Changed, Launch, Running
from vm_agent.runners.cgroups import total_memory
from vm_agent.runners.dbus import Bus, BusError, BusLost, manager
from vm_agent.runners.processes import Watched, kill_all

log = logging.getLogger("hotswap.agent")

MANAGER = manager("org.freedesktop.systemd1.Manager")
JOB_MARGIN = 10.0  # seconds that a job may take beyond the time limit of what it does
GONE = {"org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess"}
LOOK_AGAIN = 1.0  # seconds: a signal may have come while nobody waited
JOBS_REMEMBERED = 256
_ATTEMPTS = 3


class Units:
    """A `Runner` by systemd. Needs root, or a polkit rule for org.freedesktop.systemd1.manage-units."""

    def __init__(self, bus_path: Path | None = None) -> None:
        self._bus = Bus(self._signalled, self._returned, bus_path)
        self._changed: Changed = lambda _name: None
        self._known: dict[str, Launch] = {}
        self._endings: dict[str, tuple[int, str]] = {}  # after which restart, how the process before it ended
        self._finished: dict[str, str] = {}  # result by object path, of the latest jobs
        self._returns = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def kind(self) -> str:
        """See `Runner`."""
        return "systemd"

    async def open(self, changed: Changed) -> None:
        """See `Runner`."""
        self._changed = changed
        await self._bus.open()

    async def close(self) -> None:
        """See `Runner`."""
        await self._bus.close()

    # -- orders -----------------------------------------------------------------------------------

    async def start(self, launch: Launch) -> None:
        """See `Runner`."""
        name = unit.unit_of(launch.name)
        account = plan.account_of(launch)
        wanted = unit.properties(launch, total_memory())
        if not unit.below_run(launch):
            launch.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            plan.prepare(launch, account)
        if unit.state(await self._properties(name)) is not None:
            raise StartFailed(f"{launch.name} runs already, as {name}: stop it before")
        await self._forgiven(name)
        with contextlib.suppress(OSError):
            unit.starts(launch).unlink()
        self._known[launch.name] = launch
        began = time.time()
        try:
            result = await self._job(
                "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", wanted, []), launch.start_timeout + JOB_MARGIN
            )
        except BusError as error:
            await self._end(launch.name, name)
            raise StartFailed(f"{launch.name} could not be started: {error}") from None
        except TimeoutError:
            result = "systemd does not tell of the end of its start"
        except BaseException:
            await self._end(launch.name, name)
            raise
        if result != "done":
            await self._end(launch.name, name)
            how, said = await journal.failure(name, began)
            told = f"; it said last:\n{said}" if said else f"; look at 'journalctl -u {name}'"
            raise StartFailed(f"{launch.name} could not be started: {how or result}{told}")

    async def adopt(self, launch: Launch) -> bool:
        """See `Runner`."""
        found = unit.state(await self._properties(unit.unit_of(launch.name)))
        if found is None:
            return False
        self._known[launch.name] = launch
        return True

    async def look(self, name: str) -> Running | None:
        """See `Runner`."""
        found = await self._properties(unit.unit_of(name))
        running = unit.state(found)
        if running is None or running.ending or not running.restarts:
            return running
        # The process of now has not ended: how the one before did stands in the journal alone.
        restarts, how = self._endings.get(name, (0, ""))
        if restarts != running.restarts:
            how = await journal.ending(unit.unit_of(name))
            self._endings[name] = (running.restarts, how)
        return unit.state(found, how)

    async def limit(self, launch: Launch) -> list[str]:
        """See `Runner`."""
        name = unit.unit_of(launch.name)
        found = await self._properties(name)
        if not found:
            raise UnknownSidecar(f"{launch.name} does not run")
        self._known[launch.name] = launch
        changed = unit.differing(unit.limits(launch.limits, total_memory()), found)
        if changed:
            await self._call("SetUnitProperties", "sba(sv)", (name, True, changed))
        refused: set[str] = set()
        for pid in await self._pids(name):
            refused |= living.rescore(pid, launch.limits.oom_score_adj)
            if launch.limits.open_files is not None:
                refused |= living.refile(pid, launch.limits.open_files)
        told = {text.partition(":")[0] for text in refused}
        stale = [text for text in await self._stale(name, launch) if text.partition(":")[0] not in told]
        return sorted([*refused, *stale])

    async def stop(self, name: str, seconds: float) -> None:
        """See `Runner`. Generations that drain beside the main process have as long as that one."""
        of = unit.unit_of(name)
        deadline = asyncio.get_running_loop().time() + seconds
        found = await self._properties(of)
        if found.get("ActiveState") not in {None, "inactive", "failed"}:
            rest = await self._pids(of) - {int(found.get("MainPID", 0))}
            stopping = asyncio.ensure_future(self._job("StopUnit", "ss", (of, "replace"), seconds + JOB_MARGIN))
            try:
                done, _ = await asyncio.wait([stopping], timeout=seconds)
                if not done:
                    log.warning("did not end in time: killing it", extra=fields(sidecar=name, seconds=seconds))
                    await self._kill(of, "all", signal.SIGKILL)
                await stopping
            except TimeoutError:
                raise HotswapError(f"{name} does not end: look at 'systemctl status {of}'") from None
            except BusError as error:
                if error.name not in GONE:
                    raise
            finally:
                stopping.cancel()
            await _ended(rest, max(0.0, deadline - asyncio.get_running_loop().time()))
            await kill_all(lambda: {pid for pid in rest if _in_unit(pid, of)}, JOB_MARGIN)
        await self._forgiven(of)
        self._known.pop(name, None)
        self._endings.pop(name, None)

    async def kill(self, name: str) -> None:
        """See `Runner`."""
        if not await self._kill(unit.unit_of(name), "main", signal.SIGKILL):
            raise UnknownSidecar(f"{name} does not run")

    async def _end(self, name: str, of: str) -> None:
        """Whatever there is of a start that failed."""
        self._known.pop(name, None)
        with contextlib.suppress(BusError, TimeoutError):
            await self._kill(of, "all", signal.SIGKILL)
            await self._job("StopUnit", "ss", (of, "replace"), JOB_MARGIN)
        await self._forgiven(of)

    async def _kill(self, of: str, whom: str, number: signal.Signals) -> bool:
        """False if there is none."""
        try:
            await self._call("KillUnit", "ssi", (of, whom, int(number)))
        except BusLost:
            raise
        except BusError as error:
            if error.name in GONE:
                return False
            raise
        return True

    async def _forgiven(self, of: str) -> None:
        """A unit that failed stays in memory, and in the way, until this."""
        with contextlib.suppress(BusError):
            await self._call("ResetFailedUnit", "s", (of,))

    async def _stale(self, of: str, launch: Launch) -> list[str]:
        """What the next process gets as the unit was made."""
        found = await self._properties(of)
        texts = []
        if found.get("OOMScoreAdjust") != launch.limits.oom_score_adj:
            texts.append("oom_score_adj: changed for what runs; a crash brings the old one back until it is stopped")
        files = launch.limits.open_files
        if files is not None and found.get("LimitNOFILE") != files:
            texts.append("open_files: changed for what runs; a crash brings the old one back until it is stopped")
        return texts

    # -- asking -----------------------------------------------------------------------------------

    async def _call(self, member: str, signature: str, body: tuple[Any, ...], address: DBusAddress = MANAGER) -> Any:
        """Once more if the connection broke: all that is asked for here may be done twice."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._bus.call(address, member, signature, body)
            except BusLost as lost:
                last = lost
        raise last

    async def _properties(self, of: str) -> dict[str, Any]:
        """Those of the unit and of the service; empty if there is none."""
        try:
            (path,) = await self._call("GetUnit", "s", (of,))
            (found,) = await self._call("GetAll", "s", ("",), manager("org.freedesktop.DBus.Properties", path))
        except BusLost:
            raise
        except BusError:
            return {}
        return {name: value for name, (_, value) in found.items()}

    async def _pids(self, of: str) -> set[int]:
        """All processes of the unit."""
        try:
            (found,) = await self._call("GetUnitProcesses", "s", (of,))
        except BusLost:
            raise
        except BusError:
            return set()
        return {pid for _, pid, _ in found}

    async def _job(self, member: str, signature: str, body: tuple[Any, ...], seconds: float) -> str:
        """Carry out an order and wait for its end; ``done``, ``failed``, ``timeout``, ``canceled`` ...

        If systemd went away meanwhile nobody tells of the end of a job, and the state of the unit does.
        """
        returns = self._returns
        async with asyncio.timeout(seconds):
            try:
                (path,) = await self._bus.call(MANAGER, member, signature, body)
            except BusLost:
                return await self._settled(body[0], member)
            while path not in self._finished:
                if returns != self._returns:
                    return await self._settled(body[0], member)
                await self._next()
        return self._finished[path]

    async def _next(self) -> None:
        """Wait for a signal, or for the connection to come back."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        try:
            await future
        finally:
            self._waiters.remove(future)

    def _wake(self) -> None:
        for future in self._waiters:
            if not future.done():
                future.set_result(None)

    async def _settled(self, of: str, member: str) -> str:
        """Wait until a unit is what the order was to make of it, or something else for good."""
        wanted = {"inactive", "failed", None} if member == "StopUnit" else {"active"}
        while True:
            found = await self._properties(of)
            active = found.get("ActiveState")
            if active in wanted:
                return "done"
            if active not in {"activating", "deactivating", "reloading"} or found.get("SubState") == "auto-restart":
                return "failed"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._next()

    # -- hearing ----------------------------------------------------------------------------------

    def _signalled(self, message: Message) -> None:
        header = message.header.fields
        member = header.get(HeaderFields.member)
        path = str(header.get(HeaderFields.path, ""))
        if member == "JobRemoved" and len(message.body) == 4:
            _, job, _, result = message.body
            self._finished[job] = result
            if len(self._finished) > JOBS_REMEMBERED:
                del self._finished[next(iter(self._finished))]
        elif member == "PropertiesChanged" and path.startswith(unit.UNIT_PATH):
            self._tell(unit.unit_at(path))
        elif member == "UnitRemoved" and len(message.body) == 2:
            self._tell(str(message.body[0]))
        self._wake()

    def _tell(self, of: str) -> None:
        name = unit.name_of(of)
        if name is not None and name in self._known:
            self._changed(name)

    def _returned(self) -> None:
        """Signals were missed: everything may have changed."""
        self._returns += 1
        self._wake()
        for name in [*self._known]:
            self._changed(name)


async def _ended(pids: set[int], seconds: float) -> None:
    """Wait for the end of all of these, so many seconds at most."""
    gone = asyncio.Event()
    left: set[int] = set()

    def died(watched: Watched) -> None:
        left.discard(watched.pid)
        gone.set()

    watches = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            watches.append(Watched(pid, died))
            left.add(pid)
    try:
        async with asyncio.timeout(seconds):
            while left:
                gone.clear()
                await gone.wait()
    except TimeoutError:
        pass
    finally:
        for watched in watches:
            watched.let_go()


def _in_unit(pid: int, of: str) -> bool:
    """Whether a process is in the group of that unit, proc_pid_cgroup(5)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(of in line.split("/") for line in lines)
