"""Windows of endpoints and of clients: who is slow slows nobody else, and nothing grows without bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.connection import HIGH
from proxy.http2 import frame
from proxy.http2.upstream import Http2Upstream
from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Site
from tests.proxy.http2.browser import Headers

LONG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n%b\r\n" % ID


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def queued(world: Site) -> int:
    """Bytes that wait for the windows of endpoints."""
    upstreams = [one for one in world.proxy.values().values() if isinstance(one, Http2Upstream)]
    return sum(one.requests.session.queued + len(one.outbox) for one in upstreams)


def test_a_shut_window_stays_shut_whatever_the_other_direction_does(world: Site) -> None:
    client = world.ask(LONG)
    server = world.server(greedy=False)
    server.head(1, OK, (b"content-length", b"10000000"))
    client.accept_bytes(0)
    most = 0
    for _ in range(5):  # the response is paused, and resumed
        if not client.inbox:
            client.send(b"x" * HIGH)
        while (size := server.room(1)) and size > 50_000:
            server.say(1, b"y" * min(size, 16384))
        client.take()
        client.accept_bytes(300_000)
        most = max(most, queued(world))
    assert most <= 3 * HIGH


@pytest.mark.parametrize("how", ["fin", "reset", "stream reset", "broken"])
@pytest.mark.parametrize("length", [((b"content-length", b"100000"),), ()])
def test_a_whole_response_outlives_its_connection(world: Site, how: str, length: Headers) -> None:
    """A slow client has not taken all of it by then. By NO_ERROR a server says that it needs no more of a request."""
    client = world.ask(LONG)
    client.accept_bytes(100)
    server = world.server()
    server.head(1, OK, *length)
    server.say(1, b"x" * 100_000, end=True)
    if how == "fin":
        server.socket.fin()
    elif how == "reset":
        server.socket.rst()
    else:
        server.socket.send(frame.rst_stream(1, 0) if how == "stream reset" else b"\0\0\1\x06\0\0\0\0\0?")
    client.accept_bytes(None)
    head, _, body = client.take().partition(b"\r\n\r\n")
    if not length:
        assert body.endswith(b"\r\n0\r\n\r\n")
    assert body.count(b"x") == 100_000
    assert head.startswith(b"HTTP/1.1 200 OK")
