"""A control server that says what a test wants, and notes what it was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner, Result

from hotswap.cli.main import main
from hotswap.control import EventStream, Request, Response, Route
from tests.hotswap.serving import Serving, unix_listener

Json = dict[str, Any]

STATUS: Json = {
    "name": "edge",
    "generation": 3,
    "pid": 4711,
    "version": "1.0.0",
    "build": "abc",
    "state": "serving",
    "started": time.time() - 60,
    "config_id": "c0ffee",
    "listeners": [{"name": "web", "address": "127.0.0.1:8080"}, {"name": "db", "address": "unix:/db"}],
    "connections": 9012,
    "in_flight": 37,
    "server": {"accepted": 10, "nested": {"not": "shown"}},
    "last_upgrade": None,
}

DONE: Json = {
    "event": "result",
    "ok": True,
    "exit_code": 0,
    "message": "done",
    "generation": 4,
    "listeners": 3,
    "connections": 9012,
    "in_flight": 37,
    "downtime_ms": 2.0912,
    "kept": [],
}

PROGRESS: list[Json] = [
    {"event": "spawned", "pid": 5000},
    {"event": "connected", "pid": 5000, "version": "1.1.0", "connections": 9012},
    {"event": "round", "number": 1, "copied": 9012, "left": 41},
    {"event": "freezing", "rounds": 1},
    {"event": "owned", "pid": 5000, "downtime_ms": 2.0912},
]


class FakeServer:
    """Set the answers, run commands against them. A context manager."""

    def __init__(self, runtime_dir: Path, name: str = "edge") -> None:
        self.runtime_dir = runtime_dir
        self.name = name
        self.status: Json = {**STATUS, "name": name}
        self.after: Json = {"generation": 4, "pid": 5000}  # what changes in the status once an upgrade was ordered
        self.connections: list[Json] = []
        self.history: list[Json] = []
        self.events: list[Json] = [*PROGRESS, DONE]
        self.break_off = False  # in the middle of the stream, after `events`
        self.failure: Exception | None = None  # raised by POST
        self.failures: list[Exception] = []  # raised by POST /reload, one after the other
        self.reloaded: Json = {"ok": True, "before": "a", "config_id": "b", "changes": []}
        self.orders: list[Json] = []
        self.ready = (200, "serving")
        self.looks: list[str] = []  # places that the next statuses name, the last one for ever
        self._serving = Serving(unix_listener(runtime_dir / name / "control.sock"), self._routes())

    def _routes(self) -> dict[tuple[str, str], Route]:
        return {
            ("GET", "/status"): self._answer(self._status),
            ("GET", "/ready"): self._ready,
            ("POST", "/leave"): self._leave,
            ("GET", "/connections"): self._answer(lambda: {"connections": self.connections}),
            ("GET", "/history"): self._answer(lambda: {"history": self.history}),
            ("POST", "/upgrade"): self._upgrade,
            ("POST", "/drain"): self._drain,
            ("POST", "/reload"): self._reload,
        }

    def _answer(self, value: Callable[[], Json]) -> Route:
        async def route(_request: Request) -> Response:
            return Response.json(value())

        return route

    def _status(self) -> Json:
        if self.looks:
            self.status["place"] = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return self.status

    async def _ready(self, _request: Request) -> Response:
        status, words = self.ready
        return Response.text(f"{words}\n", status)

    async def _leave(self, request: Request) -> Response:
        self.orders.append(request.json(dict[str, Any]))
        self.status = {**self.status, **self.after}
        if self.failure is not None:
            raise self.failure
        return Response.json({"leaving": True})

    async def _upgrade(self, request: Request) -> EventStream:
        self.orders.append(request.json(dict[str, Any]))
        if self.failure is not None:
            raise self.failure
        stream = EventStream()
        for event in self.events:
            stream.send(event)
        self.status = {**self.status, **self.after}
        if self.break_off:
            stream.broken = True  # the server hangs up without the end of the chunked body
        else:
            stream.end()
        return stream

    async def _drain(self, request: Request) -> Response | EventStream:
        order = request.json(dict[str, Any])
        self.orders.append(order)
        if self.failure is not None:
            raise self.failure
        if not order.get("watch"):
            return Response.json({"draining": True, "in_flight": 2})
        stream = EventStream()
        for event in self.events:
            stream.send(event)
        if self.break_off:
            stream.broken = True
        else:
            stream.end()
        return stream

    async def _reload(self, request: Request) -> Response:
        self.orders.append(request.json(dict[str, Any]))
        if self.failures:
            raise self.failures.pop(0)
        return Response.json(self.reloaded)

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._serving.__exit__(None, None, None)

    def run(self, *arguments: str) -> Result:
        """A command, with this server's runtime directory."""
        return run(*arguments, runtime_dir=self.runtime_dir)


def run(*arguments: str, runtime_dir: Path) -> Result:
    """A `hotswap` command in this process."""
    return CliRunner().invoke(main, arguments, env={"HOTSWAP_RUNTIME_DIR": str(runtime_dir)}, prog_name="hotswap")
