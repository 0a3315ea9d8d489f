"""The agent: reads what is wanted, has a driver for each sidecar, answers on its socket, disturbs nobody by ending.

<runtime_dir>/agent.sock     HTTP and JSON, see `routes.py`
<state>/agent.lock           one agent at a time (flock)
<state>/releases/            see `releases/store.py`
<state>/sidecars/<name>/     memory.json, and the link `current`
<state>/history.jsonl        see `history.py`
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from pathlib import Path

from hotswap.cli.output import count
from hotswap.errors import AlreadyRunning, HotswapError, PermissionDenied
from hotswap.filewatch import FileWatch
from hotswap.log import fields
from hotswap.supervisor import Supervisor
from vm_agent.doors import Doors
from vm_agent.errors import SpecError, UnknownSidecar
from vm_agent.history import History
from vm_agent.inspection.patrol import Patrol
from vm_agent.lifecycle.desk import Desk
from vm_agent.lifecycle.driver import Driver
from vm_agent.lifecycle.memory import Memory
from vm_agent.releases.store import NAME, Releases
from vm_agent.routes import routes
from vm_agent.runners.choose import chosen
from vm_agent.spec.loader import load_specs
from vm_agent.spec.model import AgentSettings, Spec

log = logging.getLogger("vm_agent")

_GONE_SECONDS = 2.0  # without a file, and its spec is gone: editors save by a removal and a new one
_CONSIDER_SECONDS = 5.0  # windows open, and nothing tells; nor does every file system of a change


class Daemon:
    """One agent, from `run` to its end."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.state = Path(settings.state)
        self.broken: dict[str, SpecError] = {}
        """Files that cannot be used, with what is wrong. Their sidecars stay as they are."""
        self._drivers: dict[str, Driver] = {}
        self.desk: Desk
        self.patrol: Patrol
        self._seen: object = None
        self._missing: dict[str, float] = {}
        """Sidecars whose spec is not there, since when, on the monotonic clock."""
        self._files = FileWatch(self._touched, "`hotswap-agent apply` reads them")
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises `HotswapError`."""
        lock = self._lock()
        history = History(self.state)
        runner = await chosen(self.settings.runner, self._changed)
        self.desk = Desk(self.settings, Releases(self.state, self.settings.releases), runner, history, self._drivers)
        self.desk.emptied = self._emptied
        self.patrol = Patrol(self)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        doors = Doors(self.settings, routes(self))

        def hang_up() -> None:
            self.reread()
            doors.renew()

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        try:
            self.reread()
            self._files.start()
            await doors.open()
            cared_for = f"looks after {count(len(self.desk.drivers), 'sidecar')}"
            history.note("", "agent began", f"{cared_for} under {runner.kind}")
            self._tasks += [loop.create_task(self._consider()), loop.create_task(self.patrol.walk())]
            told = Supervisor.of_environment()
            told.tell("READY=1", f"STATUS={cared_for}")
            if told.watchdog:
                self._tasks.append(loop.create_task(_live(told)))
            await self._ended.wait()
            told.tell("STOPPING=1")
        finally:
            self._files.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for driver in list(self.desk.drivers.values()):
                await driver.close()
            await doors.close()
            await runner.close()
            os.close(lock)
        history.note("", "agent ended", "sidecars go on")

    def _lock(self) -> int:
        try:
            self.state.mkdir(mode=0o755, parents=True, exist_ok=True)
            (self.state / "sidecars").mkdir(mode=0o755, exist_ok=True)
            lock = os.open(self.state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"{error.filename or self.state} cannot be used: {error.strerror}"
            if isinstance(error, PermissionError):
                raise PermissionDenied(f"{text}; run it as root, or set state, specs and runtime_dir") from None
            raise HotswapError(f"{text}; set `state` of the settings") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AlreadyRunning(f"another agent works in {self.state}") from None
        return lock

    # -- what is wanted ---------------------------------------------------------------------------

    def reread(self, *, sure: bool = False) -> dict[str, SpecError]:
        """Read all specs and have them take effect. A broken file changes nothing for its sidecar.

        `sure`: somebody says that they are as they should be, so one that is missing is gone at once.
        """
        self._seen = self._look()
        try:
            specs, self.broken = load_specs(Path(self.settings.specs))
        except SpecError as error:  # the directory itself: nothing is known of any spec, so nothing changes
            self.broken = {self.settings.specs: error}
            specs = self._remembered()
        for file, trouble in self.broken.items():
            self.desk.history.note_once(Path(file).stem, "broken spec", str(trouble))
        known = self._known()
        for name in sorted({*specs, *known, *self.desk.drivers}):
            self._want(name, specs.get(name), sure=sure)
        configs = [driver.spec.config for driver in self.desk.drivers.values() if driver.spec is not None]
        self._files.follow(configs, inside=[self.settings.specs])
        return self.broken

    def _known(self) -> set[str]:
        names = {path.parent.name for path in (self.state / "sidecars").glob("*/memory.json")}
        return {name for name in names if NAME.fullmatch(name)}  # nobody else's

    def _remembered(self) -> dict[str, Spec]:
        memories = {name: Memory.load(self.state / "sidecars" / name) for name in self._known()}
        return {name: memory.spec for name, memory in memories.items() if memory.spec is not None}

    def _want(self, name: str, spec: Spec | None, *, sure: bool) -> None:
        driver = self.desk.drivers.get(name)
        if driver is None:
            driver = self.desk.drivers[name] = Driver(name, self.desk)
            driver.want(self._kept(name, driver, spec, sure=True))  # what nobody wants is not started first
            self._tasks.append(asyncio.get_running_loop().create_task(driver.resume()))
        else:
            driver.want(self._kept(name, driver, spec, sure=sure))

    def _kept(self, name: str, driver: Driver, spec: Spec | None, *, sure: bool) -> Spec | None:
        """A spec that cannot be read is not a spec that is gone; nor is one whose file is being replaced."""
        before = driver.memory.spec
        broken = before is not None and before.file in self.broken
        if spec is not None or broken or name in {Path(file).stem for file in self.broken}:
            self._missing.pop(name, None)
            return spec or before
        if driver.resumed and driver.spec is None:
            return None
        now = time.monotonic()
        since = self._missing.setdefault(name, now)
        if sure or now - since >= _GONE_SECONDS:
            del self._missing[name]
            return None
        asyncio.get_running_loop().call_later(_GONE_SECONDS, self._look_again, name)
        return before

    def _look_again(self, name: str) -> None:
        if name in self._missing and not self._ended.is_set():
            self._surely_reread()

    def _surely_reread(self) -> None:
        """From where nobody would hear of a failure."""
        try:
            self.reread()
        except Exception:
            log.exception("reading specs failed")

    def _emptied(self, name: str) -> None:
        driver = self.desk.drivers.get(name)
        if driver is not None and driver.spec is None:
            del self.desk.drivers[name]

    def driver(self, name: str) -> Driver:
        """Raises `UnknownSidecar`."""
        driver = self.desk.drivers.get(name)
        if driver is None:
            known = ", ".join(sorted(self.desk.drivers)) or "none"
            raise UnknownSidecar(f"there is no sidecar {name!r}; there are: {known}")
        return driver

    # -- what happens -----------------------------------------------------------------------------

    def _changed(self, name: str) -> None:
        driver = self._drivers.get(name)
        if driver is not None:
            driver.care.look_soon()

    def _touched(self) -> None:
        """A file changed: a spec, or the configuration of a sidecar."""
        if self._look() != self._seen:
            self._surely_reread()
        for driver in self.desk.drivers.values():
            driver.care.look_soon()

    async def _consider(self) -> None:
        while True:
            await asyncio.sleep(_CONSIDER_SECONDS)
            if self._look() != self._seen:
                self._surely_reread()
            for driver in list(self.desk.drivers.values()):
                try:
                    driver.consider()
                except Exception:  # of one sidecar: the others have their turn
                    log.exception("considering it failed", extra=fields(sidecar=driver.name))

    def _look(self) -> object:
        """Changes when a file of the directory does: name, time, size, inode."""
        seen = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.settings.specs):
                with contextlib.suppress(OSError):
                    found = entry.stat()
                    seen.append((entry.name, found.st_mtime_ns, found.st_size, found.st_ino))
        return sorted(seen)


async def _live(told: Supervisor) -> None:
    """As long as this loop turns, the agent lives."""
    while True:
        told.tell("WATCHDOG=1")
        await asyncio.sleep(told.watchdog / 3)
