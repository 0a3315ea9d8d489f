"""That clients with TLS do what they say, shown by a server that counts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from tests.bench.loadgen import LoadGenerator, Protocol, Report, Tls
from tests.kit.certificates import Authority
from tests.kit.ports import free_port
from tests.kit.tls import server_context
from tests.kit.waiting import eventually

CLIENTS = 4
BODY = b"z" * 1024
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + BODY
Version = Literal["1.2", "1.3"]


class Server:
    """Echoes, or answers every read with one response; counts handshakes and those among them that resumed."""

    def __init__(self, context: Callable[[], ssl.SSLContext], protocol: Protocol) -> None:
        self.handshakes = self.resumed = 0
        self._context = context
        self._protocol = protocol
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        for thread in self._threads:
            thread.join(timeout=10)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[client]))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), self._context().wrap_socket(client, server_side=True) as tls:
            self.handshakes += 1
            self.resumed += bool(tls.session_reused)
            while data := tls.recv(65536):
                tls.sendall(RESPONSE if self._protocol == "http" else data)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    pair = Authority(tmp_path).issue()
    servers = []

    def start(protocol: Protocol = "http", *, forgets: bool = False, curve: str = "X25519") -> Server:
        def context() -> ssl.SSLContext:
            made = server_context(pair.cert, pair.key)
            made.set_ecdh_curve(curve)
            return made

        one = context()
        servers.append(Server(context if forgets else lambda: one, protocol))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def shake_hands(server: Server, tls: Tls) -> Report:
    """As many answers as show something."""
    with LoadGenerator("http", None, server.port, CLIENTS, tls=tls) as load:
        load.load(CLIENTS)
        eventually(lambda: load.report().answers >= 20, within=20, what="20 handshakes")
        load.load(0)
        load.sweep()
        return load.report()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("protocol", ["echo", "http"])
def test_requests_go_over_one_handshake(serve: Callable[..., Server], protocol: Protocol, version: Version) -> None:
    server = serve(protocol)
    with LoadGenerator(protocol, None, server.port, CLIENTS, tls=Tls(version)) as load:
        load.load(CLIENTS)
        eventually(lambda: load.report().answers >= 50, within=20, what="50 answers")
        load.load(0)
        assert load.sweep() == 0
        assert (load.report().errors, load.report().closed) == (0, 0)
    assert server.handshakes == CLIENTS


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_full_handshakes_resume_nothing(serve: Callable[..., Server], version: Version) -> None:
    server = serve()
    report = shake_hands(server, Tls(version, "full"))
    assert (report.errors, report.closed, server.resumed) == (0, 0, 0)
    assert server.handshakes == report.answers + CLIENTS


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_resumed_handshakes_resume_all_but_the_first_of_each_client(
    serve: Callable[..., Server], version: Version
) -> None:
    server = serve()
    report = shake_hands(server, Tls(version, "resumed"))
    assert (report.errors, report.closed) == (0, 0)
    assert server.resumed == report.answers == server.handshakes - CLIENTS


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_server_that_does_not_resume_makes_errors_where_that_was_wanted(
    serve: Callable[..., Server], version: Version
) -> None:
    report = shake_hands(serve(forgets=True), Tls(version, "resumed"))
    assert report.errors == report.answers


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_another_key_exchange_is_an_error(serve: Callable[..., Server], version: Version) -> None:
    report = shake_hands(serve(curve="prime256v1"), Tls(version, "full"))
    assert report.errors >= report.answers


def test_a_body_may_be_larger_than_what_a_socket_holds() -> None:
    port = free_port()
    with LoadGenerator("http", port, port, CLIENTS, size=8 << 20) as load:
        load.load(CLIENTS)
        eventually(lambda: load.report().answers >= 20, within=20, what="20 bodies")
        load.load(0)
        assert load.sweep() == 0
        assert load.report().errors == 0
