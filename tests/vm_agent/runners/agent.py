"""An agent in little, to be killed: it starts one sidecar by a runner, and then does nothing.

python -m tests.vm_agent.runners.agent '{"command": [...], "directory": ..., "runtime_dir": ..., ...}'
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from tests.kit.companion import say
from vm_agent.runners.base import Launch
from vm_agent.runners.children import Children


class Wanted(msgspec.Struct):
    """A launch, as it fits into a command line."""

    name: str
    command: list[str]
    directory: str
    runtime_dir: str
    environment: dict[str, str]
    log: str

    def launch(self) -> Launch:
        return Launch(
            name=self.name,
            command=tuple(self.command),
            directory=Path(self.directory),
            runtime_dir=Path(self.runtime_dir),
            environment=self.environment,
            log=Path(self.log),
        )


class Started(msgspec.Struct):
    """What the test is told."""

    pid: int
    held: tuple[str, ...]


async def main(wanted: Wanted) -> None:
    runner = Children()
    await runner.open(lambda _name: None)
    await runner.start(wanted.launch())
    running = await runner.look(wanted.name)
    assert running is not None
    say(Started(running.pid, running.held))
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Wanted)))
