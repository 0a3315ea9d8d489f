"""Shared connections of HTTP/2 that change over: a successor answers PING, the old one ends with its last request."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.proxy.encryption.scene import GET, POST, STEP, Server, refuse
from tests.proxy.http1.scene import status
from tests.proxy.http2.backend import Backend
from tests.proxy.tls.far import Far, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.certificates import Authority
    from tests.proxy.encryption.scene import Changing
    from tests.proxy.simulation import Socket

    Build = Callable[..., Changing]


class Wire:
    """The socket of a `Backend`, perhaps with TLS between."""

    connecting = False

    def __init__(self, server: Server) -> None:
        self.take, self.send = server.take, server.send
        self.socket, self.secure = server.socket, server.secure

    @property
    def closed(self) -> bool:
        return self.socket.closed


@pytest.fixture
def scene(changing: Build) -> Changing:
    """With an endpoint that speaks HTTP/2."""
    scene = changing(cluster=", http2: true")
    scene.context.set_alpn_protocols(["h2"])
    return scene


class Shared(Backend):
    """A connection that serves requests."""

    def __init__(self, server: Server | None, **about: Any) -> None:
        assert server is not None
        self.wire = Wire(server)
        super().__init__(cast("Socket", self.wire), **about)


def asked(scene: Changing, text: bytes = GET) -> Socket:
    client = scene.world.connect("web")
    client.send(text)
    return client


def turned_down(scene: Changing) -> Socket:
    """A dial whose server agrees on something else: the proxy goes away before or behind the handshake."""
    socket = scene.world.dialled()
    socket.accept()
    far = Far(socket, scene.context, server=True)
    for _ in range(3):
        if not socket.ended:
            far.step()
    assert socket.ended
    return socket


def answer(client: Socket, server: Shared) -> None:
    server.answer(server.latest)
    assert status(client.take()) == 200


def test_a_successor_serves_once_it_answered_and_the_old_one_ends_with_its_last_request(scene: Changing) -> None:
    client = asked(scene)
    plain = Shared(scene.accepted())
    scene.order("on")
    successor = scene.accepted()
    assert successor.secure
    before = asked(scene)
    assert len(plain.open) == 2, "not proven yet"
    secure = Shared(successor)
    assert secure.pings == 1
    after = asked(scene)
    answer(after, secure)
    plain.answer(3)
    assert status(before.take()) == 200
    plain.listen()
    assert plain.goaways == []
    plain.answer(1)
    assert status(client.take()) == 200
    plain.listen()
    assert plain.goaways == [0]
    assert plain.wire.socket.ended
    plain.wire.socket.fin()
    assert scene.retired == {"own": 1}
    assert scene.counts == (0, 1)
    assert scene.about["settled"]
    answer(asked(scene), secure)


def test_back_again(scene: Changing) -> None:
    scene.order("on")
    client = asked(scene)
    secure = Shared(scene.accepted())
    assert secure.wire.secure
    answer(client, secure)
    scene.order("off")
    plain = Shared(scene.accepted())
    assert not plain.wire.secure
    secure.listen()
    assert secure.goaways == [0]
    answer(asked(scene), plain)
    assert scene.counts == (1, 0)


def test_a_successor_that_does_not_answer_does_not_serve(scene: Changing) -> None:
    client = asked(scene)
    plain = Shared(scene.accepted())
    scene.order("on")
    mute = Shared(scene.accepted(), hello=False)
    scene.world.wait(1.1)
    assert mute.wire.socket.ended
    answer(client, plain)
    answer(asked(scene), plain)
    assert scene.counts == (1, 0)


@pytest.mark.parametrize("alpn", [["http/1.1"], []])
def test_a_successor_that_speaks_something_else_is_not_tried_all_the_time(
    scene: Changing, authority: Authority, alpn: list[str]
) -> None:
    scene.context = server_context(authority.issue("edge"))
    if alpn:
        scene.context.set_alpn_protocols(alpn)
    client = asked(scene)
    plain = Shared(scene.accepted())
    scene.order("on")
    dials = 0
    for _ in range(10):
        while scene.world.dials:
            turned_down(scene)
            dials += 1
        scene.world.wait(STEP)
    assert dials <= 3
    answer(client, plain)
    answer(asked(scene), plain)


def test_an_endpoint_that_speaks_something_else(scene: Changing, authority: Authority) -> None:
    scene.context = server_context(authority.issue("edge"))
    scene.order("on")
    client = asked(scene)
    turned_down(scene)
    assert status(client.take()) == 503
    assert scene.world.only("connect_failures") == {"upstream_connect_failures app 127.0.0.1:9000 refused": 1.0}


def test_a_handshake_that_fails_is_followed_by_plaintext(scene: Changing) -> None:
    scene.order("on")
    clients = [asked(scene), asked(scene, POST)]
    scene.spoiled(b"what?")
    plain = Shared(scene.accepted())
    assert not plain.wire.secure
    for number, client in enumerate(clients):
        plain.answer(1 + 2 * number)
        assert status(client.take()) == 200


def test_a_handshake_that_fails_between_two_rounds(scene: Changing) -> None:
    """The connection becomes another one for the destination, with the same requests."""
    scene.world.moving = False
    scene.order("on")
    clients = [asked(scene), asked(scene, POST)]
    socket = scene.world.dialled()
    socket.accept()
    scene.world.move(meanwhile=lambda: socket.send(b"what?"))
    scene.world.tick()
    while scene.world.dials:
        last = scene.world.dialled()
    last.accept()
    assert not last.closed
    plain = Shared(Server(last, None))
    for number, client in enumerate(clients):
        plain.answer(1 + 2 * number)
        assert status(client.take()) == 200


def test_one_that_is_refused_behind_its_handshake_is_sent_again_in_plaintext(
    scene: Changing, authority: Authority
) -> None:
    demanding = server_context(authority.issue("edge"))
    demanding.set_alpn_protocols(["h2"])
    demanding.verify_mode = ssl.CERT_REQUIRED
    scene.order("on")
    clients = [asked(scene), asked(scene, POST)]
    assert refuse(scene, demanding) is None
    plain = Shared(refuse(scene, demanding))
    assert plain.asked(3).body == b"body"
    for number, client in enumerate(clients):
        plain.answer(1 + 2 * number)
        assert status(client.take()) == 200
