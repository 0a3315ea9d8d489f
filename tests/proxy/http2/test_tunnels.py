"""WebSocket to endpoints of HTTP/2 (RFC 8441), from clients of either version."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Site

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %b\r\n%b\r\n"
)


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def test_a_tunnel_that_waited_for_settings_lives_on(world: Site) -> None:
    client = world.ask(UPGRADE % (KEY, ID))
    server = world.server(connect=True)
    server.head(1, OK)
    assert client.take().startswith(b"HTTP/1.1 101 ")
    world.wait(2)  # longer than it might have waited
    client.send(b"x")
    assert server.asked(1).body == b"x"
