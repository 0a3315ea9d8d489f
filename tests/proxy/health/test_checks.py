"""Endpoints are asked whether they work. Every playbook runs through handovers as well."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.bolt.frame import frames
from proxy.config.cluster_keys import HEALTH_CHECK
from proxy.config.loader import loads
from tests.proxy.simulation import Socket, World

ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
DEAD = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"

Build = Callable[..., World]


@pytest.fixture
def proxy(moving: bool) -> Build:
    def build(check: str, *, endpoints: int = 2, more: str = "") -> World:
        addresses = ", ".join(f"127.0.0.1:{9000 + number}" for number in range(endpoints))
        text = f"""\
name: edge
listeners: [{{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}]
clusters: [{{name: app, endpoints: [{addresses}], health_check: {{{check}}}{more}}}]
"""
        return World(loads(text).config, moving=moving)

    return build


def checks(world: World, *, working: bool | tuple[bool, ...] = True) -> None:
    """Answer the tcp checks under way, in the order of the endpoints."""
    dials = sorted(world.dials, key=lambda socket: str(socket.address))
    world.dials.clear()
    for number, dial in enumerate(dials):
        if working if isinstance(working, bool) else working[number]:
            dial.accept()
            assert dial.closed
        else:
            dial.refuse()


def goes_to(world: World, count: int = 4) -> list[int]:
    """The ports that clients are connected to."""
    found = []
    for _ in range(count):
        client = world.connect("raw")
        server = world.dialled()
        assert server.address is not None
        found.append(server.address.port)
        server.accept()
        client.rst()
    return sorted(set(found))


def health(world: World, endpoint: int) -> dict[str, Any]:
    found: dict[str, Any] = world.proxy.status()["clusters"][0]["endpoints"][endpoint]["health"]
    return found


def test_an_endpoint_is_left_alone_after_failures_in_a_row_and_used_again_after_successes(proxy: Build) -> None:
    world = proxy("interval: 5s, unhealthy: 2, healthy: 3")
    for working in (False, True, False):
        checks(world, working=(working, True))
        world.wait(5.0)
    assert health(world, 0)["healthy"]
    checks(world, working=(False, True))
    assert not health(world, 0)["healthy"]
    assert health(world, 0)["why"] == "connection refused"
    assert goes_to(world) == [9001]
    for _ in range(2):
        world.wait(5.0)
        checks(world)
    assert goes_to(world) == [9001]
    world.wait(5.0)
    checks(world)
    assert goes_to(world) == [9000, 9001]


def test_the_log_tells_when_the_judgement_changes(proxy: Build, caplog: pytest.LogCaptureFixture) -> None:
    world = proxy("interval: 5s, unhealthy: 2, healthy: 1")
    with caplog.at_level("INFO", "proxy"):
        for working in (False, False, False, True, True):
            checks(world, working=(working, True))
            world.wait(5.0)
    assert [one.message for one in caplog.records if one.name == "proxy"] == [
        "an endpoint fails its checks",
        "an endpoint passes its checks again",
    ]


def test_checks_come_at_the_interval_and_fail_by_the_timeout(proxy: Build) -> None:
    world = proxy("interval: 5s, timeout: 1s, unhealthy: 1", endpoints=3)
    silent = world.dials.pop(0)
    checks(world)
    world.wait(0.9)
    assert health(world, 0)["healthy"]
    world.wait(0.2)
    assert silent.closed
    assert health(world, 0)["why"] == "no answer in time"
    assert goes_to(world) == [9001, 9002]
    world.wait(3.8)
    assert world.dials == []
    world.wait(0.2)
    assert len(world.dials) == 3


def ask(world: World) -> Socket:
    dial = world.dialled()
    dial.accept()
    return dial


def test_http_wants_a_status_below_400(proxy: Build) -> None:
    world = proxy("check: http, path: /ready, interval: 5s, unhealthy: 1, healthy: 1, panic: 0", endpoints=1)
    for answer, healthy in ((DEAD, False), (ALIVE, True), (b"SSH-2.0-x" * 9, False), (ALIVE[:9], True), (b"", False)):
        dial = ask(world)
        assert dial.take().startswith(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n")
        for octet in range(len(answer)):
            if not dial.closed:
                dial.send(answer[octet : octet + 1])
        if not dial.closed:
            dial.send(ALIVE[9:]) if healthy else dial.fin()
        assert dial.closed
        assert health(world, 0)["healthy"] is healthy
        world.wait(5.0)


def test_bolt_wants_the_answer_to_a_heartbeat(proxy: Build) -> None:
    world = proxy("check: bolt, interval: 5s, unhealthy: 1, panic: 0", endpoints=1)
    dial = ask(world)
    asked = dial.take()
    (head, _), *rest = frames(asked)
    assert (head.command, head.type, rest) == (0, 1, [])
    dial.rst(errno.ECONNRESET)
    assert health(world, 0)["why"] == "connection reset by peer"


def test_too_few_healthy_ones_are_no_reason_to_believe_the_checks(proxy: Build) -> None:
    world = proxy("unhealthy: 1, panic: 50", endpoints=4)
    checks(world, working=(True, True, False, False))
    assert goes_to(world) == [9000, 9001]
    world.wait(5.0)
    checks(world, working=(True, False, False, False))
    assert goes_to(world) == [9000, 9001, 9002, 9003]
    world.wait(5.0)
    world = proxy("unhealthy: 1, panic: 0")
    checks(world, working=False)
    assert world.connect("raw").reset
    assert world.dials == []


def test_ejections_and_checks_go_together(proxy: Build) -> None:
    world = proxy("unhealthy: 1, interval: 1h", endpoints=4, more=", outlier: {connect_failures: 1, cooldown: 10s}")
    checks(world, working=(False, True, True, True))
    world.connect("raw")
    first = world.dialled()
    first.refuse()
    world.dialled().accept()
    assert first.address is not None
    assert goes_to(world, 6) == sorted({9001, 9002, 9003} - {first.address.port})
    world.wait(10.1)
    assert goes_to(world, 6) == [9001, 9002, 9003]


def test_who_drains_asks_no_more(proxy: Build) -> None:
    world = proxy("interval: 5s")
    under_way = list(world.dials)
    world.dials.clear()
    world.proxy.drain(world.kernel.clock() + 60.0)
    assert all(dial.closed for dial in under_way)
    world.tick()
    world.time += 6.0
    world.tick()
    assert world.dials == []


def test_no_key_is_forgotten() -> None:
    text = Path(__file__).read_text()
    assert [key.name for key in HEALTH_CHECK.keys if f"{key.name}: " not in text] == []
