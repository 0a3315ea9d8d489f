"""The agent's doors over a fake agent that answers what a test wants, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from click.testing import CliRunner, Result

from hotswap.control import EventStream, Request, Response, Route
from hotswap.errors import HotswapError
from vm_agent.cli.main import main
from vm_agent.doors import SOCKET, Doors
from vm_agent.errors import SpecError, UnknownSidecar
from vm_agent.routes import Order
from vm_agent.spec.model import AgentSettings, HttpSettings

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE = 20.0

EDGE: Json = {
    "name": "edge",
    "state": "serving",
    "since": time.time() - 60,
    "release": "1.0.0",
    "wanted": "1.0.0",
    "previous": None,
    "paused": False,
    "waits": None,
    "condemned": None,
    "operation": None,
    "pid": 4711,
    "restarts": 0,
    "held": ["tcp 127.0.0.1:8080"],
    "health": {"word": "ready", "text": ""},
}

PROGRESS: list[Json] = [
    {"event": "state", "name": "edge", "state": "preparing", "why": "ordered by hand"},
    {"event": "note", "name": "edge", "what": "rehearsed", "text": "12 connections"},
    {"event": "spawned", "name": "edge", "pid": 5000},
    {"event": "state", "name": "edge", "state": "baking", "why": ""},
]

DONE: Json = {
    "event": "result",
    "name": "edge",
    "ok": True,
    "exit_code": 0,
    "message": "release 1.1.0 serves",
    "release": "1.1.0",
    "state": "serving",
}


def entry(what: str, text: str = "", name: str = "edge", at: float | None = None) -> Json:
    """Of the history."""
    return {"at": time.time() if at is None else at, "name": name, "what": what, "text": text, "facts": {}}


class FakeAgent:
    """Set the answers, run commands against them. A context manager."""

    def __init__(self, directory: Path, http: HttpSettings | None = None) -> None:
        self.settings = AgentSettings(
            specs=str(directory / "specs"),
            state=str(directory / "state"),
            runtime_dir=str(directory / "run"),
            http=http,
        )
        self.specs = directory / "specs"
        self.specs.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "run" / SOCKET
        self.sidecars: list[Json] = [dict(EDGE)]
        self.looks: list[list[Json]] = []  # what the next looks find, before `sidecars`
        self.broken: list[Json] = []
        self.history: list[Json] = []
        self.findings: list[Json] = []
        self.events: list[Json] = [*PROGRESS, DONE]
        self.break_off = False  # after `events`, in the middle of the stream
        self.hold = False  # the stream stays open after `events`
        self.after: Json = {"release": "1.1.0", "wanted": "1.1.0"}  # what an upgrade changes
        self.failure: HotswapError | None = None  # of the next orders
        self.orders: list[tuple[str, Json]] = []
        self.streams: list[EventStream] = []
        self.doors = Doors(self.settings, self.routes())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def routes(self) -> dict[tuple[str, str], Route]:
        """As `vm_agent.routes` has them."""
        orders = ("/apply", "/upgrade", "/rollback", "/pause", "/resume")
        return {
            ("GET", "/status"): self._status,
            ("GET", "/history"): self._history,
            ("GET", "/inspect"): self._inspect,
            **{("POST", path): self._order for path in orders},
        }

    async def _status(self, request: Request) -> Response:
        sidecars = self.looks.pop(0) if self.looks else self.sidecars
        name = request.query.get("name", "")
        found = [one for one in sidecars if not name or one["name"] == name]
        if name and not found:
            raise UnknownSidecar(f"there is no sidecar {name!r}; there are: edge")
        return Response.json(
            {"runner": "children", "specs": str(self.specs), "sidecars": found, "broken_specs": self.broken}
        )

    async def _history(self, request: Request) -> Response:
        name, limit = request.query.get("name", ""), int(request.query.get("limit", "200"))
        return Response.json({"history": [one for one in self.history if not name or one["name"] == name][-limit:]})

    async def _inspect(self, _request: Request) -> Response:
        return Response.json({"findings": self.findings})

    async def _order(self, request: Request) -> Response | EventStream:
        self.orders.append((request.path, request.json(dict[str, Any])))
        order = request.json(Order)
        if self.failure is not None:
            raise self.failure
        if request.path == "/apply" and self.broken:
            raise SpecError("\n".join(one["error"] for one in self.broken))
        if request.path in ("/pause", "/resume"):
            return Response.json({"paused": request.path == "/pause"})
        if request.path == "/upgrade":
            self.sidecars = [{**one, **self.after} for one in self.sidecars]
        if not order.watch:
            known = sorted(one["name"] for one in self.sidecars)
            return Response.json({"sidecars": known} if request.path == "/apply" else {"ordered": True})
        stream = EventStream()
        self.streams.append(stream)
        for event in self.events:
            stream.send(event)
        if self.break_off:
            stream.broken = True
        elif not self.hold:
            stream.end()
        return stream

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.call(self.doors.open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self.streams:
            self._loop.call_soon_threadsafe(stream.end)
        self.call(self.doors.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def run(self, *arguments: str) -> Result:
        """A `hotswap-agent` command in this process."""
        return run(*arguments, socket=self.socket)


def run(*arguments: str, socket: Path) -> Result:
    """A `hotswap-agent` command in this process."""
    environment = {"HOTSWAP_AGENT_SOCKET": str(socket)}
    return CliRunner().invoke(main, arguments, env=environment, prog_name="hotswap-agent")
