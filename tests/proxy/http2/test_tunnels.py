"""WebSocket to endpoints of HTTP/2 (RFC 8441), from clients of either version."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Backend, Site
from tests.proxy.http2.browser import Browser

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

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


def tunnel(world: Site, window: int = 65535) -> tuple[Socket, Backend]:
    """One of a client of HTTP/1.1, to a server with that window for each stream."""
    world.ask()
    server = world.server(connect=True, window=window, greedy=False)
    server.answer(1)
    client = world.ask(UPGRADE % (KEY, ID))
    server.head(3, OK)
    assert client.take().startswith(b"HTTP/1.1 101 ")
    return client, server


@pytest.mark.parametrize("server_first", [True, False])
def test_what_waits_for_the_window_of_a_half_closed_tunnel_arrives(world: Site, server_first: bool) -> None:
    client, server = tunnel(world, window=10)
    if server_first:
        server.say(3, b"bye", end=True)
    client.send(b"0123456789abcdef")
    client.fin()
    if not server_first:
        server.say(3, b"bye", end=True)
    assert client.take() == b"bye"
    asked = server.asked(3)
    assert (asked.body, asked.ended, asked.reset) == (b"0123456789", False, None)
    server.widen(100, 3)
    assert (asked.body, asked.ended, asked.reset) == (b"0123456789abcdef", True, None)
    assert client.ended


def stream_tunnel(world: Site, *, greedy: bool = True) -> tuple[Browser, int, Backend]:
    """One of a client of HTTP/2."""
    browser = Browser(world, greedy=greedy)
    stream = browser.ask(b"/chat", b"CONNECT", protocol=b"websocket", end=False)
    server = world.server(connect=True, greedy=greedy)
    server.head(1, OK)
    assert browser.heard(stream).status == 200
    return browser, stream, server


@pytest.mark.parametrize("server_first", [True, False])
def test_what_waits_for_the_window_of_a_client_arrives(world: Site, server_first: bool) -> None:
    browser, stream, server = stream_tunnel(world, greedy=False)
    if server_first:
        server.say(1, b"x" * 70_000, end=True)
    browser.say(stream, b"bye", end=True)
    if not server_first:
        server.say(1, b"x" * 70_000, end=True)
    assert (server.asked(1).body, server.asked(1).ended) == (b"bye", True)
    assert len(browser.heard(stream).body) == 65535
    browser.connection.increment_flow_control_window(10_000, stream)
    browser.connection.increment_flow_control_window(10_000)
    browser.flush()
    heard = browser.heard(stream)
    assert (len(heard.body), heard.ended, heard.reset) == (70_000, True, None)


@pytest.mark.parametrize("length", [b"3", b"9"])
def test_a_refusal_that_is_not_as_long_as_it_says_is_no_whole_one(world: Site, length: bytes) -> None:
    client = world.ask(UPGRADE % (KEY, ID))
    server = world.server(connect=True)
    server.head(1, (b":status", b"403"), (b"content-length", length))
    server.say(1, b"sorry", end=True)
    assert client.ended
    assert server.asked(1).reset is not None
    world.at_rest()
