"""Endpoints that fail are ejected, and come back. Every playbook runs through handovers as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.config.cluster_keys import OUTLIER
from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SORRY = b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n"

Build = Callable[..., World]


@pytest.fixture
def proxy(moving: bool) -> Build:
    def build(outlier: str, *, endpoints: int = 2, cluster: str = "") -> World:
        addresses = ", ".join(f"127.0.0.1:{9000 + number}" for number in range(endpoints))
        text = f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}
clusters:
  - {{name: app, endpoints: [{addresses}], max_idle: 0, outlier: {{{outlier}}}{cluster}}}
"""
        return World(loads(text).config, moving=moving)

    return build


def port(socket: Socket) -> int:
    assert socket.address is not None
    return socket.address.port


def ask(world: World, **answers: bytes) -> tuple[int, bytes]:
    """One request; endpoints do as told: answer, "refuse", "reset", "mute". Who got it last, and what came."""
    client = world.connect("web")
    client.send(GET)
    last = 0
    while world.dials:
        server = world.dialled()
        last = port(server)
        how = answers.get(f"at_{last}", OK)
        if how == b"refuse":
            server.refuse()
            continue
        server.accept()
        assert server.take().startswith(b"GET /")
        if how == b"reset":
            server.rst()
        elif how == b"mute":
            return last, b""
        else:
            server.send(how)
    return last, client.take()[:12]


def health(world: World, endpoint: int) -> dict[str, Any]:
    found: dict[str, Any] = world.proxy.status()["clusters"][0]["endpoints"][endpoint]["health"]
    return found


def served_by(world: World, count: int) -> list[int]:
    return [ask(world)[0] for _ in range(count)]


def test_an_endpoint_that_cannot_be_connected_to_is_left_alone_until_its_cool_down_is_over(proxy: Build) -> None:
    world = proxy("connect_failures: 3, cooldown: 10s")
    while not health(world, 0)["ejections"]:
        assert ask(world, at_9000=b"refuse") == (9001, b"HTTP/1.1 200")
    assert health(world, 0)["connect_failures"] == 3
    assert served_by(world, 4) == [9001] * 4
    world.wait(9.9)
    assert health(world, 0)["ejected_for"] == 0.1
    assert served_by(world, 4) == [9001] * 4
    world.wait(0.2)
    assert health(world, 0)["ejected_for"] is None
    assert sorted(served_by(world, 4)) == [9000, 9000, 9001, 9001]


def test_cool_downs_double_up_to_a_limit_and_begin_anew_after_a_calm(proxy: Build) -> None:
    world = proxy("connect_failures: 1, cooldown: 10s, max_cooldown: 25s")
    lengths = []
    for _ in range(4):
        while health(world, 0)["ejected_for"] is None:
            ask(world, at_9000=b"refuse")
        lengths.append(health(world, 0)["ejected_for"])
        world.wait(lengths[-1] + 0.1)
    world.wait(25.0)
    while health(world, 0)["ejected_for"] is None:
        ask(world, at_9000=b"refuse")
    assert [*lengths, health(world, 0)["ejected_for"]] == [10.0, 20.0, 25.0, 25.0, 10.0]


def test_a_row_is_broken_by_a_success_and_by_the_window(proxy: Build) -> None:
    world = proxy("connect_failures: 2, window: 5s")
    for pause, how in [(0.0, OK), (5.1, b"refuse")]:
        for _ in range(2):
            ask(world, at_9000=b"refuse")
        world.wait(pause)
        for _ in range(2):
            ask(world, at_9000=how)
    assert health(world, 0)["ejections"] == 0
    for _ in range(2):
        ask(world, at_9000=b"refuse")
    assert health(world, 0)["ejections"] == 1


def test_requests_lost_before_the_answer_count(proxy: Build) -> None:
    world = proxy("lost: 2")
    for _ in range(4):
        assert ask(world, at_9000=b"reset")[1] == b"HTTP/1.1 200"  # sent again elsewhere: the promise of `retries`
    assert health(world, 0)["lost"] == 2
    assert served_by(world, 3) == [9001] * 3


def test_requests_that_are_never_answered_count(proxy: Build) -> None:
    world = proxy("lost: 2", cluster=", request_timeout: 1s")
    for _ in range(4):
        ask(world, at_9000=b"mute")
        world.wait(1.1)
    assert health(world, 0)["ejections"] == 1


def test_server_errors_count_only_if_wanted(proxy: Build) -> None:
    for limit, ejections in [(0, 0), (3, 1)]:
        world = proxy(f"server_errors: {limit}")
        for _ in range(8):
            ask(world, at_9000=SORRY)
        assert health(world, 0)["ejections"] == ejections
        assert health(world, 0)["server_errors"] == (4 if not limit else 3)


def test_only_a_share_of_the_endpoints_is_ejected_and_never_all(proxy: Build) -> None:
    for share, ejected in [(50, 2), (25, 1), (100, 3)]:
        world = proxy(f"connect_failures: 1, max_ejected: {share}", endpoints=4)
        for _ in range(4):
            ask(world, at_9000=b"refuse", at_9001=b"refuse", at_9002=b"refuse", at_9003=b"refuse")
        assert sum(health(world, number)["ejected_for"] is not None for number in range(4)) == ejected
    world = proxy("connect_failures: 1, max_ejected: 100", endpoints=1)
    assert ask(world, at_9000=b"refuse")[1] == b"HTTP/1.1 503"
    assert ask(world) == (9000, b"HTTP/1.1 200")


def test_tcp_connections_count_too(proxy: Build) -> None:
    world = proxy("connect_failures: 2, lost: 2")
    for _ in range(4):
        world.connect("raw")
        server = world.dialled()
        server.accept()
        if port(server) == 9000:
            server.rst()
    assert health(world, 0)["lost"] == 2
    assert health(world, 0)["ejections"] == 1
    world.connect("raw")
    assert port(world.dialled()) == 9001


def test_bolt_counts_lost_and_late_calls_and_dials(moving: bool) -> None:
    for failure, count in (("refuse", "connect_failures"), ("rst", "lost"), ("wait", "lost")):
        text = f"""\
name: edge
listeners: [{{name: rpc, address: 127.0.0.1:80, protocol: bolt, cluster: app}}]
clusters: [{{name: app, endpoints: [127.0.0.1:9000, 127.0.0.1:9001], outlier: {{{count}: 1}}}}]
"""
        world = World(loads(text).config, moving=moving)
        world.connect("rpc").send(bolt.call(bolt.DIALECTS[0], 1, b"x"))
        first = world.dialled()
        if failure != "refuse":
            first.accept()
        if failure == "wait":
            world.wait(61.0)
        else:
            getattr(first, failure)()
        ejected = [health(world, number)["ejections"] for number in (0, 1)]
        assert ejected[port(first) - 9000] == 1
        assert sum(ejected) == 1


def test_a_dial_that_takes_too_long_counts(proxy: Build) -> None:
    world = proxy("connect_failures: 1", cluster=", connect_timeout: 1s")
    for listener in ("raw", "web"):
        client = world.connect(listener)
        client.send(GET)
        first = port(world.dialled()) - 9000
        world.wait(1.1)
        assert health(world, first)["ejections"] == 1
        second = world.dialled()
        assert port(second) == 9001 - first
        second.accept()
        world.wait(10.1)


def test_who_is_ejected_is_still_tried_when_nobody_else_is_left(proxy: Build) -> None:
    world = proxy("connect_failures: 1", cluster=", retries: 0")
    ask(world, at_9000=b"refuse")
    assert health(world, 0)["ejections"] == 1
    assert ask(world, at_9001=b"refuse") == (9000, b"HTTP/1.1 200")


def test_what_another_configuration_says_holds_at_once(proxy: Build) -> None:
    world = proxy("connect_failures: 1, cooldown: 1h")
    ask(world, at_9000=b"refuse")
    assert health(world, 0)["ejections"] == 1
    world.move(proxy("connect_failures: 0").config)
    assert health(world, 0)["ejections"] == 1  # and sits its time out
    assert served_by(world, 2) == [9001] * 2
    plain = loads("""\
name: edge
listeners: [{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}]
clusters: [{name: app, endpoints: [127.0.0.1:9000, 127.0.0.1:9001], max_idle: 0}]
""").config
    world.move(plain)
    assert sorted(served_by(world, 2)) == [9000, 9001]


def test_no_key_is_forgotten() -> None:
    text = Path(__file__).read_text()
    assert [key.name for key in OUTLIER.keys if f"{key.name}: " not in text] == []
