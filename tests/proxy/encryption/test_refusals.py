"""Servers of TLS 1.3 that refuse us behind the handshake: nobody loses a request by it, and nobody is ejected."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.multiplexed.living import Living
from tests.kit import bolt
from tests.proxy.encryption.scene import GET, OK, POST, V1, Changing, refuse
from tests.proxy.tls.far import server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.certificates import Authority

    Build = Callable[..., Changing]

LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
PUT_SLOWLY = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"


@pytest.fixture
def demanding(authority: Authority) -> ssl.SSLContext:
    context = server_context(authority.issue("edge"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    return context


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
def test_request_goes_in_plaintext_then(changing: Build, demanding: ssl.SSLContext, request_: bytes) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("web")
    client.send(request_)
    assert refuse(scene, demanding) is None
    plain = refuse(scene, demanding)
    assert plain is not None
    assert plain.take().startswith(request_[:14])
    plain.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")
    assert scene.about["endpoints"][0]["reason"] == "it refused us behind the handshake"


def test_head_whose_body_is_still_to_come_is_sent_again(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("web")
    client.send(PUT_SLOWLY.removesuffix(b"bo"))
    assert refuse(scene, demanding) is None
    plain = refuse(scene, demanding)
    assert plain is not None
    client.send(b"body")
    assert plain.take().endswith(b"\r\n\r\nbody")
    plain.send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


def test_body_that_went_piece_by_piece_cannot_be_sent_again(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("web")
    client.send(PUT_SLOWLY)
    assert refuse(scene, demanding, meanwhile=lambda: client.send(b"dy")) is None
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert scene.world.dials == []


def test_calls_go_in_plaintext_then(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(encryption="on")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 7, b"first") + bolt.call(V1, 8, b"second") + bolt.call(V1, 9, b"", oneway=True))
    assert refuse(scene, demanding) is None
    plain = refuse(scene, demanding)
    assert plain is not None
    frames = plain.frames()
    assert len(frames) == 3
    for frame in frames[:2]:
        plain.send(bolt.answer(V1, frame.id, b"fine"))
    answers = bolt.FrameReader().feed(client.take())
    assert {one.id: one.timeout for one in answers} == {7: 0, 8: 0}


def test_strict_cluster_sends_nothing_again(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(encryption="{wanted: on, strict: true}", cluster=", retries: 0")
    client = scene.world.connect("web")
    client.send(GET)
    assert refuse(scene, demanding) is None
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert scene.world.dials == []
    assert scene.about["endpoints"][0]["failures"] == 1


def test_pauses_grow_although_every_handshake_succeeds(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    tries = 0
    for _ in range(60):
        while scene.world.dials:
            assert refuse(scene, demanding) is None
            tries += 1
        scene.world.wait(0.25)
    assert tries <= 5, "at 0, 1, 3 and 7 seconds"
    scene.ask(client, plain)


def test_endpoint_is_not_ejected_for_it(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(
        encryption="{wanted: on, retry: 1ms, max_retry: 1ms}",
        endpoints="127.0.0.1:9000, 127.0.0.1:9001",
        cluster=", outlier: {lost: 2, connect_failures: 2, max_ejected: 100}",
    )
    for _ in range(6):
        client = scene.world.connect("web")
        client.send(POST)
        server = None
        while server is None:
            server = refuse(scene, demanding)
        assert server.take().startswith(b"POST ")
        server.send(LAST)
        scene.world.wait(0.01)
    endpoints = scene.world.proxy.status()["clusters"][0]["endpoints"]
    assert [one["health"]["ejections"] for one in endpoints] == [0, 0], endpoints


def test_first_byte_by_tls_ends_the_trouble(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing()
    client, plain = scene.web()
    scene.order("on")
    assert refuse(scene, demanding) is None
    scene.ask(client, plain)
    assert scene.about["endpoints"][0]["failures"] == 1
    scene.world.wait(1.1)
    secure = scene.succeed()
    scene.ask(client, secure)
    assert "failures" not in scene.about["endpoints"][0]


def test_what_may_have_to_be_sent_again_is_bounded(changing: Build) -> None:
    """Oneway calls are answered by nothing: after a megabyte the server is taken to have accepted us."""
    scene = changing(encryption="on")
    client = scene.world.connect("rpc")
    client.send(bolt.call(V1, 1, b"first", oneway=True))
    secure = scene.accepted()
    for number in range(2, 22):
        client.send(bolt.call(V1, number, bytes(60_000), oneway=True))
        secure.take()
    (upstream,) = [one for one in scene.world.proxy.values().values() if isinstance(one, Living)]
    assert len(upstream.kept) < 1 << 17
    assert upstream.tls is not None
    assert not upstream.tls.unheard


SPOILED = b"\x17\x03\x03\x00\x20" + bytes(32)
"""A record that does not open."""


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_broken_record_is_no_refusal(changing: Build, authority: Authority, version: str) -> None:
    """The server may have done what it was asked for; and anybody on the way can spoil a record."""
    scene = changing(encryption="on")
    scene.context = server_context(authority.issue("edge"), version)
    client = scene.world.connect("web")
    client.send(POST)
    secure = scene.accepted()
    assert secure.take().startswith(b"POST ")
    secure.socket.send(SPOILED)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert scene.world.dials == []
    caller = scene.world.connect("rpc")
    caller.send(bolt.call(V1, 7, b"first"))
    shared = scene.accepted()
    assert shared.frames()
    shared.socket.send(SPOILED)
    assert [one.timeout for one in bolt.FrameReader().feed(caller.take())] != [0]
    assert scene.world.dials == []


def test_request_is_not_sent_again_without_end(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing(encryption="{wanted: on, retry: 1ms, max_retry: 1ms}")
    client = scene.world.connect("web")
    client.send(POST)
    dials = 0
    while scene.world.dials:
        scene.world.wait(0.01)
        assert refuse(scene, demanding) is None
        dials += 1
    assert dials <= 3
    assert client.take().startswith(b"HTTP/1.1 502 ")


def test_refused_successor_counts_once(changing: Build, demanding: ssl.SSLContext) -> None:
    scene = changing()
    client, plain, frame = scene.rpc()
    plain.send(bolt.answer(V1, frame.id, b"fine"))
    assert client.take()
    scene.order("on")
    assert refuse(scene, demanding) is None
    assert list(scene.world.only("encryption_failures").values()) == [1]


def test_relayed_connections_go_in_plaintext_from_then_on(authority: Authority, demanding: ssl.SSLContext) -> None:
    """What the first one sent is gone with it: a relay keeps nothing."""
    scene = Changing(authority, encryption="on", raw=True)
    scene.world.connect("raw").send(b"hello")
    assert refuse(scene, demanding) is None
    scene.world.connect("raw").send(b"hello")
    plain = refuse(scene, demanding)
    assert plain is not None
    assert plain.take() == b"hello"
