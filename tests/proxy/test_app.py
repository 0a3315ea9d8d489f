"""The application behind the proxy: playbooks, each also with a handover after every step."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest

from hotswap.address import Address
from hotswap.settings.problems import InvalidConfig
from proxy.admin import admin_routes
from proxy.app import answer, question
from proxy.config.loader import loads
from proxy.config.model import AppConfig
from proxy.heartbeat import Heartbeat
from proxy.state import AppState
from tests.hotswap.toy import PATIENCE, play
from tests.proxy.heart import ManualHeart, checked
from tests.proxy.simulation import World

BASE = """\
name: edge
listeners:
  - {name: web, address: 127.0.0.1:8080, protocol: http1, cluster: app}
  - {name: out, address: 127.0.0.1:9090, protocol: tcp, cluster: app}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000]}
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Scene:
    """A world whose application may die."""

    moving: bool

    def world(self, **keys: str) -> World:
        app = {"address": "127.0.0.1:9000", **keys}
        text = ", ".join(f"{key}: {value}" for key, value in app.items())
        return World(loads(f"{BASE}app: {{{text}}}\n").config, moving=self.moving)


@pytest.fixture(params=[False, True], ids=["straight", "moving"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    ManualHeart.beating.clear()
    yield Scene(request.param)
    ManualHeart.beating.clear()


def refusing(world: World, name: str) -> bool:
    return world.proxy.listeners[name].fd in world.kernel.refusing


def die(world: World) -> None:
    for _ in range(3):
        checked("connection refused")
        world.settle()


def test_unknown_until_the_first_success_then_alive(scene: Scene) -> None:
    world = scene.world()
    assert world.proxy.app.trouble == "the application 127.0.0.1:9000 is unknown"
    checked()
    world.settle()
    assert world.proxy.app.trouble == ""


def test_so_many_failures_in_a_row_and_it_is_dead_one_success_and_it_lives(scene: Scene) -> None:
    world = scene.world(failures="2")
    checked()
    for failures, state in ((1, "alive"), (2, "dead"), (3, "dead")):
        checked("connection refused")
        world.settle()
        assert (world.proxy.app.streak, world.proxy.app.state) == (failures, state)
    assert world.proxy.app.trouble == "the application 127.0.0.1:9000 is dead: connection refused"
    checked()
    world.settle()
    assert world.proxy.app.trouble == ""
    status = world.proxy.status()["app"]
    assert (status["state"], status["checks"], status["failures"]) == ("alive", 5, 0)


def test_announcing_closes_nothing(scene: Scene) -> None:
    world = scene.world()
    checked()
    die(world)
    client = world.connect("web")
    client.send(GET)
    assert len(world.dials) == 1


def test_close_refuses_on_the_service_port_alone_and_recovers(scene: Scene) -> None:
    world = scene.world(when_dead="close", listeners="[web]")
    checked()
    before = world.connect("web")
    die(world)
    assert (refusing(world, "web"), refusing(world, "out")) == (True, False)
    before.send(GET)
    assert len(world.dials) == 1, "who is connected stays"
    checked()
    world.settle()
    assert not refusing(world, "web")
    world.connect("web").send(GET)
    assert len(world.dials) == 2


def test_reset_accepts_and_resets(scene: Scene) -> None:
    world = scene.world(when_dead="reset")
    checked()
    die(world)
    client = world.connect("out")
    assert client.reset
    assert client.closed
    checked()
    world.settle()
    assert not world.connect("out").reset


def test_nothing_is_closed_that_was_not_found_dead(scene: Scene) -> None:
    world = scene.world(when_dead="close")
    checked("connection refused")
    world.settle()
    assert not refusing(world, "web")


def test_a_unix_listener_resets_instead_since_it_could_not_listen_again() -> None:
    ManualHeart.beating.clear()
    text = BASE.replace("127.0.0.1:9090", "unix:/x") + "app: {address: 127.0.0.1:9000, when_dead: close, failures: 1}\n"
    world = World(loads(text).config)
    checked("x")
    assert not refusing(world, "out")
    assert world.connect("out").reset


def test_a_listener_that_was_told_to_listen_meanwhile_refuses_again_with_the_next_check(scene: Scene) -> None:
    world = scene.world(when_dead="close")
    checked()
    die(world)
    world.kernel.refusing.clear()
    checked("still dead")
    assert refusing(world, "web")


def test_frozen_means_no_checks_and_a_drain_ends_them(scene: Scene) -> None:
    world = scene.world()
    assert len(ManualHeart.beating) == 1
    world.proxy.freeze()
    assert ManualHeart.beating == []
    world.proxy.thaw()
    assert len(ManualHeart.beating) == 1
    world.proxy.drain(world.kernel.clock() + 1)
    assert ManualHeart.beating == []


def test_a_reload_begins_and_ends_the_watch(scene: Scene) -> None:
    world = World(loads(BASE).config, moving=scene.moving)
    assert ManualHeart.beating == []
    app = loads(f"{BASE}app: {{address: 127.0.0.1:9000, failures: 1, when_dead: close}}\n").config.app
    world.proxy.app.configure(app, world.proxy.listeners.values)
    checked("connection refused")
    assert refusing(world, "web")
    world.proxy.app.configure(None, world.proxy.listeners.values)
    assert ManualHeart.beating == []
    assert not refusing(world, "web")
    assert world.proxy.app.trouble == ""


def test_what_is_known_of_one_application_says_nothing_about_another(scene: Scene) -> None:
    world = scene.world()
    checked()
    state = world.proxy.app.save()
    assert state is not None
    assert state == msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=AppState)
    ManualHeart.beating.clear()
    other = scene.world(address="127.0.0.1:9001").proxy.app
    other.load(state)
    assert other.state == "unknown"
    other.load(None)


def test_golden_bytes_of_the_state() -> None:
    state = AppState("127.0.0.1:9000", "dead", 3, 41, "connection refused")
    golden = "95ae3132372e302e302e313a39303030a4646561640329b2636f6e6e656374696f6e2072656675736564"
    assert msgspec.msgpack.encode(state).hex() == golden
    assert msgspec.msgpack.decode(bytes.fromhex(golden), type=AppState) == state


def test_ready_says_so(scene: Scene) -> None:
    world = scene.world()

    class Serving:
        state = "serving"
        server = world.proxy

    async def ask() -> Any:
        routes = admin_routes(cast("Any", Serving()))
        return await routes["GET", "/ready"](cast("Any", None))

    response = asyncio.run(ask())
    assert (response.status, response.body) == (503, b"the application 127.0.0.1:9000 is unknown\n")
    checked()
    assert asyncio.run(ask()).status == 200


# -- the configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("{check: tcp}", "address"),
        ("{address: 127.0.0.1:1, listeners: [wep]}", "there is no listener 'wep'; did you mean web?"),
        ("{address: 127.0.0.1:1, listeners: [web, web]}", "web stands here twice"),
        ("{address: 127.0.0.1:1, when_dead: panic}", "'panic' is not known"),
    ],
)
def test_mistakes(app: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        loads(f"{BASE}app: {app}\n")


# -- what is asked and what counts as an answer -----------------------------------------------------


def config(check: str, address: str = "127.0.0.1:9000", timeout: float = 1.0) -> AppConfig:
    return AppConfig(
        address=Address.parse(address),
        check=check,  # type: ignore[arg-type]
        path="/health",
        timeout=timeout,
        interval=0.05,
    )


BEAT = bytes.fromhex("01000000") + b"\x01\0\0\0\x01\x01\0\0" + bytes(8)


@pytest.mark.parametrize(
    ("check", "data", "ended", "verdict"),
    [
        ("http", b"HTTP/1.1 20", False, None),
        ("http", b"HTTP/1.1 204 No Content\r\n", False, ""),
        ("http", b"HTTP/1.0 302 Found\r\n", False, ""),
        ("http", b"HTTP/1.1 503 Busy\r\n", False, "it answered /health with 503"),
        ("http", b"", True, "it closed the connection without an answer"),
        ("http", b"SSH-2.0" + b"x" * 64, False, "it does not speak HTTP"),
        ("bolt", BEAT[:10], False, None),
        ("bolt", BEAT, False, ""),
        ("bolt", b"HTTP/1.1", False, "it does not speak bolt: 72 is no version of bolt"),
        ("bolt", BEAT[:10], True, "it closed the connection without an answer"),
    ],
)
def test_answers(check: str, data: bytes, ended: bool, verdict: str | None) -> None:
    assert answer(config(check), data, ended=ended) == verdict


def test_questions() -> None:
    assert question(config("tcp")) == b""
    assert question(config("bolt"))[:5] == b"\x01\x01\x00\x00\x01"
    assert question(config("http")).startswith(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n")
    assert b"Host: localhost\r\n" in question(config("http", "unix:/x"))


# -- the real heart ---------------------------------------------------------------------------------


def beat(check: str, reply: bytes | None, beats: int = 2) -> list[str]:
    """What a heart says of a server that replies so; None: it accepts and is silent."""
    said: list[str] = []
    mute = reply is None and check != "tcp"

    async def scenario() -> None:
        enough = asyncio.Event()
        connections: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            if reply is not None and check != "tcp":
                await reader.read(1)
                writer.write(reply)
                writer.close()

        def told(failure: str) -> None:
            said.append(failure)
            if len(said) >= beats:
                enough.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        heart = Heartbeat()
        heart.start(config(check, f"127.0.0.1:{port}", timeout=0.1 if mute else PATIENCE), told)
        await asyncio.wait_for(enough.wait(), PATIENCE)
        heart.stop()
        heart.stop()
        for writer in connections:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        server.close()
        await server.wait_closed()

    play(scenario())
    return said[:beats]


def test_a_heart_beats_again_and_again() -> None:
    assert beat("tcp", None) == ["", ""]
    assert beat("http", b"HTTP/1.1 200 OK\r\n\r\n") == ["", ""]
    assert beat("bolt", BEAT) == ["", ""]


def test_a_heart_tells_why_not() -> None:
    assert beat("http", None) == ["no answer within 0.1 s"] * 2
    assert beat("http", b"") == ["it closed the connection without an answer"] * 2
    assert beat("http", b"HTTP/1.1 500 No\r\n\r\n") == ["it answered /health with 500"] * 2


def test_a_heart_tells_that_nobody_is_there() -> None:
    said: list[str] = []

    async def scenario() -> None:
        over = asyncio.Event()

        def told(why: str) -> None:
            said.append(why)
            over.set()

        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            heart = Heartbeat()
            heart.start(config("tcp", f"127.0.0.1:{bound.getsockname()[1]}"), told)
            await asyncio.wait_for(over.wait(), PATIENCE)
            heart.stop()

    play(scenario())
    assert said[0] == "connection refused"
