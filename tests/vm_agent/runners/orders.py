"""Carries out orders to a runner of units, inside a machine of a test: one JSON line each, answered by one.

python -m tests.vm_agent.runners.orders '{}'
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from hotswap.errors import HotswapError
from tests.kit.companion import converse
from tests.vm_agent.runners.stage import PATIENCE, until
from vm_agent.runners.base import Launch, Runner, Running
from vm_agent.runners.choose import chosen
from vm_agent.runners.units import Units
from vm_agent.spec.model import Limits


class Wanted(msgspec.Struct):
    """A launch, as JSON holds it."""

    name: str
    command: tuple[str, ...]
    runtime_dir: str
    environment: dict[str, str]
    directory: str = "/"
    user: str = ""
    capabilities: tuple[str, ...] = ()
    limits: Limits = Limits()
    start_timeout: float = 30.0
    watchdog: float = 0.0

    def launch(self) -> Launch:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return Launch(**{**values, "directory": Path(self.directory), "runtime_dir": Path(self.runtime_dir)})


class Answer(msgspec.Struct):
    """What came of an order."""

    result: Any = None
    error: str = ""
    kind: str = ""


class Orders:
    """One runner."""

    def __init__(self, runner: Runner, changes: list[str]) -> None:
        self.runner = runner
        self.changes = changes

    async def answer(self, order: dict[str, Any]) -> Answer:
        try:
            return Answer(await getattr(self, order["do"])(**{name: order[name] for name in order if name != "do"}))
        except HotswapError as error:
            return Answer(error=str(error), kind=type(error).__name__)

    async def chose(self) -> str:
        return self.runner.kind

    async def start(self, wanted: Any) -> None:
        await self.runner.start(msgspec.convert(wanted, Wanted).launch())

    async def adopt(self, wanted: Any) -> bool:
        return await self.runner.adopt(msgspec.convert(wanted, Wanted).launch())

    async def limit(self, wanted: Any) -> list[str]:
        return await self.runner.limit(msgspec.convert(wanted, Wanted).launch())

    async def look(self, name: str = "echo") -> dict[str, Any] | None:
        running = await self.runner.look(name)
        return None if running is None else _plain(running)

    async def stop(self, name: str = "echo", seconds: float = 10.0) -> None:
        await self.runner.stop(name, seconds)

    async def kill(self, name: str = "echo") -> None:
        await self.runner.kill(name)

    async def until(self, restarts: int) -> dict[str, Any]:
        """Wait until it is ready after so many deaths."""

        async def ready() -> Running | None:
            running = await self.runner.look("echo")
            return running if running is not None and running.ready and running.restarts == restarts else None

        running = await until(ready, f"ready after {restarts} restarts")
        assert running is not None
        return _plain(running)

    async def told(self) -> list[str]:
        changes, self.changes[:] = [*self.changes], []
        return changes

    async def say(self, address: str, text: str) -> str:
        return await asyncio.to_thread(_say, address, text)

    async def die(self, pid: int, address: str, text: str) -> tuple[str, float]:
        """SIGKILL to the process; what a client that connects right then is answered, and after how long."""
        pidfd = os.pidfd_open(pid)
        loop = asyncio.get_running_loop()
        began = loop.time()
        os.kill(pid, signal.SIGKILL)
        select.select([pidfd], [], [], PATIENCE)
        os.close(pidfd)
        answer = await asyncio.to_thread(_say, address, text)
        return answer, loop.time() - began


def _say(address: str, text: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as sock, sock.makefile("rw") as file:
        file.write(f"{text}\n")
        file.flush()
        return file.readline().strip()


def _plain(running: Running) -> dict[str, Any]:
    return {name: getattr(running, name) for name in running.__dataclass_fields__}


async def main() -> None:
    changes: list[str] = []
    if len(sys.argv) > 1:
        runner: Runner = Units(Path(sys.argv[1]))
        await runner.open(changes.append)
    else:
        runner = await chosen("auto", changes.append)
    await converse(Orders(runner, changes).answer)


if __name__ == "__main__":
    asyncio.run(main())
