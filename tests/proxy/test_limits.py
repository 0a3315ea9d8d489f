"""What is refused at once, and what is not sent again. Every playbook runs through handovers as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.cluster_keys import LIMITS, RETRY_BUDGET
from proxy.config.loader import loads
from tests.kit import bolt
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Build = Callable[..., World]


@pytest.fixture
def proxy(moving: bool) -> Build:
    def build(cluster: str) -> World:
        text = f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}
  - {{name: rpc, address: 127.0.0.1:82, protocol: bolt, cluster: app}}
clusters: [{{name: app, endpoints: [127.0.0.1:9000], {cluster}}}]
"""
        return World(loads(text).config, moving=moving)

    return build


def ask(world: World) -> Socket:
    client = world.connect("web")
    client.send(GET)
    return client


def refused(client: Socket) -> bytes:
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    return answer.rpartition(b": ")[2].strip()


def test_max_requests_refuses_what_exceeds_it_and_serves_again_when_there_is_room(proxy: Build) -> None:
    world = proxy("limits: {max_requests: 2}")
    first, second = ask(world), ask(world)
    assert refused(ask(world)) == b"cluster app serves 2 requests already"
    for _ in (first, second):
        server = world.dialled()
        server.accept()
        server.send(OK)
    assert first.take().startswith(b"HTTP/1.1 200 ")
    first.send(GET)
    assert first.take() == b""  # it found an idle connection
    assert world.dials == []


def test_max_connections_counts_idle_ones_and_uses_them(proxy: Build) -> None:
    world = proxy("limits: {max_connections: 1}")
    client = ask(world)
    server = world.dialled()
    server.accept()
    assert refused(ask(world)) == b"cluster app has 1 connections already"
    server.send(OK)
    client.take()
    other = ask(world)
    server.send(OK)
    assert other.take().startswith(b"HTTP/1.1 200 ")
    assert world.connect("raw").reset


def test_max_pending_bounds_those_who_wait_for_a_connection(proxy: Build) -> None:
    world = proxy("limits: {max_pending: 1}, connect_timeout: 1s")
    ask(world)
    assert refused(ask(world)) == b"1 requests wait for a connection to cluster app already"
    assert world.connect("raw").reset
    world.dialled().accept()
    client = ask(world)
    assert client.take() == b""
    client.rst()
    raw = world.connect("raw")
    assert not raw.reset
    assert refused(ask(world))
    world.dials[-1].accept()
    assert ask(world).take() == b""


def test_calls_of_bolt_are_refused_as_busy(proxy: Build) -> None:
    world = proxy("limits: {max_requests: 1}")
    client = world.connect("rpc")
    client.send(bolt.call(bolt.DIALECTS[0], 1, b"x"))
    client.send(bolt.call(bolt.DIALECTS[0], 2, b"x"))
    answer = client.take()
    assert int.from_bytes(answer[5:9], "big") == 2
    assert int.from_bytes(answer[10:12], "big") == 4


@pytest.mark.parametrize(("budget", "again"), [("percent: 0, at_least: 2", 2), ("percent: 50, at_least: 0", 3)])
def test_a_budget_bounds_how_many_requests_are_sent_again_at_a_time(proxy: Build, budget: str, again: int) -> None:
    world = proxy(f"retry_budget: {{{budget}}}")
    clients = [ask(world) for _ in range(6)]
    servers = list(world.dials)
    world.dials.clear()
    for server in servers:
        server.accept()
    for server in servers:
        server.rst()
    answers = [client.take() for client in clients]
    assert len(world.dials) == sum(not answer for answer in answers)
    assert len(world.dials) == again
    assert all(answer.startswith(b"HTTP/1.1 502 ") for answer in answers if answer)
    for server in world.dials:
        server.accept()
        server.send(OK)
    world.dials.clear()
    assert all(client.take() for client, answer in zip(clients, answers, strict=True) if not answer)
    limits = world.proxy.clusters["app"].limits
    assert limits is not None
    assert not any(one.retrying for one in limits._claimants.values())


def test_connections_that_are_gone_are_not_held_on_to() -> None:
    text = """\
name: edge
listeners: [{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}]
clusters: [{name: app, endpoints: [127.0.0.1:9000], limits: {max_requests: 10}}]
"""
    world = World(loads(text).config)
    for _ in range(200):
        client = world.connect("raw")
        world.dialled().accept()
        client.rst()
    limits = world.proxy.clusters["app"].limits
    assert limits is not None
    assert len(limits._claimants) <= 65


def test_no_key_is_forgotten() -> None:
    text = Path(__file__).read_text()
    assert [key.name for key in (*LIMITS.keys, *RETRY_BUDGET.keys) if f"{key.name}: " not in text] == []
