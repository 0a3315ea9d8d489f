"""PROXY protocol headers to endpoints that are spoken to by TLS: before the handshake, whatever happens meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hotswap.handover.rounds import Limits
from proxy.config.model import FilterConfig
from proxy.config.tls_model import ClusterTlsConfig
from proxy.reload import ProxyReload
from tests.kit import bolt
from tests.proxy.bolt.scene import V1
from tests.proxy.tls.far import Far, server_context
from tests.proxy.tls.scene import Scene

if TYPE_CHECKING:
    from proxy.config.model import Config
    from tests.kit.certificates import Authority
    from tests.proxy.simulation import Socket

HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
NOBODY = b"PROXY UNKNOWN\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CALL = bolt.call(V1, 7, b"question")
PROTOCOLS = pytest.mark.parametrize(
    ("protocol", "question", "header"), [("tcp", b"question", HEADER), ("http1", GET, HEADER), ("bolt", CALL, NOBODY)]
)


def outwards(authority: Authority, version: str, protocol: str, *, upstream: bool = True, **settings: Any) -> Scene:
    cluster = {"proxy_protocol": "v1", "connect_timeout": 9.0}
    return Scene(
        authority, version, downstream=False, upstream=upstream, protocol=protocol, cluster=cluster, **settings
    )


def asks(play: Scene, question: bytes) -> Socket:
    """The endpoint's side of the dial for a client that asks; it is under way."""
    play.socket().send(question)
    return play.world.dialled()


def secure(play: Scene, socket: Socket, header: bytes) -> Far:
    """The endpoint behind the header and the handshake."""
    assert bytes(socket.outbox[: len(header)]) == header
    del socket.outbox[: len(header)]
    return Far(socket, server_context(play.pair, play.version), server=True).handshake()


def heard(server: Far | Socket, protocol: str) -> bool:
    """What it was asked came, and nothing before that."""
    return server.take().startswith({"tcp": b"question", "http1": b"GET / HTTP/1.1\r\n", "bolt": CALL[:5]}[protocol])


def otherwise(play: Scene, *, encrypted: bool) -> Config:
    """The configuration with or without TLS."""
    tls = ClusterTlsConfig(ca=str(play.authority.file)) if encrypted else None
    clusters = tuple(msgspec.structs.replace(one, tls=tls) for one in play.config.clusters)
    return msgspec.structs.replace(play.config, clusters=clusters)


@PROTOCOLS
@pytest.mark.parametrize("at", ["never", "dialling", "handshaking", "dialling anew"])
def test_it_goes_before_the_handshake_whenever_that_is_moved(
    authority: Authority, version: str, protocol: str, question: bytes, header: bytes, at: str
) -> None:
    play = outwards(authority, version, protocol)
    server = asks(play, question)
    if at == "dialling":
        play.world.move()
    server.accept()
    if at in {"handshaking", "dialling anew"}:
        assert server.take().startswith(header + b"\x16\x03")
        play.world.move()
        play.world.settle()
        if at == "dialling anew":
            play.world.move()
        server = play.server()
    assert heard(secure(play, server, header), protocol)


@PROTOCOLS
@pytest.mark.parametrize("reload", [True, False])
@pytest.mark.parametrize("encrypted", [True, False])
def test_it_goes_first_though_the_cluster_wants_it_otherwise_by_now(
    authority: Authority, version: str, protocol: str, question: bytes, header: bytes, reload: bool, encrypted: bool
) -> None:
    """TLS comes, or goes, while the dial is under way."""
    play = outwards(authority, version, protocol, upstream=not encrypted)
    server = asks(play, question)
    config = otherwise(play, encrypted=encrypted)
    if reload:
        ProxyReload(play.world.proxy, config, Limits()).apply({})
    else:
        play.world.move(config)
    server.accept()
    if encrypted:
        assert heard(secure(play, server, header), protocol)
    else:
        assert bytes(server.outbox[: len(header)]) == header
        del server.outbox[: len(header)]
        assert heard(server, protocol)


@PROTOCOLS
def test_it_goes_first_though_the_handshake_that_was_begun_is_not_wanted_any_more(
    authority: Authority, version: str, protocol: str, question: bytes, header: bytes
) -> None:
    play = outwards(authority, version, protocol)
    asks(play, question).accept()
    play.world.move(otherwise(play, encrypted=False))
    play.world.settle()
    server = play.server()
    assert bytes(server.outbox[: len(header)]) == header
    del server.outbox[: len(header)]
    assert heard(server, protocol)


@pytest.mark.parametrize("moves", [True, False])
def test_a_copy_begins_with_it_too(authority: Authority, version: str, moves: bool) -> None:
    mirror = FilterConfig(name="mirror", config={"cluster": "other"})
    play = outwards(authority, version, "http1", listener={"filters": (mirror,)})
    play.socket().send(GET)
    if moves:
        play.world.move()
    (copy,) = [one for one in play.world.dials if one.address is not None and one.address.port == 9500]
    copy.accept()
    assert heard(secure(play, copy, HEADER), "http1")
