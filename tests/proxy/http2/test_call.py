"""Requests to endpoints of HTTP/2: playbooks, straight and with a handover after every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http2.backend import Site
from tests.proxy.http2.browser import Browser

FORWARDED = [
    (b"x-request-id", b"7"),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"x-forwarded-proto", b"http"),
]


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
