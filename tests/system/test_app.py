"""The application dies behind a real proxy: announced, closed or reset by policy, and back by itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit.ports import loopback, port_of, refused
from tests.kit.processes import PATIENCE
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually
from tests.system.test_config import probe


class Application:
    """A listener that comes and goes; nobody needs to accept for a tcp check."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket: socket.socket | None = None

    def live(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port_of(self.address)))
        self._socket.listen(1024)

    def die(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application(loopback())
    yield made
    made.die()


def edge_before(stage: Stage, application: Application, **keys: Any) -> tuple[Edge, str]:
    admin = loopback()
    app = {"address": application.address, "interval": "50ms", "timeout": "500ms", "failures": 2, **keys}
    return stage.edge(admin=admin, app=app), admin


def becomes(what: str, condition: Callable[[], object]) -> None:
    eventually(condition, within=PATIENCE, what=what)


def was_reset(address: str) -> bool:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(("127.0.0.1", port_of(address)))
            return client.recv(1) == b""
        except ConnectionResetError:
            return True


def test_ready_follows_the_application_through_upgrades(stage: Stage, application: Application) -> None:
    edge, admin = edge_before(stage, application)
    assert probe(admin, "/ready") == 503, "nothing is announced that was never seen alive"
    application.live()
    becomes("it is alive", lambda: probe(admin, "/ready") == 200)
    assert edge.instance.upgrade().exit_code == 0
    assert probe(admin, "/ready") == 200, "what is known moves"
    application.die()
    becomes("it is dead", lambda: probe(admin, "/ready") == 503)
    assert probe(admin, "/live") == 200
    assert not refused(edge.web)
    assert edge.instance.upgrade().exit_code == 0
    assert edge.instance.status().server["app"]["state"] == "dead"
    application.live()
    becomes("it recovers", lambda: probe(admin, "/ready") == 200)


def test_the_service_port_closes_and_opens_and_stays_closed_in_an_upgrade(
    stage: Stage, application: Application
) -> None:
    application.live()
    edge, admin = edge_before(stage, application, when_dead="close", listeners=["web"])
    becomes("it is alive", lambda: probe(admin, "/ready") == 200)
    assert not refused(edge.web)
    application.die()
    becomes("the port refuses", lambda: refused(edge.web))
    assert not refused(edge.raw)
    assert edge.instance.upgrade().exit_code == 0
    becomes("the port still refuses", lambda: refused(edge.web))
    application.live()
    becomes("the port is open again", lambda: not refused(edge.web))


def test_the_service_port_resets(stage: Stage, application: Application) -> None:
    application.live()
    edge, admin = edge_before(stage, application, when_dead="reset", listeners=["raw"])
    becomes("it is alive", lambda: probe(admin, "/ready") == 200)
    application.die()
    becomes("it is dead", lambda: probe(admin, "/ready") == 503)
    assert was_reset(edge.raw)
    assert not refused(edge.web)


def test_a_reload_brings_the_watch_and_takes_it_away(stage: Stage, application: Application) -> None:
    admin = loopback()
    edge = stage.edge(admin=admin)
    instance = edge.instance
    assert probe(admin, "/ready") == 200
    instance.config["app"] = {"address": application.address, "interval": "50ms", "failures": 1, "when_dead": "close"}
    instance.write_config()
    assert instance.hotswap("reload", "edge").returncode == 0
    becomes("the port refuses", lambda: refused(edge.web))
    del instance.config["app"]
    instance.write_config()
    assert instance.hotswap("reload", "edge").returncode == 0
    assert not refused(edge.web)
    assert probe(admin, "/ready") == 200
