"""How encrypted connections end, those that were cut apart from the others; and what a new generation may not end.

TLS tells an end by close_notify (RFC 8446 section 6.1). Without it somebody on the way may have cut the stream, so what
ends without one on one side of the proxy ends without one on the other.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.http import Closed
from tests.kit.processes import PATIENCE, finish_upgrade
from tests.kit.stage import Edge, Stage
from tests.kit.tls import NEWEST_FIRST, VERSIONS, TlsClient, Version, client_context, server_context
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture(params=NEWEST_FIRST)
def version(request: pytest.FixtureRequest) -> Version:
    chosen: Version = request.param
    return chosen


class Endpoint:
    """A server that the test plays itself, and a proxy before it with TLS on both sides."""

    def __init__(self, stage: Stage, authority: Authority, version: Version, exits: ExitStack) -> None:
        self.context = server_context(*authority.issue("behind"), version)
        self.server = exits.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.server.settimeout(PATIENCE)
        self.exits = exits
        tls = {"ca": str(authority.file)}
        places = [f"127.0.0.1:{self.server.getsockname()[1]}"]
        clusters = [{"name": name, "endpoints": places, "tls": tls} for name in ("app", "db")]
        self.edge = stage.edge(stage.upstreams(), clusters=clusters, authority=authority)

    def accept(self) -> ssl.SSLSocket:
        plain, _ = self.server.accept()
        connection = self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False)
        self.exits.enter_context(connection)
        connection.settimeout(PATIENCE)
        return connection


def end(connection: ssl.SSLSocket, *, told: bool) -> None:
    """By close_notify and FIN, or by FIN alone."""
    if told:
        connection.settimeout(0)
        with suppress(ssl.SSLWantReadError):  # it would wait for the other side to say the same
            connection.unwrap()
    socket.socket.shutdown(connection, socket.SHUT_WR)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("moved", [False, pytest.param(True, marks=pytest.mark.all)])
def test_a_response_without_a_length_is_whole_only_if_its_end_was_told(
    stage: Stage, authority: Authority, version: Version, told: bool, moved: bool
) -> None:
    """RFC 9112 section 9.8."""
    with ExitStack() as exits:
        endpoint = Endpoint(stage, authority, version, exits)
        client = exits.enter_context(TlsClient(endpoint.edge.web, client_context(authority.file, version)))
        client.get("/")
        behind = endpoint.accept()
        assert behind.recv(10_000).startswith(b"GET / ")
        behind.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall there is")
        assert client.head().status == 200
        while b"all there is" not in client.unread:
            assert client.more()
        if moved:
            assert endpoint.edge.instance.upgrade("--require-all").exit_code == 0
        end(behind, told=told)
        if told:
            assert client.rest().startswith(b"all there is")
        else:
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                client.rest()


@pytest.mark.parametrize("told", [True, False])
def test_a_stream_of_an_endpoint_that_is_cut_is_not_ended_like_a_whole_one(
    stage: Stage, authority: Authority, version: Version, told: bool
) -> None:
    with ExitStack() as exits:
        endpoint = Endpoint(stage, authority, version, exits)
        client = exits.enter_context(TlsClient(endpoint.edge.raw, client_context(authority.file, version)))
        client.send(b"question")
        behind = endpoint.accept()
        assert behind.recv(100) == b"question"
        behind.sendall(b"answer")
        assert client.take(6) == b"answer"
        end(behind, told=told)
        if told:
            assert client.more() == b""
        else:
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                client.more()


@pytest.mark.parametrize("told", [True, False])
def test_a_stream_of_a_client_that_is_cut_is_not_ended_like_a_whole_one(
    stage: Stage, authority: Authority, version: Version, told: bool
) -> None:
    """The same the other way round."""
    with ExitStack() as exits:
        endpoint = Endpoint(stage, authority, version, exits)
        client = exits.enter_context(TlsClient(endpoint.edge.raw, client_context(authority.file, version)))
        client.send(b"half a mess")
        behind = endpoint.accept()
        assert behind.recv(100) == b"half a mess"
        if told:
            client.end_sending()
            assert behind.recv(100) == b""
        else:
            client.socket.shutdown(socket.SHUT_WR)
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                behind.recv(100)


def test_an_upload_that_is_cut_is_not_taken_for_whole(
    stage: Stage, authority: Authority, upstreams: Upstreams, version: Version
) -> None:
    edge = stage.edge(upstreams, authority=authority)
    before, asked = len(upstreams.record().busy_ends), upstreams.record().requests.get("/sink", 0)
    with TlsClient(edge.web, client_context(authority.file, version)) as client:
        client.send(b"POST /sink HTTP/1.1\r\nhost: edge.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        eventually(lambda: upstreams.record().requests.get("/sink", 0) > asked, within=PATIENCE, what="it is under way")
        client.socket.shutdown(socket.SHUT_WR)
        with suppress(ssl.SSLError, Closed, ConnectionError):
            assert client.head().status != 200
    eventually(lambda: len(upstreams.record().busy_ends) > before, within=PATIENCE, what="the upstream sees it cut")
    assert upstreams.record().wrong == []


def test_a_drain_tells_the_end(stage: Stage, authority: Authority, upstreams: Upstreams, version: Version) -> None:
    """To one that is idle at once, to one that is busy after its answer."""
    edge = stage.edge(upstreams, authority=authority)
    context = client_context(authority.file, version)
    with TlsClient(edge.web, context) as idle, TlsClient(edge.web, context) as busy:
        assert idle.ask("/bytes?n=10").status == 200
        busy.get(f"/hold?token=drain-{version}")
        upstreams.held(f"drain-{version}")
        assert edge.instance.hotswap("drain", "edge", "--no-wait").returncode == 0
        assert idle.more() == b""
        upstreams.release(f"drain-{version}")
        assert busy.response().status == 200
        assert busy.more() == b""


# -- what a new generation may not end ----------------------------------------------------------------


def test_a_rehearsal_and_a_rollback_touch_nothing(stage: Stage, authority: Authority, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams, authority=authority)
    with ExitStack() as exits:
        contexts = [client_context(authority.file, version) for version in VERSIONS]
        clients = [exits.enter_context(TlsClient(edge.web, context)) for context in contexts]
        for command in (
            ["upgrade", "edge", "--dry-run"],
            ["upgrade", "edge", "--require-all"],
            ["rollback", "edge"],
            ["upgrade", "edge", "--bake", "1s"],
        ):
            done = edge.instance.hotswap(*command)
            assert done.returncode == 0, done.stderr
            for client in clients:
                assert client.ask("/bytes?n=10").status == 200


def test_a_connection_outlives_the_terms_of_its_handshake(
    stage: Stage, authority: Authority, upstreams: Upstreams
) -> None:
    """The next generation wants 1.3, another suite and a client certificate, but only of those who come."""
    edge = stage.edge(upstreams, authority=authority)
    contexts = {version: client_context(authority.file, version) for version in VERSIONS}
    with ExitStack() as exits:
        clients = [exits.enter_context(TlsClient(edge.web, context)) for context in contexts.values()]
        for listener in edge.instance.config["listeners"]:
            listener["tls"] |= {
                "min_version": "1.3",
                "ciphers": ["TLS_CHACHA20_POLY1305_SHA256"],
                "client_certificates": {"ca": str(authority.file)},
            }
        edge.instance.write_config()
        for _ in range(2):
            assert edge.instance.upgrade("--require-all").exit_code == 0
            for client in clients:
                assert client.ask("/bytes?n=10").status == 200
        with pytest.raises(ssl.SSLError):
            TlsClient(edge.web, contexts["1.2"])
        pair = authority.issue("client", "DNS:client.test", client=True)
        with TlsClient(edge.web, client_context(authority.file, "1.3", pair=pair)) as newcomer:
            assert newcomer.ask("/bytes?n=10").status == 200
            assert newcomer.tls.cipher() == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256)


@pytest.mark.parametrize("before", [True, False], ids=["taken away", "added"])
def test_a_connection_keeps_its_encryption_whatever_its_listener_does_now(
    stage: Stage, authority: Authority, upstreams: Upstreams, before: bool
) -> None:
    edge = Edge(stage, upstreams, authority=authority)
    web = edge.instance.config["listeners"][0]
    tls = web["tls"]
    context = client_context(authority.file, "1.3")

    def connect(*, secure: bool) -> Client:
        return TlsClient(edge.web, context) if secure else Client(edge.web)

    if not before:
        del web["tls"]
    edge.instance.write_config()
    edge.instance.start()
    with connect(secure=before) as old:
        assert old.ask("/bytes?n=10").status == 200
        if before:
            del web["tls"]
        else:
            web["tls"] = tls
        edge.instance.write_config()
        done = finish_upgrade(edge.instance.start_upgrade())
        assert done.exit_code == 0, done.text
        for _ in range(2):
            assert old.ask("/bytes?n=10").status == 200
            with connect(secure=not before) as new:
                assert new.ask("/bytes?n=10").status == 200
            assert edge.instance.upgrade().exit_code == 0
