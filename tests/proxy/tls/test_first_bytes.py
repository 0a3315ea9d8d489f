"""Plaintext and TLS on one port, told apart by the first bytes; and TLS that is passed through by its server name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.model import RouteConfig
from proxy.tls.hello import LONGEST_HELLO, MOST_RECORDS, Hello, NotHello, looks_like_tls, parse_hello, read_hello
from tests.proxy.simulation import SimulatedKernel
from tests.proxy.tls.far import Far
from tests.proxy.tls.scene import by_sni

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket
    from tests.proxy.tls.scene import Build, Scene

PERMISSIVE = {"tls_mode": "permissive", "first_bytes_timeout": 2.0}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello(play: Scene, name: str) -> bytes:
    """A real ClientHello."""
    far = Far(play.socket(), play.context(), name=name)
    try:
        far.tls.do_handshake()
    except OSError:
        pass
    return far._out.read()


# -- permissive -----------------------------------------------------------------------------------------------


def test_a_permissive_listener_serves_both(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    plain = play.socket()
    plain.send(b"question")
    server = play.server()
    assert server.take() == b"question"
    client = play.client()
    client.send(b"secret question")
    assert play.server().take() == b"secret question"


def test_a_permissive_listener_of_http_serves_both(scene: Build) -> None:
    play = scene(protocol="http1", listener={"tls_mode": "permissive"})
    plain = play.socket()
    plain.send(GET)
    assert b"X-Forwarded-Proto: http\r\n" in play.server().take()
    client = play.client()
    client.send(GET)
    assert b"X-Forwarded-Proto: https\r\n" in play.server().take()


@pytest.mark.parametrize("first", [b"\x16", b"\x16\x03"])
def test_bytes_that_may_begin_either_are_waited_for(scene: Build, first: bytes) -> None:
    play = scene(listener=PERMISSIVE)
    client = play.socket()
    client.send(first)
    assert play.world.dials == []
    client.send(b"XXXX")
    assert play.server().take() == first + b"XXXX"


def test_a_hello_may_come_byte_by_byte(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    client = Far(play.socket(), play.context(), name="edge.test")
    try:
        client.tls.do_handshake()
    except OSError:
        pass
    for byte in client._out.read():
        client.push(bytes([byte]))
    client.handshake().send(b"question")
    assert play.server().take() == b"question"


def test_a_client_that_waits_for_the_server_is_plaintext_after_a_while(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    client = play.socket()
    play.world.wait(1.9)
    assert play.world.dials == []
    play.world.wait(0.2)
    server = play.server()
    server.send(b"220 ready")
    assert client.take() == b"220 ready"


def test_without_that_timeout_a_silent_client_is_closed_in_the_end(scene: Build) -> None:
    play = scene(protocol="http1", listener={"tls_mode": "permissive", "header_timeout": 4.0})
    client = play.socket()
    play.world.wait(3.9)
    assert not client.ended
    play.world.wait(0.2)
    assert client.ended


def test_a_client_that_ends_without_a_byte_is_plaintext(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    client = play.socket()
    client.fin()
    server = play.server()
    assert server.ended
    server.send(b"answer")
    assert client.take() == b"answer"


@pytest.mark.parametrize("first", [b"\x16", b"\x16\x03"])
def test_a_client_that_ends_within_its_first_bytes_is_not_looked_at_again_and_again(
    scene: Build, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    looks = []
    peek = SimulatedKernel.peek

    def counted(kernel: SimulatedKernel, fd: int, size: int) -> bytes:
        looks.append(fd)
        assert len(looks) < 20, "it is looked at without end"
        return peek(kernel, fd, size)

    monkeypatch.setattr(SimulatedKernel, "peek", counted)
    play = scene(listener=PERMISSIVE)
    client = play.socket()
    client.inbox += first
    client.fin()
    assert play.world.dials == []
    play.world.wait(2.1)
    server = play.server()
    assert server.take() == first
    assert server.ended


def test_an_undecided_client_that_resets_is_gone(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    client = play.socket()
    client.rst()
    assert len(play.world.proxy.values()) == 0


# -- passed through by server name ----------------------------------------------------------------------------


def passing(scene: Build, *, rest: bool = True) -> Scene:
    routes = by_sni(("edge.test", "other"), ("*.edge.test", "other"))
    return scene(
        downstream=False,
        routes=(*routes, RouteConfig(cluster="app")) if rest else routes,
        listener={"first_bytes_timeout": 5.0},
    )


def port(socket: Socket) -> int:
    assert socket.address is not None
    return socket.address.port


@pytest.mark.parametrize(
    ("name", "expected"),
    [("edge.test", 9500), ("a.edge.test", 9500), ("a.b.edge.test", 9500), ("EDGE.test", 9500), ("edge.test.org", 9000)],
)
def test_the_server_name_chooses_the_cluster_and_every_byte_passes(scene: Build, name: str, expected: int) -> None:
    play = passing(scene)
    client = play.socket()
    first = hello(play, name)
    client.send(first[:20])
    assert play.world.dials == []
    client.send(first[20:])
    server = play.server()
    assert port(server) == expected
    assert server.take() == first
    server.send(b"\x16\x03\x03")
    assert client.take() == b"\x16\x03\x03"


def test_what_is_no_tls_goes_to_the_rest(scene: Build) -> None:
    play = passing(scene)
    client = play.socket()
    client.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    server = play.server()
    assert port(server) == 9000
    assert server.take() == b"SSH-2.0-OpenSSH_9.2\r\n"


def test_without_a_rest_what_no_route_takes_is_reset(scene: Build) -> None:
    play = passing(scene, rest=False)
    client = play.socket()
    client.send(hello(play, "elsewhere.test"))
    assert client.reset
    assert play.world.dials == []


def test_a_hello_that_is_never_complete_goes_to_the_rest_after_a_while(scene: Build) -> None:
    play = passing(scene)
    client = play.socket()
    client.send(hello(play, "edge.test")[:50])
    play.world.wait(5.1)
    assert port(play.server()) == 9000


# -- hellos ---------------------------------------------------------------------------------------------------


def test_every_beginning_of_a_hello_asks_for_more(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    whole = hello(play, "edge.test")
    assert looks_like_tls(whole) is True
    assert read_hello(whole) == Hello("edge.test")
    for size in range(len(whole)):
        assert read_hello(whole[:size]) is None


def test_a_hello_in_many_records_is_one(scene: Build) -> None:
    play = scene(listener=PERMISSIVE)
    message = hello(play, "edge.test")[5:]
    pieces = [message[at : at + 100] for at in range(0, len(message), 100)]
    split = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)
    assert read_hello(split) == Hello("edge.test")


def test_a_hello_in_far_too_many_records_is_none() -> None:
    """They are looked through anew with every byte that comes."""
    piece = b"\x16\x03\x01\x00\x01"
    split = b"".join(piece + bytes([byte]) for byte in b"\x01\x00\x20\x00" + bytes(MOST_RECORDS))
    assert read_hello(split[: 6 * MOST_RECORDS]) is None
    with pytest.raises(NotHello):
        read_hello(split[: 6 * MOST_RECORDS + 5])


@pytest.mark.parametrize(
    "data",
    [b"G", b"\x16\x02", b"\x16\x03\x05", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"],
    ids=["text", "SSL 2", "too new", "empty", "ServerHello"],
)
def test_what_is_no_hello_is_told_at_once(data: bytes) -> None:
    with pytest.raises(NotHello):
        read_hello(data)


def test_a_hello_without_end_is_none() -> None:
    with pytest.raises(NotHello):
        read_hello(b"\x16\x03\x01\x40\x00\x01\x00\x80\x00" + bytes(16))
    with pytest.raises(NotHello):
        read_hello((b"\x16\x03\x01\x00\x01\x01" * LONGEST_HELLO)[:LONGEST_HELLO])


@pytest.mark.parametrize(
    ("kind", "content", "limit"),
    [
        (1, b"\x01", 512),
        (1, b"\x04", 4096),
        (1, b"\x05", 16384),
        (28, b"\x40\x01", 16384),
        (28, b"\x40\x00", 16383),
        (28, b"\x01\x01", 256),
        (28, b"\x00\x41", 64),
        (28, b"\x00\x40", 63),
        (28, b"\x00\x01", 63),  # less than may be asked for
    ],
)
def test_limits_of_records_are_read(kind: int, content: bytes, limit: int) -> None:
    extensions = kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
    body = bytes(34) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2, "big") + extensions
    assert parse_hello(body).limit == limit


def test_a_hello_cut_off_anywhere_is_refused_not_followed() -> None:
    extensions = b"\x00\x00\x00\x0a\x00\x08\x00\x00\x05a.org"
    body = bytes(34) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2, "big") + extensions
    assert parse_hello(body) == Hello("a.org")
    for size in range(len(body)):
        if size != 41:  # there it may end: a client without extensions
            with pytest.raises(NotHello):
                parse_hello(body[:size])
