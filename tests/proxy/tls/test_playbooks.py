"""TLS as clients and endpoints see it, straight and with a handover after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.model import AccessLogConfig
from proxy.connection import HIGH
from tests.proxy.tls.far import Far, server_context

if TYPE_CHECKING:
    from tests.proxy.tls.scene import Build

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_bytes_of_a_client_are_opened_and_the_answer_sealed(scene: Build) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    client.send(b"question")
    assert server.take() == b"question"
    server.send(b"answer")
    assert client.take() == b"answer"


def test_an_endpoint_is_spoken_to_by_tls(scene: Build) -> None:
    play = scene(downstream=False, upstream=True)
    client = play.socket()
    server = play.secure_server()
    client.send(b"question")
    assert server.take() == b"question"
    server.send(b"answer")
    assert client.take() == b"answer"


def test_both_sides_are_encrypted_each_for_itself(scene: Build) -> None:
    play = scene(upstream=True)
    client = play.client()
    server = play.secure_server()
    for size in (1, 16384, 16385, 50000):
        client.send(bytes(size))
        assert server.take() == bytes(size)
        server.send(bytes(size))
        assert client.take() == bytes(size)


def test_http_in_the_first_flight_after_the_handshake_is_served(scene: Build) -> None:
    """The request comes with the client's Finished: OpenSSL must not get to see it."""
    play = scene(protocol="http1")
    client = Far(play.socket(), play.context(), name="edge.test")
    flight = b""
    for _ in range(3):
        client._in.write(client.socket.take())
        try:
            client.tls.do_handshake()
        except OSError:
            client.push()
        else:
            flight = client.seal(GET)
            break
    client.push(flight)
    if play.version == "1.2":
        client.pull()
    server = play.server()
    assert server.take().startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    server.send(OK)
    assert client.take().endswith(b"ok")


def test_the_endpoint_is_told_that_the_client_came_by_tls(scene: Build) -> None:
    play = scene(protocol="http1")
    client = play.client()
    client.send(GET)
    assert b"X-Forwarded-Proto: https\r\n" in play.server().take()


@pytest.mark.parametrize("portion", [1, 7, 500])
def test_a_record_may_come_in_portions(scene: Build, portion: int) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    data = bytes(range(200))
    sealed = client.seal(data)
    for at in range(0, len(sealed), portion):
        client.push(sealed[at : at + portion])
    assert server.take() == data


@pytest.mark.parametrize("portion", [1, 7, 500])
def test_a_record_may_go_in_portions(scene: Build, portion: int) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    client.take()
    data = bytes(range(200))
    client.socket.accept_bytes(0)
    server.send(data)
    for _ in range(0, 300, portion):
        client.socket.accept_bytes(portion)
    assert client.take() == data


def test_a_client_that_does_not_read_stops_the_endpoint(scene: Build) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    client.take()
    client.socket.accept_bytes(0)
    data = bytes(range(256)) * 256
    for _ in range(4):
        server.send(data)
    assert len(server.inbox) > HIGH
    client.socket.accept_bytes(None)
    assert client.take() == data * 4


def test_close_notify_of_a_client_becomes_a_fin_and_the_answer_still_flows(scene: Build) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    client.send(b"question")
    client.goodbye()
    assert server.take() == b"question"
    assert server.ended
    server.send(b"answer")
    server.fin()
    client._in.write(client.socket.take())
    assert client.socket.ended


def test_a_fin_of_the_endpoint_becomes_close_notify_and_a_fin(scene: Build) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    server.send(b"answer")
    server.fin()
    assert client.take() == b"answer"
    assert client.ended
    assert client.socket.ended


def test_a_forged_record_ends_the_connection_by_an_alert(scene: Build) -> None:
    play = scene()
    client = play.client()
    server = play.server()
    client.take()
    sealed = client.seal(b"question")
    client.push(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert client.socket.ended
    assert server.reset
    with pytest.raises(OSError, match=r"BAD_RECORD_MAC|bad record mac"):
        client.pull()
    assert server.take() == b""


def test_a_client_without_tls_is_turned_away(scene: Build) -> None:
    play = scene()
    client = play.socket()
    client.send(GET)
    assert client.ended
    assert play.world.dials == []


def test_a_handshake_that_does_not_go_on_is_given_up(scene: Build) -> None:
    play = scene(tls={"handshake_timeout": 3.0})
    client = Far(play.socket(), play.context(), name="edge.test")
    client.step()
    play.world.wait(2.9)
    assert not client.socket.ended
    play.world.wait(0.2)
    assert client.socket.ended


def test_an_endpoint_with_a_certificate_of_somebody_else_is_not_used(scene: Build) -> None:
    play = scene(downstream=False, upstream=True, protocol="http1")
    client = play.socket()
    client.send(GET)
    socket = play.server()
    other = play.authority.issue("other", "DNS:other.test")
    server = Far(socket, server_context(other, play.version), server=True)
    for _ in range(4):
        try:
            server.step()
        except OSError:
            break
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert socket.ended


def test_an_endpoint_that_does_not_finish_the_handshake_is_given_up(scene: Build) -> None:
    play = scene(downstream=False, upstream=True, protocol="http1")
    client = play.socket()
    client.send(GET)
    play.server()
    play.world.wait(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("clean", [True, False])
def test_a_stream_that_was_cut_off_is_not_passed_on_as_a_whole_one(scene: Build, clean: bool) -> None:
    play = scene(upstream=True)
    client = play.client()
    server = play.secure_server()
    server.send(b"half of it")
    if clean:
        server.goodbye()
    server.socket.fin()
    assert client.take() == b"half of it"
    assert client.socket.ended
    assert client.ended is clean


@pytest.mark.parametrize("clean", [True, False])
def test_a_response_until_the_end_of_the_connection_is_not_made_whole(scene: Build, clean: bool) -> None:
    play = scene(upstream=True, protocol="http1")
    client = play.client()
    client.send(GET)
    server = play.secure_server()
    server.take()
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
    if clean:
        server.goodbye()
    server.socket.fin()
    assert client.take().endswith(b"half of it")
    assert client.socket.ended
    assert client.ended is clean


def test_the_access_log_knows_of_the_clients_tls(scene: Build) -> None:
    template = "{tls_version} {tls_cipher} {tls_sni} {tls_peer}"
    log = AccessLogConfig(to="stdout", template=template)
    play = scene(protocol="http1", listener={"access_log": log, "tls_mode": "permissive"})
    client = play.client()
    client.send(GET)
    server = play.server()
    server.send(OK)
    plain = play.socket()
    plain.send(GET)
    server.send(OK)
    suite = client.tls.cipher()
    assert suite is not None
    assert play.world.lines["stdout"] == [f"{play.version} {suite[0]} edge.test -", "- - - -"]
