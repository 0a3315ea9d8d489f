"""Requests to endpoints of HTTP/2: playbooks, straight and with a handover after every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http1.scene import ID, post, status
from tests.proxy.http2.backend import OK, Site
from tests.proxy.http2.browser import Browser

FORWARDED = [
    (b"x-request-id", b"7"),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"x-forwarded-proto", b"http"),
]

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Request-Id: 7\r\n\r\n"
REFUSED = 7
CANCEL = 8


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def pseudo(method: bytes = b"GET", path: bytes = b"/", authority: bytes = b"a") -> list[tuple[bytes, bytes]]:
    return [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", authority)]


def test_a_request_of_http1_passes(world: Site) -> None:
    client = world.ask()
    server = world.server()
    asked = server.asked(1)
    assert asked.headers == [*pseudo(), *FORWARDED, (b"via", b"1.1 hotswap"), (b"te", b"trailers")]
    assert asked.ended
    server.answer(1, b"hello", (b"content-length", b"5"))
    assert client.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nVia: 1.1 hotswap\r\n\r\nhello"
    world.at_rest()


def test_a_request_of_http2_passes(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask()
    server = world.server()
    asked = server.asked(1)
    assert asked.headers == [*pseudo(), *FORWARDED, (b"via", b"2 hotswap"), (b"te", b"trailers")]
    server.answer(1, b"hello")
    heard = browser.heard(stream)
    assert heard.headers == [(b":status", b"200"), (b"via", b"2 hotswap")]
    assert (heard.body, heard.ended, heard.reset) == (b"hello", True, None)
    world.at_rest()


# ---- a request that nobody looked at is sent again ----


def test_a_refused_request_is_sent_again_on_the_same_connection(world: Site) -> None:
    client = world.ask(post(b"body"))
    server = world.server()
    assert server.asked(1).body == b"body"
    server.reset(1, REFUSED)
    assert server.asked(3).body == b"body"
    server.answer(3)
    assert status(client.take()) == 200
    assert not world.dials
    world.at_rest()


def test_a_body_that_waited_follows_its_head_to_a_connection_that_is_there(site: Callable[..., Site]) -> None:
    """Its own could not be made; what came meanwhile must neither stay behind nor be overtaken."""
    world = site(endpoints=2)
    first = world.ask()
    there = world.server()
    client = world.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n" + ID + b"\r\nabc")
    world.dialled().refuse()
    stream = there.latest
    client.send(b"def")
    client.send(b"ghi")
    assert (there.asked(stream).body, there.asked(stream).ended) == (b"abcdefghi", True)
    there.answer(stream)
    there.answer(1)
    assert (status(client.take()), status(first.take())) == (200, 200)
    world.at_rest()


@pytest.mark.parametrize("how", ["reset", "goaway"])
def test_a_server_that_refuses_what_it_answers_already_breaks_it_off(world: Site, how: str) -> None:
    client = world.ask()
    server = world.server()
    server.head(1, OK, (b"content-length", b"500"))
    server.say(1, b"half")
    if how == "reset":
        server.reset(1, REFUSED)
    else:
        server.goaway(0)
    assert client.take().endswith(b"\r\n\r\nhalf")
    assert client.ended
    world.at_rest()


def test_a_server_that_refuses_what_it_said_something_of_is_not_asked_again(world: Site) -> None:
    client = world.ask()
    server = world.server()
    server.head(1, (b":status", b"103"))
    server.reset(1, REFUSED)
    assert client.take().startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 502 ")
    assert len(server.streams) == 1


# ---- its end ----


@pytest.mark.parametrize("body", ["to come", "chunks to come", "waits for the window"])
def test_a_response_before_the_request_is_complete_cancels_it(world: Site, body: str) -> None:
    world.ask()
    server = world.server(greedy=False, window=10)
    server.answer(1)
    chunked = body == "chunks to come"
    client = world.ask(CHUNKED if chunked else post(b"" if body == "to come" else b"x" * 1000, length=1000))
    server.answer(3, b"no", (b"content-length", b"2"), status=b"413")
    assert client.take().endswith(b"\r\n\r\nno")
    assert server.asked(3).reset == CANCEL
    world.ask()
    assert server.latest == 5, "the connection lives on"
