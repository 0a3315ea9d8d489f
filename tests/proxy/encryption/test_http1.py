"""Connections of http1 that change over: one serves until its successor does, and ends after a whole exchange."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proxy.encryption.scene import GET, OK, POST, STEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proxy.encryption.scene import Changing

    Build = Callable[..., Changing]


def test_plaintext_serves_until_its_successor_does(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    assert not plain.secure
    scene.order("on")
    scene.ask(client, plain)
    assert plain.open
    secure = scene.succeed()
    assert secure.secure
    assert not plain.open
    assert not plain.socket.reset
    scene.ask(client, secure)
    assert scene.counts == (0, 1)
    assert scene.about["settled"]


def test_tls_serves_until_its_successor_does(changing: Build) -> None:
    scene = changing(encryption="on")
    client, secure = scene.web()
    assert secure.secure
    scene.order("off")
    scene.ask(client, secure)
    plain = scene.succeed()
    assert not plain.secure
    assert not secure.open
    scene.ask(client, plain)
    assert scene.about["settled"]


def test_exchange_under_way_is_finished_on_the_old_connection(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    client.send(GET)
    scene.order("on")
    scene.world.wait(STEP)
    assert scene.world.dials == [], "what is in use is replaced when it is picked again, or idle"
    scene.answer(client, plain)
    scene.world.wait(STEP)
    secure = scene.succeed()
    assert not plain.open
    scene.ask(client, secure)


def test_connection_that_is_replaced_while_in_use_ends_after_its_exchange(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    client.send(GET)
    secure = scene.succeed()
    assert plain.open
    scene.answer(client, plain)
    assert not plain.open
    assert not plain.socket.reset
    scene.ask(client, secure)


def test_new_connections_are_as_wanted(changing: Build) -> None:
    scene = changing()
    scene.order("on")
    _, server = scene.web()
    assert server.secure


def test_what_nobody_uses_goes_without_a_successor(changing: Build) -> None:
    scene = changing()
    clients, servers = scene.crowd(5)
    scene.order("on")
    secure = scene.succeed()
    scene.world.wait(2.0)
    assert not any(server.open for server in servers)
    scene.ask(clients[0], secure)
    assert scene.about["settled"]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["hangs up", "speaks plaintext"])
def test_endpoint_without_tls_is_served_in_plaintext_and_tried_again(changing: Build, answer: bytes) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    scene.ask(client, plain)
    scene.spoiled(answer)
    scene.ask(client, plain)
    assert scene.world.dials == [], "not before the pause is over"
    (endpoint,) = scene.about["endpoints"]
    assert endpoint["failures"] == 1
    assert endpoint["reason"]
    scene.world.wait(1.1)
    scene.spoiled(answer)
    scene.world.wait(1.1)
    assert scene.world.dials == [], "the pause doubles"
    scene.ask(client, plain)
    scene.world.wait(1.0)
    secure = scene.succeed()
    assert not plain.open
    scene.ask(client, secure)
    assert "failures" not in scene.about["endpoints"][0]


def test_request_without_a_connection_waits_for_plaintext_then(changing: Build) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("web")
    client.send(POST)
    scene.spoiled()
    plain = scene.accepted()
    assert not plain.secure
    scene.answer(client, plain, b"POST ")


def test_tls_that_takes_too_long_is_done_without(changing: Build) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("web")
    client.send(POST)
    scene.world.dialled().accept()
    scene.world.wait(1.1)
    plain = scene.accepted()
    scene.answer(client, plain, b"POST ")
    assert scene.about["endpoints"][0]["reason"] == "it took too long"


def test_strict_cluster_fails_requests_rather_than_send_them_in_plaintext(changing: Build) -> None:
    scene = changing(encryption="{wanted: on, strict: true}")
    client = scene.world.connect("web")
    client.send(GET)
    scene.spoiled()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert scene.world.dials == []


def test_strict_cluster_gives_idle_plaintext_up_at_once(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, strict: true}")
    client, plain = scene.web()
    scene.order("on")
    assert not plain.open
    client.send(GET)
    secure = scene.accepted()
    assert secure.secure
    scene.answer(client, secure)


def test_strict_cluster_finishes_what_is_under_way_in_plaintext(changing: Build) -> None:
    scene = changing(encryption="{wanted: off, strict: true}")
    client, plain = scene.web()
    client.send(GET)
    scene.order("on")
    scene.answer(client, plain)
    assert not plain.open
    assert not plain.socket.reset


def test_successor_that_ends_before_it_is_used_counts_as_a_failure(changing: Build) -> None:
    """As by a server of TLS 1.3 that does not want us: it says so behind the handshake."""
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    scene.ask(client, plain)
    scene.accepted().socket.rst()
    assert scene.about["endpoints"][0]["failures"] == 1
    scene.ask(client, plain)


def test_tunnel_is_never_replaced(changing: Build) -> None:
    scene = changing()
    client = scene.world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
    server = scene.accepted()
    server.take()
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
    scene.order("on")
    scene.world.wait(STEP)
    assert scene.world.dials == []
    assert scene.about["settled"]
    client.take()
    server.send(b"hello")
    assert client.take() == b"hello"


def test_instant_way_back(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    scene.ask(client, plain)
    scene.order("off")
    late = scene.succeed()
    assert not late.secure
    scene.ask(client, late)
    assert plain.open
    assert scene.counts == (2, 0)
    assert scene.about["settled"]


def test_answer_in_pieces_on_a_connection_that_is_to_go(changing: Build) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    client.send(GET)
    plain.take()
    plain.send(OK[:-1])
    scene.succeed()
    assert plain.open
    plain.send(OK[-1:])
    assert client.take().endswith(b"ok")
    assert not plain.open
