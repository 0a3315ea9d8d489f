"""Drivers over simulated sidecars: who serves is a value, every order can be held up, answered wrongly, or refused.

async with Bed(directory) as bed:
    edge = await bed.serving("1")
    edge.gates["move"].clear()              # the handover is ordered and not answered
    edge.want("2")
    await bed.until(lambda: edge.state == "moving", "it moves")
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from hotswap import errors
from hotswap.orders import Order
from vm_agent.errors import ReleaseError, StartFailed
from vm_agent.history import History
from vm_agent.lifecycle import work
from vm_agent.lifecycle.desk import Desk
from vm_agent.lifecycle.driver import Driver
from vm_agent.lifecycle.sidecar import Sidecar
from vm_agent.lifecycle.states import State
from vm_agent.releases.store import Releases
from vm_agent.runners.base import Changed, Launch, Running
from vm_agent.spec.model import AbortIf, AgentSettings, Health, Run, Spec, UpgradePolicy

PATIENCE = 4.0
RARELY = 1e6  # seconds: nothing is looked at unless something happens
Event = dict[str, Any]
Scene = Callable[["Bed"], Awaitable[None]]
Play = Callable[[Scene], None]
"""Has a scene happen, in an event loop of its own."""


class FakeReleases(Releases):
    """Each is there until `missing` has it; the links are real."""

    def __init__(self, root: Path, settings: AgentSettings) -> None:
        super().__init__(root, settings.releases)
        self.missing: set[str] = set()
        self.trouble = ""
        """Why no link can be moved."""

    async def install(self, version: str, program: str = "", *, timeout: float = 0.0) -> Any:
        """Nothing but the directory."""
        del program, timeout
        if version in self.missing:
            raise ReleaseError(f"release {version} is missing")
        (self.directory / version).mkdir(parents=True, exist_ok=True)
        return msgspec.defstruct("Made", [("path", Path)])(self.directory / version)

    def get(self, version: str) -> Any:
        """See `Releases`."""
        return (self.directory / version).exists() or None

    def point(self, name: str, version: str) -> None:
        """See `Releases`."""
        if self.trouble or not (self.directory / version).exists():
            raise ReleaseError(self.trouble or f"release {version} is not installed")
        link = self.link(name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../releases/{version}")

    def prune(self, in_use: object) -> list[str]:
        """Nothing."""
        del in_use
        return []


class FakeSidecar(Sidecar):
    """What runs under one name, and what it answers."""

    def __init__(self, bed: Bed, name: str) -> None:
        super().__init__(name, bed.directory, bed.releases.directory, bed.releases.link(name))
        self.bed = bed
        self.serves: str | None = None
        """The release that serves; None: nothing runs."""
        self.state_told = "serving"
        self.how = "cold"
        self.generation = 0
        self.restarts = 0
        self.ready = True
        self.silent: errors.HotswapError | None = None
        """What asking it ends with."""
        self.gates = {what: asyncio.Event() for what in ("rehearse", "move", "back")}
        self.answers: dict[str, list[Event | errors.HotswapError]] = {"rehearse": [], "move": [], "back": []}
        """Of the next orders; without one it does as ordered."""
        self.orders: list[str] = []
        self.driver: Driver
        self.spec: Spec | None = None
        for gate in self.gates.values():
            gate.set()

    # -- what the agent asks ----------------------------------------------------------------------

    async def status(self, *, brief: bool = True) -> Event:
        """See `Sidecar`."""
        del brief
        await asyncio.sleep(0)
        if self.silent is not None:
            raise self.silent
        if self.serves is None:
            raise errors.NotRunning("nobody answers")
        return {"generation": self.generation, "state": self.state_told, "baking": None}

    async def history(self) -> list[Event]:
        """See `Sidecar`."""
        return [{"generation": self.generation, "how": self.how, "outcome": "serving"}]

    async def release(self, status: Event) -> str:
        """See `Sidecar`."""
        del status
        return self.serves or ""

    async def metrics(self) -> bytes:
        """See `Sidecar`."""
        return b""

    async def reload(self) -> Event:
        """See `Sidecar`."""
        return {}

    async def upgrade(self, order: Order, watch: Callable[[Event], None]) -> Event:
        """See `Sidecar`."""
        del watch
        what = "rehearse" if order.dry_run else "back" if order.rollback else "move"
        await self.status()
        self.orders.append(what)
        await self.gates[what].wait()
        answer = self.answers[what].pop(0) if self.answers[what] else {"ok": True}
        if isinstance(answer, errors.HotswapError):
            raise answer
        if answer["ok"] and not order.dry_run:
            assert order.command is not None
            self.becomes(Path(order.command[0]).relative_to(self.bed.releases.directory).parts[0], "upgrade")
        return answer

    # -- what a test says -------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Of its driver."""
        return str(self.driver.memory.state)

    def becomes(self, release: str, how: str) -> None:
        """Another generation serves."""
        self.serves, self.how = release, how
        self.generation += 1

    def dies(self) -> None:
        """And is started anew by the runner, from the link."""
        self.restarts += 1
        self.becomes(self.bed.releases.current(self.name) or "", "cold")
        self.driver.care.look_soon()

    def want(self, release: str, **upgrade: Any) -> None:
        """Write the spec."""
        keys: dict[str, Any] = {"bake": 0.0, "abort_if": AbortIf(crashes=None), "timeout": 0.1}
        policy = UpgradePolicy(**(keys | upgrade))
        self.spec = Spec(
            name=self.name,
            release=release,
            config=str(self.bed.directory / f"{self.name}-config.yaml"),
            command=("bin/sidecar", "{config}"),
            run=Run(start_timeout=0.1),
            health=Health(interval=RARELY),
            upgrade=policy,
        )
        self.driver.want(self.spec)

    def told(self) -> list[str]:
        """The history, as ``what: text``."""
        return [f"{one.what}: {one.text}" for one in self.bed.history.entries(self.name)]


class FakeRunner:
    """Starts what the link names."""

    kind = "fake"

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.trouble: errors.HotswapError | None = None
        """What `look` ends with."""
        self.broken: set[str] = set()
        """Releases that do not start."""
        self.stopped: list[str] = []
        self.killed: list[str] = []

    async def open(self, changed: Changed) -> None:
        """See `Runner`."""

    async def close(self) -> None:
        """See `Runner`."""

    async def start(self, launch: Launch) -> None:
        """See `Runner`."""
        await asyncio.sleep(0)
        release = self.bed.releases.current(launch.name) or ""
        if release in self.broken:
            raise StartFailed(f"release {release} ended at once")
        self.bed.sidecars[launch.name].becomes(release, "cold")

    async def adopt(self, launch: Launch) -> bool:
        """See `Runner`."""
        return self.bed.sidecars[launch.name].serves is not None

    async def look(self, name: str) -> Running | None:
        """See `Runner`."""
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        sidecar = self.bed.sidecars[name]
        return (
            None
            if sidecar.serves is None
            else Running(sidecar.generation, sidecar.ready, sidecar.restarts, (), 0, "", "")
        )

    async def limit(self, launch: Launch) -> list[str]:
        """See `Runner`."""
        del launch
        return []

    async def stop(self, name: str, seconds: float) -> None:
        """See `Runner`."""
        del seconds
        await asyncio.sleep(0)
        self.stopped.append(name)
        self.bed.sidecars[name].serves = None
        self.bed.sidecars[name].silent, self.bed.sidecars[name].ready = None, True

    async def kill(self, name: str) -> None:
        """See `Runner`."""
        self.killed.append(name)
        self.bed.sidecars[name].silent = None
        self.bed.sidecars[name].dies()


class Bed:
    """One agent's desk, in an event loop."""

    def __init__(self, directory: Path, monkeypatch: Any = None) -> None:
        self.directory = directory
        (directory / "state").mkdir(exist_ok=True)
        settings = AgentSettings(state=str(directory / "state"), runtime_dir=str(directory / "run"))
        self.releases = FakeReleases(directory / "state", settings)
        self.runner = FakeRunner(self)
        self.history = History(directory / "state")
        self.desk = Desk(settings, self.releases, self.runner, self.history)
        self.desk.emptied = self._emptied
        self.sidecars: dict[str, FakeSidecar] = {}
        self.failures: list[object] = []
        """Exceptions that nobody took."""
        if monkeypatch is not None:
            for name in ("_LOOK_SECONDS", "_AGAIN_SECONDS"):
                monkeypatch.setattr(work, name, 0.001)
            monkeypatch.setattr(work, "_WAY_BACK_SECONDS", 0.5)

    def _emptied(self, name: str) -> None:
        del self.desk.drivers[name]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.failures.append(context))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for driver in list(self.desk.drivers.values()):
            await driver.close()
        assert error is not None or self.failures == [], self.failures

    def make(self, name: str = "edge") -> FakeSidecar:
        """One whose agent has not begun."""
        sidecar = self.sidecars[name] = self.sidecars.get(name) or FakeSidecar(self, name)
        sidecar.driver = self.desk.drivers[name] = Driver(name, self.desk)
        sidecar.driver.sidecar = sidecar
        return sidecar

    async def serving(self, release: str, name: str = "edge", **upgrade: Any) -> FakeSidecar:
        """One that serves."""
        sidecar = self.make(name)
        sidecar.want(release, **upgrade)
        await sidecar.driver.resume()
        await self.until(lambda: sidecar.state == "serving", "it serves")
        return sidecar

    async def again(self, name: str = "edge") -> FakeSidecar:
        """Another agent takes over, after one that was killed."""
        before = self.sidecars[name]
        before.driver.remember = lambda: None  # type: ignore[method-assign]  # the dead write nothing
        await before.driver.close()
        sidecar = self.make(name)
        sidecar.driver.want(sidecar.spec)
        return sidecar

    async def until(self, check: Callable[[], Any], what: str) -> None:
        """Wait for it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not check():  # noqa: ASYNC110  nothing tells of a change here
                    await asyncio.sleep(0.001)
        except TimeoutError:
            states = {name: (one.state, one.serves, one.told()) for name, one in self.sidecars.items()}
            raise AssertionError(f"{what}: {states} {self.failures}") from None


def rests(edge: FakeSidecar, release: str) -> bool:
    """It serves this release, and the link, the process and the memory agree on it."""
    memory = edge.driver.memory
    return (
        memory.state is State.SERVING
        and memory.operation is None
        and edge.serves == edge.driver.serving == edge.bed.releases.current("edge") == release
    )
