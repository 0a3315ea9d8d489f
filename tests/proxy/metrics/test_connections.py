"""What is counted of connections on both sides. Playbooks run through handovers as well: nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.config.loader import loads
from proxy.proxy_protocol.header import Pair, encode
from tests.kit.certificates import Authority
from tests.proxy.metrics.scene import GET, OK, SORRY, Counted, ask, edge, gauges
from tests.proxy.tls.scene import Scene

AT = "app 127.0.0.1:9000"

Build = Callable[..., Counted]


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args, **settings: Counted(edge(*args, **settings), moving=moving)


def test_relay_counts_its_connections_and_every_byte_once(proxy: Build) -> None:
    world = proxy()
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"12345")
    server.send(b"x" * 100_000)
    client.send(b"67")
    server.fin()
    client.fin()
    assert client.take() == b"x" * 100_000
    assert world.everything() == {
        "downstream_accepted raw": 1,
        "downstream_connections raw tcp plain": 1,
        "downstream_received_bytes raw": 7,
        "downstream_sent_bytes raw": 100_000,
        f"upstream_connections {AT} plain": 1,
        "upstream_connect_duration app": 1,
        f"upstream_received_bytes {AT}": 100_000,
        f"upstream_sent_bytes {AT}": 7,
    }


def test_bytes_of_http_are_those_of_the_wire(proxy: Build) -> None:
    world = proxy()
    client = world.connect("web")
    client.send(GET)
    server = world.dialled()
    server.accept()
    sent = len(server.take())
    server.send(OK)
    assert world.only("_bytes") == {
        "downstream_received_bytes web": len(GET),
        "downstream_sent_bytes web": len(client.take()),
        f"upstream_received_bytes {AT}": len(OK),
        f"upstream_sent_bytes {AT}": sent,
    }


def test_slow_reader_is_counted_what_it_was_written(proxy: Build) -> None:
    world = proxy()
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.accept_bytes(1000)
    server.send(b"x" * 5000)
    assert world.only("sent_bytes")["downstream_sent_bytes raw"] == 1000
    client.accept_bytes(None)
    assert world.only("sent_bytes")["downstream_sent_bytes raw"] == 5000


@pytest.mark.parametrize("side", ["client", "server"])
def test_reset_is_counted_on_the_side_where_it_came_from(proxy: Build, side: str) -> None:
    world = proxy()
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    (client if side == "client" else server).rst()
    assert world.told() == ({"downstream_resets raw": 1} if side == "client" else {f"upstream_resets {AT}": 1})


def test_dials_that_fail_are_told_apart(proxy: Build) -> None:
    world = proxy(", connect_timeout: 1s", endpoints=2)
    world.connect("raw")
    first = world.dialled()
    first.refuse()
    world.wait(1.1)
    other = "127.0.0.1:9001" if str(first.address) == "127.0.0.1:9000" else "127.0.0.1:9000"
    assert world.told() == {
        "downstream_failures raw no_endpoint": 1,
        f"upstream_connect_failures app {first.address} refused": 1,
        f"upstream_connect_failures app {other} timeout": 1,
    }


def test_how_long_a_connection_took_goes_on_through_handovers(moving: bool) -> None:
    world = Counted(edge(", connect_timeout: 10s"), moving=moving)
    world.connect("raw")
    world.wait(3.0)
    world.dialled().accept()
    histograms = [one.families.connect_durations.labels("app") for one in world.generations]
    assert sum(one.sum for one in histograms) == pytest.approx(3.0)
    assert sum(one.count for one in histograms) == 1


def test_clients_that_are_turned_away_were_accepted_and_nothing_more(proxy: Build) -> None:
    world = Counted(edge())
    world.proxy.reactor.acceptor.turn_away(world.proxy.listeners["raw"], "reset")
    assert world.connect("raw").reset
    assert world.everything() == {"downstream_accepted raw": 1, "downstream_refused raw turned_away": 1}


def test_headers_of_proxies_are_judged_and_are_no_bytes_of_the_protocol(moving: bool) -> None:
    config = loads("""\
name: edge
listeners:
  - name: raw
    address: 127.0.0.1:81
    protocol: tcp
    cluster: app
    proxy_protocol: {trusted: [192.0.2.0/24], timeout: 3s}
clusters: [{name: app, endpoints: [127.0.0.1:9000]}]
""").config
    world = Counted(config, moving=moving)
    assert world.connect("raw", remote="198.51.100.99").reset
    world.connect("raw").send(b"something else\r\n")
    world.connect("raw")
    world.wait(3.1)
    world.connect("raw").send(encode("v1", Pair("203.0.113.9", 4711, "198.51.100.7", 443)) + b"123")
    world.dialled().accept()
    assert world.everything() == {
        "downstream_accepted raw": 4,
        "downstream_refused raw proxy_protocol": 2,
        "downstream_connections raw tcp plain": 1,
        "downstream_received_bytes raw": 3,
        "upstream_connect_duration app": 1,
        f"upstream_connections {AT} plain": 1,
        f"upstream_sent_bytes {AT}": 3,
    }


def test_ejections_are_counted_and_seen(proxy: Build) -> None:
    world = proxy(", max_idle: 0, outlier: {server_errors: 2, cooldown: 10s}", endpoints=2)
    for _ in range(4):
        client, server = ask(world)
        server.send(SORRY if str(server.address) == "127.0.0.1:9000" else OK)
        assert client.take()
    assert world.only("ejections") == {f"upstream_ejections {AT}": 1}
    assert {text for text in gauges(world.proxy) if "healthy" in text} == {"upstream_healthy app 127.0.0.1:9001"}
    world.wait(10.1)
    assert f"upstream_healthy {AT}" in gauges(world.proxy)
    assert world.only("ejections") == {f"upstream_ejections {AT}": 1}


def test_checks_of_health_count_nowhere(proxy: Build) -> None:
    world = proxy(", health_check: {interval: 1s, timeout: 1s}")
    for _ in range(3):
        world.dialled().accept()
        world.wait(1.1)
    world.dialled().refuse()
    assert world.everything() == {}
    assert not any(text.startswith("upstream_connections") for text in gauges(world.proxy))


def test_drain_that_ends_connections_at_its_deadline_resets_nobody_by_count(proxy: Build) -> None:
    world = proxy()
    client, server = ask(world)
    world.connect("raw")
    world.dialled().accept()
    world.proxy.drain(world.kernel.clock() + 5)
    server.send(OK)
    assert client.take()
    world.moving = False
    world.wait(5.1)
    assert world.told() == {
        "requests web * 2xx": 1,
        "request_duration web *": 1,
        f"upstream_requests {AT} 2xx": 1,
        f"upstream_request_duration {AT}": 1,
    }
    assert not world.proxy.values()


# ---- TLS ----


class Secured(Scene):
    """With a world that remembers all generations."""

    def __init__(self, authority: Authority, *, moving: bool, **settings: Any) -> None:
        super().__init__(authority, moving=moving, **settings)
        self.world: Counted = Counted(self.config, moving=moving)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_counts_handshakes_and_the_bytes_within(authority: Authority, moving: bool) -> None:
    scene = Secured(authority, moving=moving, upstream=True)
    client = scene.client()
    server = scene.secure_server()
    client.send(b"12345")
    server.send(b"x" * 50_000)
    client.pull()
    server.pull()
    assert (len(client.plain), server.plain) == (50_000, b"12345")
    assert scene.world.everything() == {
        "downstream_accepted web": 1,
        "downstream_connections web tcp tls": 1,
        "downstream_handshakes web done": 1,
        "downstream_received_bytes web": 5,
        "downstream_sent_bytes web": 50_000,
        "upstream_connect_duration app": 1,
        f"upstream_connections {AT} tls": 1,
        "upstream_handshakes app done": 1,
        f"upstream_received_bytes {AT}": 50_000,
        f"upstream_sent_bytes {AT}": 5,
    }
    assert gauges(scene.world.proxy)["downstream_connections_active web tcp tls"] == 1


def test_handshakes_end_in_their_own_ways_and_broken_tls_is_no_reset(authority: Authority) -> None:
    scene = Secured(authority, moving=False)
    scene.socket().send(b"GET / HTTP/1.1\r\n\r\n")
    scene.socket().fin()
    scene.socket().rst()
    scene.socket()
    scene.world.wait(61.0)
    broken = scene.client()
    scene.server()
    broken.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert scene.world.only("handshakes", "resets", "downstream_connections") == {
        "downstream_handshakes web failed": 1,
        "downstream_handshakes web ended": 2,
        "downstream_handshakes web late": 1,
        "downstream_handshakes web done": 1,
        "downstream_handshakes web broken": 1,
        "downstream_resets web": 1,
        "downstream_connections web tcp tls": 1,
    }
    status = scene.world.proxy.status()["listeners"][0]["handshakes"]
    assert status == {"done": 1, "failed": 1, "ended": 2, "late": 1, "broken": 1}


def test_endpoint_without_tls_is_a_handshake_that_failed(authority: Authority) -> None:
    scene = Secured(authority, moving=False, downstream=False, upstream=True)
    scene.socket()
    scene.server().send(b"220 ready\r\n")
    assert scene.world.only("handshakes", "failures", "upstream_connections") == {
        "upstream_handshakes app failed": 1,
        "downstream_failures web no_endpoint": 1,
        f"upstream_connect_failures {AT} refused": 1,
        f"upstream_encryption_failures {AT} handshake": 1,
    }
