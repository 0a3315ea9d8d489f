"""Listeners whose clients are told by a PROXY protocol header, and what endpoints are told, as playbooks."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import pytest

from proxy.config.loader import loads
from proxy.proxy_protocol.header import Pair, encode
from tests.kit import bolt
from tests.proxy.bolt.scene import V1, taken
from tests.proxy.honoured import honours
from tests.proxy.simulation import World

CLIENT = Pair("203.0.113.9", 4711, "198.51.100.7", 443)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def world_of(moving: bool, protocol: str = "tcp", extra: str = "", out: str = "") -> World:
    gate = "{trusted: [192.0.2.0/24], timeout: 3s" + extra + "}"
    text = (
        "name: edge\nlisteners:\n"
        f"  - {{name: in, address: 127.0.0.1:80, protocol: {protocol}, cluster: app, proxy_protocol: {gate}}}\n"
        f"  - {{name: plain, address: 127.0.0.1:81, protocol: {protocol}, cluster: app}}\n"
        f"clusters:\n  - {{name: app, endpoints: [127.0.0.1:9000]{out}}}\n"
    )
    return World(loads(text).config, moving=moving)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_bytes_behind_the_header_arrive_however_it_is_cut(moving: bool, version: str) -> None:
    text = encode(version, CLIENT) + b"early"
    for cut in range(1, len(text)):
        world = world_of(moving)
        client = world.connect("in")
        client.send(text[:cut])
        client.send(text[cut:])
        server = world.dialled()
        server.accept()
        assert server.take() == b"early"
        server.send(b"late")
        assert client.take() == b"late"
        (downstream,) = [one for one in world.proxy.values().values() if one.kind == "tcp.downstream"]
        assert downstream.describe()["remote"] == "203.0.113.9"


def test_a_server_may_speak_first_once_the_header_is_there(moving: bool) -> None:
    world = world_of(moving)
    client = world.connect("in")
    assert world.dials == []
    client.send(encode("v1", CLIENT))
    server = world.dialled()
    server.accept()
    server.send(b"220 ready")
    assert client.take() == b"220 ready"


def test_requests_tell_the_client_of_the_header(moving: bool) -> None:
    world = world_of(moving, "http1")
    client = world.connect("in")
    client.send(encode("v2", CLIENT) + GET)
    server = world.dialled()
    server.accept()
    assert b"X-Forwarded-For: 203.0.113.9\r\n" in server.take()
    server.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200")


def test_local_leaves_the_address_of_the_connection(moving: bool) -> None:
    world = world_of(moving, "http1")
    world.connect("in", "192.0.2.77").send(encode("v2", None) + GET)
    server = world.dialled()
    server.accept()
    assert b"X-Forwarded-For: 192.0.2.77\r\n" in server.take()


def test_strangers_are_reset_or_served_without_a_header(moving: bool) -> None:
    world = world_of(moving)
    assert world.connect("in", "198.51.100.66").reset
    assert world.dials == []
    world = world_of(moving, extra=", others: direct")
    stranger = world.connect("in", "198.51.100.66")
    server = world.dialled()
    server.accept()
    stranger.send(encode("v1", CLIENT))
    assert server.take() == encode("v1", CLIENT)


def test_what_is_no_header_costs_its_connection_only(moving: bool) -> None:
    world = world_of(moving)
    good, bad = world.connect("in"), world.connect("in")
    bad.send(b"GET / HTTP/1.1\r\n")
    assert bad.reset
    good.send(encode("v1", CLIENT))
    assert len(world.dials) == 1


def test_a_header_that_does_not_come_in_time_ends_the_connection(moving: bool) -> None:
    world = world_of(moving)
    client = world.connect("in")
    client.send(b"PROXY TCP4")
    world.wait(2.9)
    assert not client.closed
    world.wait(0.2)
    assert client.closed
    assert world.dials == []


def test_a_fin_within_the_header_ends_the_connection(moving: bool) -> None:
    world = world_of(moving)
    silent, torn = world.connect("in"), world.connect("in")
    silent.fin()
    torn.send(b"PROXY")
    torn.fin()
    assert silent.closed
    assert torn.closed
    assert world.proxy.values() == {}


def test_status_counts_what_went_wrong() -> None:
    world = world_of(False)
    world.connect("in", "198.51.100.66")
    world.connect("in").send(b"x")
    world.connect("in").fin()
    about = world.proxy.listeners["in"].describe()
    assert about["proxy_protocol"] == {"refused": 1, "malformed": 1, "missing": 1}


@honours("listener.proxy_protocol", "cluster.proxy_protocol")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_endpoint_of_tcp_is_told_the_client_first(moving: bool, version: str) -> None:
    world = world_of(moving, out=f", proxy_protocol: {version}")
    client = world.connect("in")
    client.send(encode("v2", CLIENT) + b"hello")
    server = world.dialled()
    server.accept_bytes(7)
    server.accept()
    first = server.take()
    assert len(first) == 7
    server.accept_bytes(None)
    assert first + server.take() == encode(version, CLIENT) + b"hello"
    world.connect("plain", "192.0.2.5")
    server = world.dialled()
    server.accept()
    assert server.take() == encode(version, Pair("192.0.2.5", 56324, "198.51.100.7", 443))


def test_requests_of_one_client_share_a_connection_and_no_others(moving: bool) -> None:
    world = world_of(moving, "http1", out=", proxy_protocol: v1")
    one, other = world.connect("plain", "192.0.2.5"), world.connect("plain", "192.0.2.6")
    one.send(GET)
    first = world.dialled()
    first.accept()
    assert first.take().startswith(b"PROXY TCP4 192.0.2.5 198.51.100.7 56324 443\r\nGET / ")
    first.send(OK)
    one.send(GET)
    assert first.take().startswith(b"GET / ")
    first.send(OK)
    other.send(GET)
    second = world.dialled()
    second.accept()
    assert second.take().startswith(b"PROXY TCP4 192.0.2.6 ")
    second.send(OK)
    one.fin()
    world.wait(0.0)
    assert first.closed
    assert not second.closed


def test_checks_announce_nobody(moving: bool) -> None:
    world = world_of(moving, out=", proxy_protocol: v2, health_check: {check: tcp, interval: 1s}")
    world.wait(1.0)
    server = world.dialled()
    server.accept()
    assert server.take() == encode("v2", None)
    assert server.ended


def test_filters_see_the_client_of_the_header(moving: bool) -> None:
    text = """
name: edge
listeners:
  - name: in
    address: 127.0.0.1:80
    protocol: tcp
    cluster: app
    proxy_protocol: {trusted: [192.0.2.0/24]}
    filters: [{name: rbac, config: {rules: [{action: deny, source: [203.0.113.0/24]}], otherwise: allow}}]
clusters:
  - {name: app, endpoints: [127.0.0.1:9000]}
"""
    world = World(loads(text).config, moving=moving)
    denied, admitted = world.connect("in"), world.connect("in")
    denied.send(encode("v2", CLIENT))
    assert denied.reset
    admitted.send(encode("v2", Pair("2001:db8::1", 1, "2001:db8::2", 2)))
    assert len(world.dials) == 1


def test_calls_of_a_client_with_a_header_go_over_a_shared_connection_of_nobody(moving: bool) -> None:
    world = world_of(moving, "bolt", out=", proxy_protocol: v2")
    client = world.connect("in")
    client.send(encode("v1", CLIENT) + bolt.call(V1, 7, b"one"))
    server = world.dialled()
    server.accept_bytes(5)
    server.accept()
    first = server.take()
    server.accept_bytes(None)
    sent = first + server.take()
    assert sent.startswith(encode("v2", None))
    (call,) = bolt.FrameReader().feed(sent[16:])
    server.send(bolt.answer(V1, call.id, b"two"))
    assert taken(client)


def test_calls_whose_dial_failed_are_sent_elsewhere_behind_a_header(moving: bool) -> None:
    world = world_of(moving, "bolt", out=", proxy_protocol: v2, retries: 1")
    world.connect("plain").send(bolt.call(V1, 7, b"one"))
    world.dialled().refuse()
    assert world.proxy.reactor.bugs == 0
