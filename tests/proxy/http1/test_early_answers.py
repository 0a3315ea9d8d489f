"""Answers before the request is complete: interim, early, and our own refusals."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import errno

import pytest

from tests.proxy.http1.scene import (
    GET,
    GET_SENT,
    HELLO,
    HELLO_GOT,
    HELLO_LAST,
    exchange,
    post,
    post_sent,
    status,
    web,
)
from tests.proxy.simulation import World


@pytest.fixture
def world(moving: bool) -> World:
    return World(web(), moving=moving)


# ---- early answers, expectations, interim responses ----


def test_interim_responses_are_forwarded(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    assert client.take() == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO)
    assert client.take() == b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO_GOT


def test_http_1_0_client_gets_no_interim_response(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO)
    assert client.take() == HELLO_LAST


def test_client_that_expects_100_gets_it_from_the_upstream(world: World) -> None:
    client = world.connect("web")
    client.send(post(b"", b"Expect: 100-continue", length=5))
    server = world.dialled()
    server.accept()
    assert server.take() == post_sent(b"", b"Expect: 100-continue", length=5)
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert server.take() == b"hello"
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert not client.ended


def test_final_answer_to_an_expectation_ends_the_connection(world: World) -> None:
    # Nobody can tell whether the body follows: what comes next might be read as a request.
    client, server = exchange(world, post(b"", b"Expect: 100-continue", length=5))
    server.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in client.take()
    assert client.ended
    assert server.closed


def test_client_that_does_not_wait_for_100(world: World) -> None:
    client, server = exchange(world, post(b"", b"Expect: 100-continue", length=5))
    client.send(b"hello")
    assert server.take() == b"hello"
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO)
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO_GOT


def test_early_response_while_the_body_goes_on(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=6))
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    client.send(b"cd")
    assert server.take() == b"cd"
    client.send(b"ef")
    assert server.take() == b"ef"
    server.send(b"llo")
    assert client.take() == HELLO_GOT
    client.send(GET)
    assert server.take() == GET_SENT


def test_rest_of_a_body_is_dropped_after_an_early_response(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=6))
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert server.closed
    client.send(b"cd")
    client.send(b"ef" + GET)
    other = world.dialled()
    other.accept()
    assert other.take() == GET_SENT


def test_rest_of_a_chunked_body_is_dropped_after_an_early_response(world: World) -> None:
    client, server = exchange(world, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab")
    server.send(HELLO)
    client.send(b"cd\r\n0\r\n\r\n" + GET)
    other = world.dialled()
    other.accept()
    assert other.take() == GET_SENT


def test_early_response_to_a_long_body_ends_the_connection(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=10**9))
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert client.ended
    client.send(b"x" * 10**6)
    assert not client.inbox
    client.fin()
    assert client.closed


def test_endless_body_is_not_dropped_for_ever(world: World) -> None:
    client, server = exchange(world, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.send(HELLO)
    assert not client.ended
    client.send(b"ffff0\r\n" + b"x" * 500000)
    assert client.ended


def test_upstream_answers_and_resets_within_the_body(world: World) -> None:
    client, server = exchange(world, post(b"", length=6))
    server.inbox += b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    server.error = errno.EPIPE
    client.send(b"abc")
    assert status(client.take()) == 413


# ---- limits ----


def test_body_that_states_too_much_is_refused(moving: bool) -> None:
    world = World(web(listener={"max_body": 10}), moving=moving)
    client = world.connect("web")
    client.send(post(b"", length=11))
    assert status(client.take()) == 413
    assert client.ended
    assert not world.dials


def test_chunked_body_that_grows_too_long_is_refused(moving: bool) -> None:
    world = World(web(listener={"max_body": 10}), moving=moving)
    client, server = exchange(
        world, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n"
    )
    client.send(b"2\r\nab\r\n")
    assert status(client.take()) == 413
    assert server.closed
    assert client.ended


def test_unroutable_request_gets_404_and_its_body_is_dropped(world: World) -> None:
    client = world.connect("web")
    client.send(post(b"ab", length=4).replace(b"Host: a", b"Host: nowhere"))
    assert status(client.take()) == 404
    client.send(b"cd" + GET)
    server = world.dialled()
    server.accept()
    assert server.take() == GET_SENT


def test_head_request_of_our_own_answers_has_no_body(world: World) -> None:
    client = world.connect("web")
    client.send(b"HEAD / HTTP/1.1\r\nHost: nowhere\r\n\r\n")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")


def test_malformed_chunk_after_the_response_began_breaks_it_off(world: World) -> None:
    client, server = exchange(world, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    client.send(b"zz\r\n")
    assert client.take() == HELLO_GOT[:-3]
    assert client.ended
    assert server.closed


def test_draining_says_close(world: World) -> None:
    client, server = exchange(world)
    idle, other = exchange(world)
    other.send(HELLO)
    idle.take()
    fresh = world.connect("web")
    world.proxy.drain(world.kernel.clock() + 100)
    world.settle()
    assert idle.ended
    assert not fresh.ended, "it may ask once"
    server.send(HELLO)
    assert client.take() == HELLO_LAST
    assert client.ended
    assert server.closed
    fresh.send(GET)
    server = world.dialled()
    server.accept()
    server.send(HELLO)
    assert fresh.take() == HELLO_LAST
    for one in (client, idle, fresh):
        one.fin()
    assert world.proxy.idle()
