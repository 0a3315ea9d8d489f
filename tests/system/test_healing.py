"""Endpoints that die, hang, answer errors and come back, through upgrades: requests fail within the promise only.

The promise: what could not be connected to goes elsewhere; an idempotent request that was lost is sent again; an
endpoint that does not answer or answers errors costs the requests of one row, then it is ejected.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest

from tests.kit.client import Client
from tests.kit.ports import loopback, port_of
from tests.kit.processes import PATIENCE, Config, Instance
from tests.kit.stage import Stage
from tests.kit.waiting import eventually, ever_longer

Mood = Literal["fine", "sorry", "mute", "rude"]

LOST, ERRORS = 2, 3


class Endpoint:
    """A server in this process whose mood can change, and that can die and come back at the same address."""

    def __init__(self) -> None:
        self.mood: Mood = "fine"
        self.served = 0
        self.address = loopback()
        self._over = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.live()

    def live(self) -> None:
        endpoint = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                endpoint._connections.add(self.request)
                super().setup()

            def do_GET(self) -> None:
                endpoint.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port_of(self.address)), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.served += 1
        if self.mood == "mute":
            self._over.wait(20.0)
        if self.mood in {"mute", "rude"}:
            request.close_connection = True
            return
        body = b"ok" if request.path != "/ready" else b"yes"
        request.send_response(500 if self.mood == "sorry" else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def die(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for one in self._connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def close(self) -> None:
        self._over.set()
        self.die()


class Scene:
    def __init__(self, stage: Stage, name: str = "edge", **cluster: Any) -> None:
        self.endpoints = [Endpoint() for _ in range(3)]
        self.web = loopback()
        addresses = [one.address for one in self.endpoints]
        self.instance: Instance = stage.instance(
            {
                "name": name,
                "listeners": [{"name": "web", "address": self.web, "protocol": "http1", "cluster": "app"}],
                "clusters": [{"name": "app", "endpoints": addresses, "request_timeout": "500ms", **cluster}],
            }
        )
        self.instance.start()

    def ask(self, count: int) -> list[int]:
        """Statuses of that many requests, one after the other."""
        with Client(self.web) as client:
            return [client.ask("/").status for _ in range(count)]

    def health(self, endpoint: Endpoint) -> dict[str, Any]:
        listed = self.instance.ask("/status")["server"]["clusters"][0]["endpoints"]
        found: dict[str, Any] = next(one["health"] for one in listed if one["address"] == endpoint.address)
        return found

    def until(self, endpoint: Endpoint, key: str, value: object) -> None:
        """Wait for what the status says of it."""
        eventually(lambda: self.health(endpoint)[key] == value, within=PATIENCE, what=f"{key}: {value}")

    def upgrade(self) -> None:
        assert self.instance.upgrade("--require-all").exit_code == 0

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()


def passive(cooldown: float = 3.0) -> Config:
    return {"connect_failures": 2, "lost": LOST, "server_errors": ERRORS, "cooldown": f"{cooldown:g}s"}


@pytest.fixture
def scene(stage: Stage) -> Iterator[Scene]:
    made = Scene(stage, outlier=passive())
    yield made
    made.close()


def test_an_endpoint_that_dies_costs_nothing_and_stays_ejected_through_an_upgrade(stage: Stage) -> None:
    for number, cooldown in enumerate(ever_longer(3.0)):
        with closing(Scene(stage, f"edge{number}", outlier=passive(cooldown))) as scene:
            sick = scene.endpoints[0]
            assert set(scene.ask(9)) == {200}
            assert all(one.served == 3 for one in scene.endpoints)
            began = time.monotonic()
            sick.die()
            assert set(scene.ask(12)) == {200}
            assert scene.health(sick)["ejections"] == 1
            sick.live()
            scene.upgrade()
            left = scene.health(sick)["ejected_for"]
            assert left or time.monotonic() - began > 0.9 * cooldown, "the ejection was forgotten"
            if left:
                assert 0.0 < left < cooldown
                assert set(scene.ask(6)) == {200}
                kept_away = sick.served == 3
                assert kept_away or time.monotonic() - began > 0.9 * cooldown
                scene.until(sick, "ejected_for", None)
                served = sick.served
                assert set(scene.ask(6)) == {200}
                assert sick.served == served + 2
                if kept_away:
                    return


@pytest.mark.parametrize(
    ("mood", "status", "failures"), [("rude", 502, 0), ("sorry", 500, ERRORS), ("mute", 504, LOST)]
)
def test_an_endpoint_that_fails_costs_one_row_of_requests(scene: Scene, mood: Mood, status: int, failures: int) -> None:
    sick = scene.endpoints[1]
    assert set(scene.ask(3)) == {200}
    sick.mood = mood
    first = scene.ask(4)
    scene.upgrade()  # in the middle of the row: the count moves
    answers = [*first, *scene.ask(14)]
    assert answers.count(status) == failures
    assert answers.count(200) == len(answers) - failures
    assert scene.health(sick)["ejections"] == 1
    sick.mood = "fine"
    scene.until(sick, "ejected_for", None)
    served = sick.served
    assert set(scene.ask(6)) == {200}
    assert sick.served == served + 2


def test_checks_find_out_before_any_request_does_and_go_on_through_upgrades(stage: Stage) -> None:
    check = {"check": "http", "path": "/ready", "interval": "100ms", "timeout": "1s", "unhealthy": 2, "healthy": 2}
    scene = Scene(stage, health_check=check)
    try:
        sick = scene.endpoints[2]
        for mood in ("sorry", "rude"):
            sick.mood = mood
            scene.until(sick, "healthy", False)
            scene.upgrade()
            assert not scene.health(sick)["healthy"]
            assert set(scene.ask(9)) == {200}
            sick.mood = "fine"
            scene.until(sick, "healthy", True)
        sick.die()
        scene.until(sick, "why", "connection refused")
        scene.until(sick, "healthy", False)
        sick.live()
        scene.until(sick, "healthy", True)
        assert set(scene.ask(3)) == {200}
    finally:
        scene.close()
