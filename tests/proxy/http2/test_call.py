"""Requests to endpoints of HTTP/2: playbooks, straight and with a handover after every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proxy.http1.scene import GET, ID, post, status
from tests.proxy.http2.backend import OK, Site
from tests.proxy.http2.browser import Browser, Headers

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


def test_lines_of_a_hop_and_of_ours(world: Site) -> None:
    lines = b"Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nTE: gzip\r\nKeep-Alive: 9\r\nX-Forwarded-For: 10.0.0.1\r\n"
    world.ask(b"GET /a?b HTTP/1.1\r\nHost: A:8\r\n" + lines + b"X-Forwarded-Proto: https\r\nCookie: a=1; b=2\r\n\r\n")
    asked = world.server().asked(1)
    fields = [field for field in asked.headers if field[0] != b"x-request-id"]
    assert fields == [
        *pseudo(path=b"/a?b", authority=b"A:8"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-for", b"10.0.0.1, 192.0.2.1"),
        (b"via", b"1.1 hotswap"),
        (b"te", b"trailers"),
        (b"cookie", b"a=1; b=2"),  # where the library puts them
    ]


def test_crumbs_of_cookies_are_one_field(world: Site) -> None:
    Browser(world).ask(b"/", b"GET", (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers"))
    fields = world.server().asked(1).headers
    assert [value for name, value in fields if name == b"cookie"] == [b"a=1; b=2"]
    assert [value for name, value in fields if name == b"te"] == [b"trailers"]


def test_options_of_the_server_itself(world: Site) -> None:
    world.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert world.server().asked(1).headers[:4] == pseudo(b"OPTIONS", b"*")


def test_a_target_in_absolute_form(world: Site) -> None:
    world.ask(b"GET http://a:80/x HTTP/1.1\r\nHost: b\r\n\r\n")
    assert world.server().asked(1).headers[:4] == pseudo(path=b"/x", authority=b"a:80")


def test_many_clients_share_a_connection(world: Site) -> None:
    clients = [world.ask() for _ in range(3)]
    browser = Browser(world)
    streams = [browser.ask() for _ in range(3)]
    server = world.server()
    assert server.open == [1, 3, 5, 7, 9, 11]
    for number in reversed(server.open):
        server.answer(number, b"%x" % number, (b"content-length", b"1"))
    assert [client.take()[-1:] for client in clients] == [b"1", b"3", b"5"]
    assert [browser.heard(stream).body for stream in streams] == [b"7", b"9", b"b"]
    assert not world.dials
    world.at_rest()


# ---- bodies ----


def test_a_body_of_known_length(world: Site) -> None:
    client = world.ask(post(b"abc", length=6))
    server = world.server()
    asked = server.asked(1)
    assert (b"content-length", b"6") in asked.headers
    assert (asked.body, asked.ended) == (b"abc", False)
    client.send(b"def")
    asked = server.asked(1)
    assert (asked.body, asked.ended) == (b"abcdef", True)


def test_chunks_and_their_trailers(world: Site) -> None:
    client = world.ask(CHUNKED)
    server = world.server()
    client.send(b"3\r\nabc\r\n")
    asked = server.asked(1)
    assert (asked.body, asked.ended) == (b"abc", False)
    assert not {b"transfer-encoding", b"content-length"} & {name for name, _ in asked.headers}
    client.send(b"1;x=y\r\nd\r\n0\r\nX-Sum: 4\r\nTE: x\r\n\r\n")
    asked = server.asked(1)
    assert (asked.body, asked.trailers, asked.ended) == (b"abcd", [(b"x-sum", b"4")], True)


def test_as_many_trailers_as_the_listener_permits(site: Callable[..., Site]) -> None:
    world = site(listener={"max_headers": 400})
    client = world.ask(CHUNKED)
    server = world.server()
    client.send(b"0\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(300)) + b"\r\n")
    asked = server.asked(1)
    assert (len(asked.trailers), asked.ended) == (300, True)


def test_chunks_without_trailers(world: Site) -> None:
    client = world.ask(CHUNKED + b"3\r\nabc\r\n")
    server = world.server()
    client.send(b"0\r\n\r\n")
    asked = server.asked(1)
    assert (asked.body, asked.trailers, asked.ended) == (b"abc", [], True)


def test_who_waits_for_100_gets_it_from_the_server(world: Site) -> None:
    client = world.ask(post(b"", b"Expect: 100-continue", length=3))
    server = world.server()
    assert (b"expect", b"100-continue") in server.asked(1).headers
    server.head(1, (b":status", b"100"))
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert server.asked(1).ended
    server.answer(1)
    assert status(client.take()) == 200
    world.at_rest()


# ---- responses ----


def test_a_response_without_a_length(world: Site) -> None:
    client, old, browser = world.ask(), world.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"), Browser(world)
    stream = browser.ask()
    server = world.server()
    for number in (1, 3, 5):
        server.head(number, OK, (b"x", b"y"))
        server.say(number, b"hello")
        server.head(number, (b"x-sum", b"5"), end=True)
    head = b"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\nVia: 1.1 hotswap\r\n\r\n"
    assert client.take() == head + b"5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"
    assert old.take() == b"HTTP/1.1 200 OK\r\nx: y\r\nVia: 1.1 hotswap\r\nConnection: close\r\n\r\nhello"
    assert old.ended
    heard = browser.heard(stream)
    assert (heard.body, heard.trailers, heard.ended) == (b"hello", [(b"x-sum", b"5")], True)
    world.at_rest()


def test_an_end_without_data_is_none_of_the_body(world: Site) -> None:
    client = world.ask()
    server = world.server()
    server.head(1, OK)
    server.say(1, b"hello")
    server.say(1, b"", end=True)
    assert client.take().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("length", [(), ((b"content-length", b"5"),)])
def test_a_head_has_no_body(world: Site, length: Headers) -> None:
    client, browser = world.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), Browser(world)
    stream = browser.ask(b"/", b"HEAD")
    server = world.server()
    server.head(1, OK, *length, end=True)
    server.head(3, OK, *length)
    server.say(3, b"", end=True)
    text = client.take()
    assert text.endswith(b"\r\n\r\n")
    assert (b"content-length: 5" in text) == bool(length)
    heard = browser.heard(stream)
    assert (heard.status, heard.body, heard.ended) == (200, b"", True)
    assert [server.asked(number).reset for number in (1, 3)] == [None, None]
    world.at_rest()


@pytest.mark.parametrize("code", [b"204", b"304"])
@pytest.mark.parametrize("at_once", [True, False])
def test_responses_that_never_have_a_body(world: Site, code: bytes, at_once: bool) -> None:
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    for number in (1, 3):
        server.head(number, (b":status", code), end=at_once)
        if not at_once:
            server.say(number, b"", end=True)
    text = client.take()
    assert text.startswith(b"HTTP/1.1 " + code)
    assert b"content-length" not in text
    assert b"transfer-encoding" not in text
    heard = browser.heard(stream)
    assert (heard.status, heard.ended) == (int(code), True)
    client.send(GET)
    server.answer(server.latest)
    assert status(client.take()) == 200
    world.at_rest()


def test_an_empty_response(world: Site) -> None:
    client = world.ask()
    server = world.server()
    server.answer(1)
    assert client.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nVia: 1.1 hotswap\r\n\r\n"


def test_interim_responses(world: Site) -> None:
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    for number in (1, 3):
        server.head(number, (b":status", b"103"), (b"link", b"</a>"))
        server.answer(number)
    assert client.take().startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert browser.heard(stream).interim == [[(b":status", b"103"), (b"link", b"</a>"), (b"via", b"2 hotswap")]]
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
