"""Shares of several clusters, subsets of endpoints, and what a route says itself. Through handovers as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.config.model import ShareConfig
from proxy.split import Split
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Build = Callable[..., World]

TWO = "127.0.0.1:9000, {address: 127.0.0.1:9001, labels: {version: v2, zone: a}}"


def text(route: str, endpoints: str = TWO, cluster: str = "") -> str:
    return f"""\
name: edge
listeners: [{{name: web, address: 127.0.0.1:80, protocol: http1, routes: [{{{route}}}]}}]
clusters:
  - {{name: app, endpoints: [{endpoints}], max_idle: 0{cluster}}}
  - {{name: next, endpoints: [127.0.0.1:9002], max_idle: 0}}
"""


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args, **more: World(loads(text(*args, **more)).config, moving=moving)


def ask(world: World) -> tuple[Socket, Socket]:
    client = world.connect("web")
    client.send(GET)
    return client, world.dialled()


def port(socket: Socket) -> int:
    assert socket.address is not None
    return socket.address.port


def test_shares_are_spread_evenly() -> None:
    split = Split((ShareConfig(name="a", weight=3), ShareConfig(name="b")))
    assert "".join(split.next() for _ in range(8)) == "aabaaaba"


def test_clusters_of_a_route_get_their_shares_to_the_request(proxy: Build) -> None:
    world = proxy("clusters: [{name: app, weight: 19}, {name: next}]", "127.0.0.1:9000")
    served = [port(ask(world)[1]) for _ in range(40)]
    assert served.count(9002) == 2
    assert served[:20].count(9002) == 1


def test_shares_go_on_where_they_were_unless_they_are_others(proxy: Build) -> None:
    world = proxy("clusters: [{name: app, weight: 3}, {name: next}]", "127.0.0.1:9000")
    begun = [port(ask(world)[1]) for _ in range(2)]
    world.move(loads(text("clusters: [{name: app, weight: 3}, {name: next}], retries: 2", "127.0.0.1:9000")).config)
    assert [*begun, *(port(ask(world)[1]) for _ in range(2))] == [9000, 9000, 9002, 9000]
    world.move(loads(text("clusters: [{name: next}]")).config)
    assert port(ask(world)[1]) == 9002


def test_subset_takes_endpoints_with_all_labels_for_further_attempts_too(proxy: Build) -> None:
    world = proxy("cluster: app, subset: {version: v2}")
    assert [port(ask(world)[1]) for _ in range(3)] == [9001] * 3
    client, server = ask(world)
    server.accept()
    server.rst()
    again = world.dialled()
    assert port(again) == 9001
    again.refuse()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    world = proxy("cluster: app, subset: {version: v2, zone: b}")
    client = world.connect("web")
    client.send(GET)
    assert client.take().startswith(b"HTTP/1.1 503 ")


def test_a_route_may_be_more_patient_than_its_cluster(proxy: Build) -> None:
    world = proxy("cluster: app, request_timeout: 9s", cluster=", request_timeout: 1s")
    client, server = ask(world)
    server.accept()
    world.wait(8.9)
    assert client.take() == b""
    world.wait(0.2)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_a_route_may_bear_less_silence_than_its_cluster(proxy: Build) -> None:
    world = proxy("cluster: app, idle_timeout: 2s", cluster=", idle_timeout: 1h")
    client, server = ask(world)
    server.accept()
    server.send(OK[:-1])
    world.wait(1.9)
    assert not client.ended
    world.wait(0.2)
    assert client.ended


@pytest.mark.parametrize("retries", [0, 2])
def test_a_route_may_try_more_or_less_often_than_its_cluster(proxy: Build, retries: int) -> None:
    world = proxy(f"cluster: app, retries: {retries}")
    client, server = ask(world)
    server.accept()
    server.rst()
    for _ in range(retries):
        again = world.dialled()
        again.accept()
        again.rst()
    assert client.take().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("match: {prefix: /}", "cluster is missing"),
        ("cluster: app, clusters: [{name: app}]", "cluster and clusters stand together"),
        ("clusters: [{name: app}, {name: app}]", "app has a share already"),
        ("clusters: [{name: app}, {name: nxt}]", "there is no cluster 'nxt'; did you mean next?"),
    ],
)
def test_a_route_that_contradicts_itself_is_refused(route: str, problem: str) -> None:
    with pytest.raises(InvalidConfig, match=problem):
        loads(text(route))
