"""A runner and small sidecars under it, in an event loop of one test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.kit.offspring import VARIABLE, Offspring
from tests.kit.ports import free_port
from tests.kit.waiting import GLANCE, Deadline, Late
from vm_agent.runners.base import Changed, Launch, Running
from vm_agent.runners.cgroups import Group, Own
from vm_agent.runners.children import Children

T = TypeVar("T")

PROGRAM = Path(__file__).with_name("program.py")
PATIENCE = 20.0


class Stage:
    """A directory, a port, and what a small sidecar is started with."""

    def __init__(self, directory: Path, offspring: Offspring) -> None:
        self.directory = directory
        self.offspring = offspring
        self.port = free_port()
        self.runtime_dir = directory / "run"
        self.log = directory / "log"
        self.changes: list[str] = []

    def launch(self, *words: str, **changes: Any) -> Launch:
        launch = Launch(
            name="edge",
            command=(sys.executable, "-I", "-S", "-B", str(PROGRAM), str(self.port), *words),
            directory=self.directory,
            runtime_dir=self.runtime_dir,
            environment={VARIABLE: self.offspring.token},
            log=self.log,
            start_timeout=PATIENCE,
        )
        return Launch(**{**{name: getattr(launch, name) for name in launch.__dataclass_fields__}, **changes})

    def end(self) -> None:
        """End every process, and take the group away in which a sidecar was that nobody stopped."""
        self.offspring.end()
        Group("edge", self.runtime_dir, Own.find()).remove()

    def children(self) -> AbstractAsyncContextManager[Children]:
        return opened(self.changes.append)

    async def ask(self, *words: object) -> str:
        """Tell the sidecar one line, and return what it answers."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write((" ".join(map(str, words)) + "\n").encode())
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return answer.decode().strip()

    async def served(self) -> bool:
        """Whether the sidecar accepts connections."""
        try:
            return bool(await self.ask("pid"))
        except ConnectionRefusedError:
            return False


@asynccontextmanager
async def opened(changed: Changed = lambda _name: None) -> AsyncIterator[Children]:
    """A runner without systemd."""
    runner = Children()
    await runner.open(changed)
    try:
        yield runner
    finally:
        await runner.close()


async def look(runner: Children, name: str = "edge") -> Running:
    running = await runner.look(name)
    assert running is not None
    return running


async def until(check: Callable[[], Awaitable[T]], what: str) -> T:
    """The first true answer of `check`, asked again and again while the event loop goes on. Raises `Late`."""
    deadline = Deadline(PATIENCE)
    while True:
        answer = await check()
        if answer:
            return answer
        if deadline.passed:
            raise Late(f"{what}: not within {PATIENCE:g} s")
        await asyncio.sleep(GLANCE)


async def moved_to(runner: Children, pid: int) -> None:
    """Wait until the successor is the main process."""

    async def moved() -> bool:
        return (await look(runner)).pid == pid

    await until(moved, "the successor is the main process")


def decoded(text: str) -> Any:
    return msgspec.json.decode(text)
