"""Endpoints of HTTP/2, and clients, that fail: what the other side sees, and what is counted."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.http2 import frame
from tests.proxy.http1.scene import post, status
from tests.proxy.http2.backend import OK, Backend, Site
from tests.proxy.http2.browser import Browser

Build = Callable[..., Site]
PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED, CANCEL = 1, 2, 7, 8
PING_OF_ONE_BYTE = b"\0\0\1\x06\0\0\0\0\0?"
OPEN = post(b"", length=9)


@pytest.fixture
def world(site: Build) -> Site:
    return site()


def end(server: Backend, how: str, stream: int = 1) -> None:
    """It gives a stream up, or with the connection all of them."""
    if how == "stream":
        server.reset(stream, INTERNAL_ERROR)
    elif how == "fin":
        server.socket.fin()
    elif how == "reset":
        server.socket.rst()
    else:
        server.socket.send(PING_OF_ONE_BYTE)


WAYS = ["stream", "fin", "reset", "broken"]


# ---- before the response ----


@pytest.mark.parametrize("how", WAYS)
def test_an_idempotent_request_is_sent_again(world: Site, how: str) -> None:
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    end(server, how, 1)
    if how == "stream":
        server.reset(3, INTERNAL_ERROR)
        again, numbers = server, (5, 7)
    else:
        again, numbers = world.server(), (1, 3)
    for number in numbers:
        again.answer(number)
    assert status(client.take()) == 200
    assert browser.heard(stream).status == 200
    assert world.only("retries", "resets") == {
        "upstream_retries app": 2.0,
        "upstream_resets app 127.0.0.1:9000": 2.0,
    }
    world.at_rest()


@pytest.mark.parametrize("how", WAYS)
def test_it_is_sent_again_once(world: Site, how: str) -> None:
    client = world.ask()
    server = world.server()
    end(server, how)
    again = server if how == "stream" else world.server()
    end(again, how, again.latest)
    assert status(client.take()) == 502
    world.at_rest()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("request_text", [post(b"body"), OPEN], ids=["whole", "open"])
def test_another_is_not(world: Site, how: str, request_text: bytes) -> None:
    client = world.ask(request_text)
    server = world.server()
    end(server, how)
    assert status(client.take()) == 502
    assert not world.dials
    assert len(server.streams) == 1
    world.at_rest()


def test_a_refused_one_is_sent_again_so_often_and_no_more(site: Build) -> None:
    """Beyond `retries` once, whatever its method."""
    for retries in (0, 1):
        world = site(retries=retries)
        client = world.ask(post(b"body"))
        server = world.server()
        for stream in (1, 3, 5)[: retries + 2]:
            assert server.asked(stream).body == b"body"
            server.reset(stream, REFUSED)
        assert status(client.take()) == 502
        world.at_rest()


def test_a_refused_one_whose_body_was_passed_on_is_not(world: Site) -> None:
    client = world.ask(OPEN)
    client.send(b"part")
    server = world.server()
    client.send(b"more")
    server.reset(1, REFUSED)
    assert status(client.take()) == 502
    assert server.latest == 1


# ---- within the response ----


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("length", [((b"content-length", b"50"),), ()], ids=["sized", "chunked"])
def test_a_response_that_breaks_off_is_no_whole_one(
    world: Site, how: str, length: tuple[tuple[bytes, bytes], ...]
) -> None:
    client, browser = world.ask(), Browser(world)
    stream = browser.ask()
    server = world.server()
    for number in (1, 3):
        server.head(number, OK, *length)
        server.say(number, b"half")
    end(server, how)
    if how == "stream":
        server.reset(3, INTERNAL_ERROR)
    text = client.take()
    assert text.endswith(b"half" if length else b"4\r\nhalf\r\n")
    assert client.ended
    heard = browser.heard(stream)
    assert (heard.body, heard.ended, heard.reset) == (b"half", False, INTERNAL_ERROR)
    assert browser.goaways == []
    world.at_rest()


def test_a_broken_stream_leaves_the_others_alone(world: Site) -> None:
    browser = Browser(world)
    first, second = browser.ask(b"/", b"POST", end=False), browser.ask()
    server = world.server()
    server.head(1, OK, (b"content-length", b"2"))
    server.say(1, b"more than two")
    assert browser.heard(first).reset == INTERNAL_ERROR
    assert server.asked(1).reset == PROTOCOL_ERROR
    server.answer(3, b"whole")
    assert browser.heard(second).body == b"whole"
    world.at_rest()


def test_a_broken_connection_ends_alone(site: Build) -> None:
    world = site(shared_connections=2)
    client = world.ask()
    first = world.server(streams=1)
    other = world.ask()
    second = world.server()
    first.socket.send(PING_OF_ONE_BYTE)
    first.listen()
    assert first.goaways == [6]
    assert first.socket.ended
    second.answer(1)
    second.answer(3)
    assert (status(client.take()), status(other.take())) == (200, 200)
    assert not second.socket.ended
    world.at_rest()


def test_headers_that_are_no_response(world: Site) -> None:
    client = world.ask(post(b"body"))
    server = world.server()
    block = server.connection.encoder.encode([OK, (b"connection", b"close")])
    server.socket.send(frame.headers(block, 1, end=True, most=16384))
    assert status(client.take()) == 502
    assert server.asked(1).reset == PROTOCOL_ERROR


def test_a_status_that_nobody_knows(world: Site) -> None:
    client = world.ask(post(b"body"))
    server = world.server()
    server.answer(1, status=b"999")
    assert client.take().startswith(b"HTTP/1.1 999 \r\n")
    other = world.ask()
    server.answer(3)
    assert status(other.take()) == 200


# ---- dials ----


def test_refused_dials_go_on_to_the_next_endpoint(site: Build) -> None:
    world = site(endpoints=2)
    client = world.ask(post(b"body"))
    world.dialled().refuse()
    server = world.server()
    assert server.asked(1).body == b"body"
    server.answer(1)
    assert status(client.take()) == 200


def test_a_dial_is_counted_once_for_all_that_wait(world: Site) -> None:
    clients, browser = [world.ask() for _ in range(3)], Browser(world)
    stream = browser.ask()
    world.dialled().refuse()
    assert [status(client.take()) for client in clients] == [503] * 3
    assert browser.heard(stream).status == 503
    assert world.only("connect_failures") == {"upstream_connect_failures app 127.0.0.1:9000 refused": 1.0}
    world.at_rest()


def test_a_dial_that_takes_too_long(site: Build) -> None:
    world = site(endpoints=2)
    client = world.ask()
    first = world.dialled()
    world.wait(1.1)
    assert first.closed
    second = world.dialled()
    world.wait(1.1)
    assert second.closed
    assert status(client.take()) == 504
    world.at_rest()


def test_a_client_that_goes_while_its_connection_is_made(world: Site) -> None:
    client = world.ask()
    client.rst()
    world.at_rest()
    server = world.server()
    assert server.open == []
    other = world.ask()
    server.answer(1)
    assert status(other.take()) == 200


# ---- clients ----


@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_goes_cancels_its_stream_alone(world: Site, answered: bool) -> None:
    client, browser, other = world.ask(), Browser(world), world.ask(OPEN)
    stream = browser.ask(b"/", b"POST", end=False)
    server = world.server()
    if answered:
        for number in (1, 3, 5):
            server.head(number, OK, (b"content-length", b"50"))
            server.say(number, b"half")
    client.rst()
    assert server.asked(1).reset == CANCEL
    browser.connection.reset_stream(stream)
    browser.flush()
    assert server.asked(5).reset == CANCEL
    other.fin()
    assert server.asked(3).reset == CANCEL
    world.at_rest()
    again = world.ask()
    server.answer(7)
    assert status(again.take()) == 200


def test_a_whole_connection_of_a_client_that_goes(world: Site) -> None:
    browser = Browser(world)
    for _ in range(3):
        browser.ask()
    server = world.server()
    browser.socket.rst()
    assert [server.asked(number).reset for number in (1, 3, 5)] == [CANCEL] * 3
    assert not server.socket.ended
    world.at_rest()


def test_one_that_is_slow_to_ask_is_not_served_any_longer(world: Site) -> None:
    client = world.ask(OPEN)
    server = world.server()
    world.wait(61)
    assert status(client.take()) == 408
    assert server.asked(1).reset == CANCEL


def test_a_server_that_does_not_answer_in_time(site: Build) -> None:
    world = site(request_timeout=3.0)
    client = world.ask()
    server = world.server()
    world.wait(3.1)
    assert status(client.take()) == 504
    assert server.asked(1).reset == CANCEL
    world.at_rest()
