"""What one patrol knows of one sidecar before it looks closer: spec, memory, runner, and what it says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.errors import HotswapError
from vm_agent.lifecycle.memory import Condemned
from vm_agent.lifecycle.states import State
from vm_agent.runners.base import Running
from vm_agent.spec.model import Spec

if TYPE_CHECKING:
    from vm_agent.lifecycle.driver import Driver

LOOK_SECONDS = 5.0


class Listening(msgspec.Struct, frozen=True):
    """A listener that it says it has."""

    name: str = ""
    address: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /status``, as far as it is looked at. `server` is the program's own affair, and may be anything."""

    pid: int = 0
    generation: int = 0
    version: str = ""
    state: str = ""
    listeners: tuple[Listening, ...] = ()
    server: Any = None
    last_reload: Any = None

    def of_server(self, key: str) -> list[dict[str, Any]]:
        """A list in `server`; empty if there is none."""
        found = self.server.get(key) if isinstance(self.server, dict) else None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``GET /history``, as far as it is looked at."""

    generation: int = 0
    pid: int = 0
    began: float = 0.0
    outcome: str = ""

    @property
    def failed(self) -> bool:
        """It never came to own."""
        return self.outcome.startswith("failed")


@dataclass(frozen=True)
class Subject:
    """One sidecar at one moment."""

    name: str
    spec: Spec | None = None
    state: State = State.SERVING
    busy: bool = False
    """Something is under way: what is in between is no finding."""
    serving: str = ""
    """The release that serves."""
    current: str | None = None
    """The release that a crash would start."""
    previous: str = ""
    waits: str = ""
    paused: bool = False
    condemned: Condemned | None = None
    config: str = ""
    """Digest of the configuration that was loaded, or refused, last."""
    running: Running | None = None
    told: Told | None = None
    """None: it did not answer."""
    silence: str = ""
    """Why not."""
    history: tuple[Past, ...] = field(default=())

    @property
    def pid(self) -> int:
        """Of the process that serves; 0: none does."""
        if self.told is not None and self.told.pid:
            return self.told.pid
        return 0 if self.running is None else self.running.pid

    @property
    def rests(self) -> bool:
        """It serves, and nothing is under way."""
        return self.state is State.SERVING and not self.busy


async def look(driver: Driver) -> Subject:
    """Ask everybody about one sidecar, for some seconds at most. Does not fail: what nobody says is not known."""
    told: Told | None = None
    history: tuple[Past, ...] = ()
    silence = ""
    running, trouble = await _running(driver)
    try:
        async with asyncio.timeout(2 * LOOK_SECONDS):
            told = msgspec.convert(await driver.sidecar.status(brief=False), Told, strict=False)
            records = await driver.sidecar.history()
            history = tuple(msgspec.convert(one, Past, strict=False) for one in records)
    except HotswapError as error:
        silence = str(error)
    except TimeoutError:
        silence = f"no answer within {2 * LOOK_SECONDS:g} s"
    except msgspec.ValidationError as error:
        silence = f"its answer makes no sense: {error}"
    memory = driver.memory
    return Subject(
        name=driver.name,
        spec=driver.spec or memory.spec,
        state=memory.state,
        busy=memory.operation is not None or driver.busy or not driver.resumed,
        serving=driver.serving,
        current=driver.desk.releases.current(driver.name),
        previous=memory.previous,
        waits=driver.waits,
        paused=memory.paused,
        condemned=memory.condemned,
        config=memory.config,
        running=running,
        told=told,
        silence=silence or trouble,
        history=history,
    )


async def _running(driver: Driver) -> tuple[Running | None, str]:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await driver.desk.runner.look(driver.name), ""
    except HotswapError as error:
        return None, str(error)
    except TimeoutError:
        return None, f"{driver.desk.runner.kind} does not answer within {LOOK_SECONDS:g} s"
