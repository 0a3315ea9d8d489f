"""Windows of endpoints and of clients: who is slow slows nobody else, and nothing grows without bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.connection import HIGH
from proxy.http2.upstream import Http2Upstream
from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Site

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
