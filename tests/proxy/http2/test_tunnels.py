"""WebSocket to endpoints of HTTP/2 (RFC 8441), from clients of either version."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.proxy.http1.scene import ID, status
from tests.proxy.http2.backend import OK, Backend, Site
from tests.proxy.http2.browser import Browser

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

CANCEL = 8
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %b\r\n%b\r\n"
)

Build = Callable[..., Site]


@pytest.fixture
def world(site: Build) -> Site:
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


def test_a_client_of_http1_is_told_in_its_way(world: Site) -> None:
    client = world.ask(UPGRADE % (KEY, b"Sec-WebSocket-Protocol: chat\r\n" + ID))
    server = world.server(connect=True)
    asked = server.asked(1)
    assert asked.headers[:5] == [
        (b":method", b"CONNECT"),
        (b":scheme", b"http"),
        (b":path", b"/chat"),
        (b":authority", b"a"),
        (b":protocol", b"websocket"),
    ]
    names = [name for name, _ in asked.headers]
    assert b"sec-websocket-protocol" in names
    assert not {b"sec-websocket-key", b"connection", b"upgrade", b"te", b"content-length"} & {*names}
    server.head(1, OK, (b"sec-websocket-protocol", b"chat"))
    head, _, rest = client.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat" in head
    assert rest == b""


def test_bytes_pass_both_ways(world: Site) -> None:
    client, server = tunnel(world)
    client.send(b"ping")
    assert server.asked(3).body == b"ping"
    server.say(3, b"pong")
    assert client.take() == b"pong"
    client.fin()
    assert server.asked(3).ended
    server.say(3, b"late")
    assert client.take() == b"late"
    assert not client.ended
    server.say(3, b"", end=True)
    assert client.ended
    assert client.closed
    world.at_rest()
    assert not server.socket.ended, "it is shared"


def test_bytes_of_streams_pass_both_ways(world: Site) -> None:
    browser, stream, server = stream_tunnel(world)
    browser.say(stream, b"ping")
    server.say(1, b"pong", end=True)
    assert (browser.heard(stream).body, browser.heard(stream).ended) == (b"pong", True)
    browser.say(stream, b"more", end=True)
    assert (server.asked(1).body, server.asked(1).ended, server.asked(1).reset) == (b"pingmore", True, None)
    assert browser.heard(stream).reset is None
    world.at_rest()


def test_what_was_sent_with_the_upgrade_follows_it(world: Site) -> None:
    client = world.ask(UPGRADE % (KEY, ID) + b"eager")
    server = world.server(connect=True)
    assert server.asked(1).body == b""
    server.head(1, OK)
    assert server.asked(1).body == b"eager"
    client.rst()
    assert server.asked(1).reset == CANCEL


@pytest.mark.parametrize("known", [False, True])
def test_a_server_that_knows_no_tunnels(world: Site, known: bool) -> None:
    """The connection serves on. `known`: its settings came before."""
    browser = Browser(world)
    if known:
        world.ask()
        server = world.server()
    client = world.ask(UPGRADE % (KEY, ID))
    stream = browser.ask(b"/chat", b"CONNECT", protocol=b"websocket", end=False)
    if not known:
        server = world.server()
    assert status(client.take()) == 502
    assert browser.heard(stream).status == 502
    assert len(server.open) == known
    again = world.ask()
    server.answer(server.latest)
    assert status(again.take()) == 200


def test_a_server_whose_settings_never_come(world: Site) -> None:
    client = world.ask(UPGRADE % (KEY, ID))
    world.server(hello=False)
    world.wait(1.1)
    assert status(client.take()) == 502
    world.at_rest()


def test_a_server_that_refuses(world: Site) -> None:
    client, browser = world.ask(UPGRADE % (KEY, ID)), Browser(world)
    stream = browser.ask(b"/chat", b"CONNECT", protocol=b"websocket", end=False)
    server = world.server(connect=True)
    for number in (1, 3):
        server.answer(number, b"no", (b"content-length", b"2"), status=b"403")
    text = client.take()
    assert text.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert text.endswith(b"\r\n\r\nno")
    heard = browser.heard(stream)
    assert (heard.status, heard.body) == (403, b"no")
    assert [server.asked(number).reset for number in (1, 3)] == [CANCEL, CANCEL]
    world.at_rest()


@pytest.mark.parametrize("how", ["stream", "connection"])
def test_a_tunnel_that_is_cut(world: Site, how: str) -> None:
    client, server = tunnel(world)
    server.say(3, b"half")
    if how == "stream":
        server.reset(3, 2)
    else:
        server.socket.rst()
    assert client.reset
    world.at_rest()


def test_a_stream_tunnel_that_is_cut(world: Site) -> None:
    browser, stream, server = stream_tunnel(world)
    server.reset(1, 2)
    assert browser.heard(stream).reset == 2
    world.at_rest()


def test_a_silent_tunnel_ends(site: Build) -> None:
    world = site(idle_timeout=20.0)
    client, server = tunnel(world)
    browser = Browser(world)
    stream = browser.ask(b"/chat", b"CONNECT", protocol=b"websocket", end=False)
    server.head(5, OK)
    world.wait(19)
    client.send(b"x")
    server.say(5, b"x")
    world.wait(19)
    assert not client.ended
    world.wait(2)
    assert client.ended
    assert [server.asked(number).reset for number in (3, 5)] == [CANCEL, CANCEL]
    assert browser.heard(stream).reset is not None
    world.at_rest()


# ---- much of it ----


def test_a_slow_server_slows_its_client_alone(world: Site) -> None:
    client, server = tunnel(world)
    for _ in range(20):
        if not client.inbox:
            client.send(b"x" * 50_000)
    assert client.inbox, "it is not read any more"
    assert len(server.asked(3).body) == 65_535
    other = world.ask()
    server.answer(5)
    assert status(other.take()) == 200
    for _ in range(8):
        server.widen(60_000, 3)
        server.widen(60_000)
    assert not client.inbox
    body = server.asked(3).body
    assert body == b"x" * len(body)
    assert len(body) % 50_000 == 0


def test_a_slow_client_slows_its_stream_alone(world: Site) -> None:
    client, server = tunnel(world)
    client.accept_bytes(0)
    sent = 0
    while (size := min(server.room(3), 16384)) > 0:
        server.say(3, b"y" * size)
        sent += size
    assert sent <= 131_072 + 2 * 65_536
    other = world.ask()
    server.answer(5, b"z" * 20_000)
    assert other.take().count(b"z") == 20_000
    client.accept_bytes(None)
    assert len(client.take()) == sent
    assert server.room(3) > 0
