"""Connections that rules of the kernel sent here, and upstream connections that are not the proxy's alone."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from collections.abc import Callable

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from tests.proxy.honoured import GET, OK
from tests.proxy.simulation import World

LISTENER = "original_dst: redirect"
NEAR = "198.51.100.1:80"
THERE = "203.0.113.5:443"


def text(listener: str = LISTENER, cluster: str = "endpoints: original_dst", protocol: str = "http1") -> str:
    return f"""\
name: edge
listeners:
  - {{name: in, address: 0.0.0.0:80, protocol: {protocol}, cluster: there{", " * bool(listener)}{listener}}}
clusters:
  - {{name: there, {cluster}}}
"""


@pytest.fixture
def world(moving: bool) -> Callable[..., World]:
    return lambda *args: World(loads(text(*args)).config, moving=moving)


def test_tcp_goes_where_the_client_wanted_to_go(world: Callable[..., World]) -> None:
    one = world(LISTENER, "endpoints: original_dst, mark: 7", "tcp")
    client = one.connect("in", destination=THERE, near=NEAR)
    server = one.dialled()
    assert (str(server.address), server.mark) == (THERE, 7)
    server.accept()
    client.send(b"question")
    assert server.take() == b"question"


def test_endpoints_are_told_where_the_client_wanted_to_go(world: Callable[..., World]) -> None:
    one = world(LISTENER, "endpoints: original_dst, proxy_protocol: v1", "tcp")
    one.connect("in", destination=THERE, near=NEAR)
    server = one.dialled()
    server.accept()
    assert server.take() == b"PROXY TCP4 192.0.2.1 203.0.113.5 56324 443\r\n"


def test_only_requests_of_the_client_that_was_announced_go_to_its_destination_on_one_connection(
    world: Callable[..., World],
) -> None:
    one = world(LISTENER, "endpoints: original_dst, proxy_protocol: v1")
    first = one.connect("in", destination=THERE, near=NEAR)
    first.send(GET)
    server = one.dialled()
    server.accept()
    assert server.take().startswith(b"PROXY TCP4 192.0.2.1 203.0.113.5 56324 443\r\nGET / ")
    server.send(OK)
    first.send(GET)
    assert server.take().startswith(b"GET / ")
    server.send(OK)
    second = one.connect("in", remote="192.0.2.2", destination=THERE, near=NEAR)
    second.send(GET)
    other = one.dialled()
    other.accept()
    assert other.take().startswith(b"PROXY TCP4 192.0.2.2 ")
    first.fin()
    assert server.ended


def test_nobody_there_is_a_reset(world: Callable[..., World]) -> None:
    one = world(LISTENER, "endpoints: original_dst", "tcp")
    client = one.connect("in", destination=THERE, near=NEAR)
    one.dialled().refuse()
    assert client.reset
    assert one.dials == []


@pytest.mark.parametrize("destination", ["", NEAR])
def test_what_no_rule_sent_is_refused(world: Callable[..., World], destination: str) -> None:
    one = world(LISTENER, "endpoints: original_dst", "tcp")
    client = one.connect("in", destination=destination, near=NEAR)
    assert client.reset
    assert one.dials == []


def test_with_tproxy_the_near_address_is_the_destination(world: Callable[..., World]) -> None:
    one = world("original_dst: tproxy", "endpoints: original_dst", "tcp")
    assert [*one.kernel.transparent.values()] == [True]
    one.connect("in", near=THERE)
    assert str(one.dialled().address) == THERE
    assert one.connect("in", near=NEAR).reset
    one.connect("in", near="203.0.113.5:80")
    assert str(one.dialled().address) == "203.0.113.5:80"


def test_a_dial_that_comes_back_is_not_dialled_again(world: Callable[..., World]) -> None:
    one = world(LISTENER, "endpoints: original_dst", "tcp")
    one.connect("in", destination=THERE, near=NEAR)
    server = one.dialled()
    again = one.connect("in", destination=THERE, near=NEAR, far=server.near)
    assert again.reset
    assert one.dials == []


def test_http1_keeps_connections_by_destination(world: Callable[..., World]) -> None:
    one = world()
    for destination in (THERE, "203.0.113.6:443"):
        client = one.connect("in", destination=destination, near=NEAR)
        client.send(GET)
        server = one.dialled()
        assert str(server.address) == destination
        server.accept()
        server.send(OK)
        assert client.take().endswith(b"ok")
    client = one.connect("in", destination="203.0.113.6:443", near=NEAR)
    client.send(GET)
    assert one.dials == []
    assert server.take().count(b"GET / HTTP/1.1") == 2
    server.send(OK)
    assert client.take().endswith(b"ok")


def test_all_destinations_together_keep_no_more_than_max_idle_and_not_for_ever(world: Callable[..., World]) -> None:
    one = world(LISTENER, "endpoints: original_dst, max_idle: 2, keepalive_timeout: 5s")
    servers = []
    for number in range(100):
        client = one.connect("in", destination=f"203.0.113.{number}:80", near=NEAR)
        client.send(GET)
        servers.append(one.dialled())
        servers[-1].accept()
        servers[-1].send(OK)
        client.fin()
    assert [server.closed for server in servers] == [True] * 98 + [False] * 2
    assert len(one.proxy.clusters["there"].endpoints[0].guises) <= 70
    one.wait(5.1)
    assert all(server.closed for server in servers)


def test_the_clients_address_is_the_source_and_its_connections_are_its_own(world: Callable[..., World]) -> None:
    one = world("", "endpoints: [127.0.0.1:9000], transparent_source: true")
    for remote in ("192.0.2.1", "192.0.2.2"):
        client = one.connect("in", remote)
        client.send(GET)
        server = one.dialled()
        assert (server.source, str(server.address)) == (remote, "127.0.0.1:9000")
        server.accept()
        server.send(OK)
        assert client.take().endswith(b"ok")
    one.connect("in", "192.0.2.2").send(GET)
    assert one.dials == []
    assert server.take().count(b"GET / HTTP/1.1") == 2


def test_health_checks_carry_the_mark(world: Callable[..., World]) -> None:
    one = world("", "endpoints: [127.0.0.1:9000], mark: 9, health_check: {}")
    one.wait(5.1)
    assert one.dialled().mark == 9


@pytest.mark.parametrize(
    ("listener", "cluster", "protocol", "problem"),
    [
        ("", "endpoints: original_dst", "tcp", "listeners[0].cluster: there goes where the client wanted to go"),
        ("", "endpoints: original_dst", "bolt", "listeners[0].cluster: calls of bolt share connections"),
        (LISTENER, "endpoints: original_dst, outlier: {}", "tcp", "clusters[0].outlier: outlier has no meaning"),
        ("", "endpoints: [127.0.0.1:1], transparent_source: true", "bolt", "listeners[0].cluster: calls of bolt"),
        ("", 'endpoints: ["[::1]:1"], transparent_source: true', "tcp", "clusters[0].transparent_source: clients of"),
    ],
)
def test_what_does_not_go_together_is_told(listener: str, cluster: str, protocol: str, problem: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        loads(text(listener, cluster, protocol))
    assert problem in str(caught.value)


def test_a_missing_privilege_is_told_with_line_and_key() -> None:
    forbidden = {"mark": "operation not permitted", "transparent": "operation not permitted"}
    written = text("original_dst: tproxy", "endpoints: original_dst, mark: 1, transparent_source: true", "tcp")
    with pytest.raises(InvalidConfig) as caught:
        loads(written, "edge.yaml", lambda: forbidden, starting=True)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["edge.yaml:3", "listeners[0].original_dst"],
        ["edge.yaml:5", "clusters[0].transparent_source"],
        ["edge.yaml:5", "clusters[0].mark"],
    ]
    assert all("CAP_NET_ADMIN" in line for line in lines)
    assert len(loads(written, "edge.yaml", lambda: forbidden).warnings) == 3
