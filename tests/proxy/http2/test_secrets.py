"""Fields that no table may hold stay so from one side to the other (RFC 7541 section 6.2.3), whatever moves between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import hpack
import pytest

from tests.proxy.http2.backend import OK, Site, behind
from tests.proxy.http2.browser import Browser

if TYPE_CHECKING:
    from tests.proxy.http2.browser import Headers

Never = hpack.NeverIndexedHeaderTuple
MINE = Never(b"x-mine", b"a secret")
YOURS = Never(b"x-yours", b"another")
OURS = (b"x-ours", b"everybody knows")


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def never(headers: Headers) -> list[bytes]:
    """The names of those that came so: the library tells by the first bits of their representation."""
    return [field[0] for field in headers if not getattr(field, "indexable", True)]


def test_of_a_request_and_its_response(world: Site) -> None:
    browser = Browser(world)
    world.ask()
    server = world.server()
    for number in (3, 5):  # the second time a table would know them
        stream = browser.ask(b"/", b"GET", MINE, OURS)
        assert never(server.asked(number).headers) == [b"x-mine"]
        assert OURS in server.asked(number).headers
        server.answer(number, b"", YOURS, OURS)
        assert never(browser.heard(stream).headers) == [b"x-yours"]
        assert OURS in browser.heard(stream).headers


def test_the_representation_itself(world: Site) -> None:
    browser = Browser(world)
    browser.ask(b"/", b"GET", MINE)
    server = world.server()
    server.listen()
    name = hpack.Encoder().encode([(b"x-mine", b"")])[1:-1]
    assert server.raw[server.raw.index(name) - 1] == 0x10, "literal, never indexed, new name"


def test_of_cookies_and_what_stands_in_the_request_line(world: Site) -> None:
    browser = Browser(world)
    stream = browser.connection.get_next_available_stream_id()
    fields = [(b":method", b"GET"), (b":scheme", b"http"), Never(b":authority", b"a"), Never(b":path", b"/secret")]
    browser.connection.send_headers(stream, [*fields, Never(b"cookie", b"a=1"), (b"cookie", b"b=2")], end_stream=True)
    browser.flush()
    server = world.server()
    assert {b":authority", b":path", b"cookie"} <= set(never(server.asked(1).headers))
    assert (b"cookie", b"a=1; b=2") in server.asked(1).headers


def test_of_trailers(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/", b"POST", end=False)
    server = world.server()
    browser.say(stream, b"body")
    browser.connection.send_headers(stream, [MINE, OURS], end_stream=True)
    browser.flush()
    assert never(server.asked(1).trailers) == [b"x-mine"]
    assert server.asked(1).trailers == [MINE, OURS]
    server.answer(1, b"body", end=False)
    server.head(1, YOURS, OURS, end=True)
    assert never(browser.heard(stream).trailers) == [b"x-yours"]
    assert browser.heard(stream).trailers == [YOURS, OURS]


def test_of_interim_responses(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask()
    server = world.server()
    server.head(1, (b":status", b"103"), YOURS, OURS)
    server.answer(1)
    assert never(browser.heard(stream).interim[0]) == [b"x-yours"]


def test_of_a_tunnel(world: Site) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/", b"CONNECT", MINE, protocol=b"websocket", end=False)
    server = world.server(connect=True)
    assert never(server.asked(1).headers) == [b"x-mine"]
    server.head(1, OK, YOURS)
    assert never(browser.heard(stream).headers) == [b"x-yours"]


def test_of_one_that_waits(site: Callable[..., Site]) -> None:
    """And one that is sent again."""
    world = site(shared_connections=1)
    world.ask()
    server = world.server(streams=1)
    browser = Browser(world)
    browser.ask(b"/", b"POST", MINE)
    server.answer(1)
    assert never(server.asked(3).headers) == [b"x-mine"]
    server.reset(3, 7)
    assert never(server.asked(5).headers) == [b"x-mine"]


def test_of_trailers_that_wait_between_two_rounds() -> None:
    """The client reads nothing, so that all that changes is how they will be sent."""
    world = Site(behind())
    browser = Browser(world, greedy=False)
    stream = browser.ask()
    server = world.server()
    server.answer(1, b"x" * 65535, end=False)
    browser.listen()
    browser.socket.accept_bytes(0)
    server.say(1, b"x" * 65_000)
    server.say(1, b"x" * 500)
    world.move(meanwhile=lambda: server.head(1, YOURS, end=True))
    browser.socket.accept_bytes(None)
    browser.connection.increment_flow_control_window(100_000, stream)
    browser.connection.increment_flow_control_window(100_000)
    browser.flush()
    assert never(browser.heard(stream).trailers) == [b"x-yours"]
    world.leave()
