"""What is remembered of heads that come again is what they would become anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.http1.errors import BadMessage
from proxy.http1.parser import parse_request
from proxy.http2.heads import Repeated
from proxy.http2.text import request_head, request_text
from tests.proxy.http1.scene import web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.http2.scene import GET
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

FIELDS = [*GET, (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
WEBSOCKET = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def world(moving: bool) -> World:
    return World(speaking(web()), moving=moving)


def test_a_request_is_read_once() -> None:
    repeated = Repeated(FIELDS)
    head = request_head(repeated, 100, ended=True)
    assert head == parse_request(request_text(FIELDS, ended=True), 100)
    assert request_head(repeated, 100, ended=True) is head
    assert request_head(FIELDS, 100, ended=True) is not head


def test_one_with_a_body_is_another() -> None:
    repeated = Repeated(FIELDS)
    assert [request_head(repeated, 100, ended=ended).length for ended in (True, False, True)] == [0, -1, 0]


def test_limits_that_change_are_kept() -> None:
    repeated = Repeated(FIELDS)
    request_head(repeated, 3, ended=True)
    for _ in range(2):
        with pytest.raises(BadMessage, match="too many"):
            request_head(repeated, 2, ended=True)


def test_a_tunnel_gets_a_key_of_its_own_each_time() -> None:
    repeated = Repeated(WEBSOCKET)
    first, second = (request_head(repeated, 100, ended=False) for _ in range(2))
    assert first.upgrade == b"websocket"
    assert first.raw != second.raw


def served(world: World, browser: Browser, server: Socket | None, *, end: bool) -> tuple[bytes, Socket]:
    """What the server gets of a request."""
    stream = browser.ask(end=end)
    if server is None:
        server = world.dialled()
        server.accept()
    sent: bytes = server.take()
    if not end:
        browser.say(stream, b"abc", end=True)
        sent += server.take()
    server.send(ANSWER)
    assert browser.heard(stream).body == b"hello"
    return sent, server


def test_requests_that_come_again_arrive_alike(world: World) -> None:
    browser = Browser(world)
    server = None
    sent = []
    for end in (True, True, True, True, False, True, False):
        text, server = served(world, browser, server, end=end)
        sent.append((end, text))
    assert len(set(sent)) == 2
    assert sent[4][1].endswith(b"3\r\nabc\r\n0\r\n\r\n")
