"""What moves: one connection at a time, cut where it hurts, and watched from both sides."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator

import msgspec
import pytest

from tests.kit.client import Client
from tests.kit.frames import FrameReader, FrameWriter
from tests.kit.offspring import wait_for_stop
from tests.kit.ports import loopback, loopback6
from tests.kit.processes import PATIENCE, finish_upgrade
from tests.kit.stage import BREEZE, Edge, Stage, configuration
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("raw", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams)


def upgrade(edge: Edge) -> None:
    done = edge.instance.upgrade("--require-all")
    assert done.exit_code == 0, done.text


def crc(response_body: bytes) -> str:
    return f"{zlib.crc32(response_body):08x}"


def test_an_idle_connection_serves_on(edge: Edge) -> None:
    with Client(edge.web) as client:
        before = client.ask("/bytes?n=10")
        upgrade(edge)
        assert client.ask("/bytes?n=10").body == before.body


def test_a_connection_without_a_request_yet_serves_on(edge: Edge) -> None:
    with Client(edge.web) as client:
        eventually(lambda: edge.instance.status().connections, within=PATIENCE, what="it is accepted")
        upgrade(edge)
        assert client.ask("/bytes?n=10").status == 200


@pytest.mark.parametrize("cut", [1, 10, 25, 60])
def test_a_half_sent_head_is_completed(edge: Edge, cut: int) -> None:
    head = "GET /bytes?n=77 HTTP/1.1\r\nhost: client.test\r\nx-padding: is longer than the others\r\n\r\n"
    with Client(edge.web) as client:
        client.ask("/bytes?n=1")
        client.send(head[:cut])
        upgrade(edge)
        client.send(head[cut:])
        assert len(client.response().body) == 77


def test_a_half_sent_upload_is_completed(edge: Edge) -> None:
    body = os.urandom(300_000)
    with Client(edge.web) as client:
        client.send(f"POST /sink HTTP/1.1\r\nhost: client.test\r\ncontent-length: {len(body)}\r\n\r\n")
        for start in range(0, len(body), 100_000):
            client.send(body[start : start + 50_000])
            upgrade(edge)
            client.send(body[start + 50_000 : start + 100_000])
        assert msgspec.json.decode(client.response().body) == {"length": len(body), "crc": zlib.crc32(body)}


def test_a_half_sent_chunked_upload_is_completed(edge: Edge) -> None:
    pieces = [
        b"POST /sink HTTP/1.1\r\nhost: client.test\r\ntransfer-encoding: chunked\r\n\r\n",
        b"1",
        b"0\r",
        b"\n0123",
    ]
    pieces += [b"456789abcdef\r", b"\n3\r\nxyz\r\n0", b"\r\nx-trailer: 1\r", b"\n\r\n"]
    with Client(edge.web) as client:
        for piece in pieces:
            client.send(piece)
            upgrade(edge)
        whole = b"0123456789abcdefxyz"
        assert msgspec.json.decode(client.response().body) == {"length": len(whole), "crc": zlib.crc32(whole)}


def test_an_upload_that_waits_for_100_continue_is_completed(edge: Edge) -> None:
    with Client(edge.web) as client:
        client.send("POST /sink HTTP/1.1\r\nhost: client.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        assert client.head().status == 100
        upgrade(edge)
        client.send(b"12345")
        assert msgspec.json.decode(client.response().body)["length"] == 5


def test_a_request_in_flight_on_both_sides_is_answered(edge: Edge, upstreams: Upstreams) -> None:
    with Client(edge.web) as client:
        client.get("/hold?token=both")
        upstreams.held("both")
        upgrade(edge)
        upstreams.release("both")
        response = client.response()
    assert (response.status, response.fields["x-crc"]) == (200, crc(response.body))


def test_pipelined_requests_are_answered_in_order(edge: Edge, upstreams: Upstreams) -> None:
    with Client(edge.web) as client:
        client.get("/hold?token=pipeline")
        client.get("/bytes?n=200")
        client.get("/bytes?n=300")
        upstreams.held("pipeline")
        upgrade(edge)
        upstreams.release("pipeline")
        assert [len(client.response().body) for _ in range(3)] == [0, 200, 300]


def test_a_half_read_response_is_completed(edge: Edge, upstreams: Upstreams) -> None:
    with Client(edge.web) as client:
        client.get("/half?token=response&n=64")
        upstreams.held("response")
        upgrade(edge)
        upstreams.release("response")
        frames = FrameReader()
        assert len(frames.feed(client.response().body)) == 64


def test_a_slow_reader_gets_every_byte(edge: Edge) -> None:
    with Client(edge.web) as client:
        client.get("/bytes?n=20000000")
        first, body = client.head(), b""
        for _ in range(3):
            upgrade(edge)
            body += client.take(1_000_000)
        body += client.take(int(first.fields["content-length"]) - len(body))
    assert crc(body) == first.fields["x-crc"]


def test_a_half_closed_tcp_connection_stays_half_closed(stage: Stage, upstreams: Upstreams) -> None:
    http = upstreams.addresses[0]
    edge = stage.edge(upstreams, clusters=[{"name": name, "endpoints": [http]} for name in ("app", "db")])
    with Client(edge.raw) as client:
        client.get("/half?token=half-closed&n=64")
        client.end_sending()
        upstreams.held("half-closed")
        upgrade(edge)
        upstreams.release("half-closed")
        response = client.response()
        assert len(FrameReader().feed(response.body)) == 64
        assert client.rest() == b""


def test_raw_bytes_come_back_in_order_around_an_upgrade(stage: Stage, upstreams: Upstreams) -> None:
    raw = upstreams.addresses[2]
    edge = stage.edge(upstreams, clusters=[{"name": name, "endpoints": [raw]} for name in ("app", "db")])
    sent, echoed = FrameWriter(), FrameReader()
    with Client(edge.raw) as client:
        for number in range(4):
            client.send(sent.frame(os.urandom(5000)))
            upgrade(edge)
            while echoed.number <= number:
                echoed.feed(client.take(len(client.unread) or len(client.more())))
        client.end_sending()
        assert client.rest() == b""


def test_connections_that_wait_in_the_accept_queue_are_served(edge: Edge) -> None:
    """They arrive while nobody ticks: the source is stopped between its freeze and FINAL."""
    source = edge.instance.status().pid
    edge.instance.arm("source.freeze.after:stop")
    attempt = edge.instance.start_upgrade()
    wait_for_stop(source, within=PATIENCE)
    waiting = [Client(edge.web) for _ in range(20)]
    for client in waiting:
        client.get("/bytes?n=50")
    edge.instance.resume(source)
    assert finish_upgrade(attempt).exit_code == 0
    for client in waiting:
        assert len(client.response().body) == 50
        client.close()
    assert edge.instance.status().generation == 2


def test_unix_and_ipv6_listeners_and_endpoints_move(stage: Stage) -> None:
    upstreams = stage.upstreams(("http", f"unix:{stage.directory}/up.sock"), ("tcp", "[::1]:0"))
    config = configuration(f"unix:{stage.directory}/web.sock", loopback6(), upstreams)
    instance = stage.instance(config)
    instance.start()
    web, raw = (listener["address"] for listener in config["listeners"])
    load = stage.load(msgspec.structs.replace(BREEZE, http=web, tcp=raw))
    for _ in range(3):
        assert instance.upgrade("--require-all").exit_code == 0
        assert load.turn().failures == []
    assert load.finish().failures == []


def test_an_upstream_connection_that_is_not_established_yet_moves(stage: Stage) -> None:
    """Its SYN is not answered: the queue of the upstream is full. Later it is, and the request is served."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        filling = Client(address)
        upstreams = stage.upstreams()
        clusters = [{"name": name, "endpoints": [address], "connect_timeout": "20s"} for name in ("app", "db")]
        edge = stage.edge(upstreams, clusters=clusters)
        with Client(edge.web) as client:
            client.get("/late")
            eventually(lambda: edge.instance.status().in_flight, within=PATIENCE, what="the request is under way")
            upgrade(edge)
            filling.close()
            server.settimeout(PATIENCE)
            server.accept()[0].close()
            connection, _ = server.accept()
            with connection:
                assert connection.recv(10000).startswith(b"GET /late ")
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
                assert client.response().body == b"late"


def test_a_request_timeout_goes_on_in_the_next_generation(stage: Stage, upstreams: Upstreams) -> None:
    http, tcp = upstreams.addresses[:2]
    clusters = [
        {"name": "app", "endpoints": [http], "request_timeout": "2s", "retries": 0},
        {"name": "db", "endpoints": [tcp]},
    ]
    edge = stage.edge(upstreams, clusters=clusters)
    with Client(edge.web) as client:
        client.get("/hold?token=never")
        upstreams.held("never")
        upgrade(edge)
        assert client.response().status == 504


def test_the_admin_address_answers_through_upgrades(stage: Stage, upstreams: Upstreams) -> None:
    admin = loopback()
    edge = stage.edge(upstreams, admin=admin)
    for generation in range(1, 4):
        for path in ("/ready", "/live", "/status"):
            with Client(admin) as client:
                assert client.ask(path).status == 200
        with Client(admin) as client:
            assert msgspec.json.decode(client.ask("/status").body)["generation"] == generation
        upgrade(edge)
