"""Who keeps a connection, HTTP/1.0, and pipelining, as playbooks."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import pytest

from tests.proxy.http1.scene import (
    ADDED,
    GET,
    GET_SENT,
    HELLO,
    HELLO_GOT,
    HELLO_LAST,
    ID,
    VIA,
    exchange,
    post,
    status,
    web,
)
from tests.proxy.simulation import World


@pytest.fixture
def world(moving: bool) -> World:
    return World(web(), moving=moving)


# ---- keep-alive and versions ----


def test_client_that_says_close_gets_a_last_response(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    server.send(HELLO)
    assert client.take() == HELLO_LAST
    assert client.ended
    assert not client.closed
    client.fin()
    assert client.closed
    assert not server.ended


def test_bytes_after_the_last_response_are_dropped_for_a_while(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    server.send(HELLO)
    client.send(b"x" * 1000)
    assert not client.inbox
    assert not client.closed
    world.wait(2.1)
    assert client.closed


def test_http_1_0_client_gets_one_response(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.0\r\n\r\n")
    server.send(HELLO)
    assert client.take() == HELLO_LAST
    assert client.ended


def test_http_1_0_client_may_keep_the_connection(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    server.send(HELLO)
    assert b"\r\nConnection: keep-alive\r\n" in client.take()
    assert not client.ended


def test_http_1_0_client_without_host_gets_the_name_of_the_cluster(world: World) -> None:
    client = world.connect("web")
    client.send(b"GET /other HTTP/1.0\r\n" + ID + b"\r\n")
    server = world.dialled()
    server.accept()
    assert server.take() == b"GET /other HTTP/1.1\r\n" + ID + b"Host: other\r\n" + ADDED


def test_http_1_0_client_gets_the_bare_data_of_chunks(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n")
    assert client.take() == b"HTTP/1.1 200 OK\r\n" + VIA + b"Connection: close\r\n\r\nhello!"
    assert client.ended
    assert not client.reset


def test_http_1_0_upstream_is_not_used_again(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert client.take() == HELLO_GOT
    assert server.closed
    assert not client.ended


def test_upstream_that_says_close_is_not_used_again(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
    assert client.take() == HELLO_GOT
    assert server.closed
    assert not client.ended


# ---- pipelining ----


def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    client, server = exchange(world, GET + GET.replace(b" / ", b" /2 ") + GET.replace(b" / ", b" /3 ") + b"GET /4")
    server.send(HELLO)
    assert server.take().startswith(b"GET /2 ")
    server.send(HELLO)
    assert server.take().startswith(b"GET /3 ")
    server.send(HELLO)
    assert client.take() == HELLO_GOT * 3
    client.send(b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert server.take().startswith(b"GET /4 ")


def test_pipelined_request_behind_a_body(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=4))
    client.send(b"cd" + GET)
    assert server.take() == b"cd"
    server.send(HELLO)
    assert server.take() == GET_SENT
    server.send(HELLO)
    assert client.take() == HELLO_GOT * 2


def test_our_own_answers_keep_the_order(world: World) -> None:
    nowhere = b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n"
    client, server = exchange(world, GET + nowhere * 2 + GET)
    server.send(HELLO)
    assert server.take() == GET_SENT
    server.send(HELLO)
    answers = client.take()
    assert answers.startswith(HELLO_GOT + b"HTTP/1.1 404 ")
    assert answers.endswith(HELLO_GOT)
    assert answers.count(b"HTTP/1.1 404 ") == 2


def test_short_request_behind_a_longer_one_that_came_in_parts_and_was_answered_by_us(world: World) -> None:
    longer = b"GET /" + b"x" * 200 + b" HTTP/1.1\r\nHost: nowhere\r\n\r\n"
    client = world.connect("web")
    client.send(longer[:-1])
    client.send(longer[-1:] + GET)
    assert status(client.take()) == 404
    server = world.dialled()
    server.accept()
    assert server.take() == GET_SENT


def test_pipelined_requests_do_not_fill_the_memory(world: World) -> None:
    client, _ = exchange(world, GET)
    client.send(GET * 20000)
    assert len(client.inbox) > 10000 * len(GET)


def test_pipelining_client_that_does_not_read_is_not_served_on(world: World) -> None:
    client, server = exchange(world, GET * 50)
    client.accept_bytes(0)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000
    served = 0
    while True:
        server.send(response)
        served += 1
        if not server.take():
            break
    assert served < 5
    client.accept_bytes(None)
    assert server.take() == GET_SENT
    for _ in range(50 - served):
        server.send(response)
    assert client.take().count(b"HTTP/1.1 200 OK") == 50


def test_next_request_waits_until_the_client_took_the_responses_before(world: World) -> None:
    client, server = exchange(world, GET * 20)
    client.accept_bytes(0)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n" + b"x" * 12000
    served = 0
    while True:
        server.send(response)
        served += 1
        if not server.take():
            break
    assert served == 6
    assert not server.inbox
    client.fin()
    client.accept_bytes(None)
    assert server.take() == GET_SENT
    for _ in range(20 - served):
        server.send(response)
    assert client.take().count(b"HTTP/1.1 200 OK") == 20
    assert client.closed


def test_client_that_says_close_gets_our_own_answer_last(world: World) -> None:
    client = world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: nowhere\r\nConnection: close\r\n\r\n" + GET)
    answer = client.take()
    assert status(answer) == 404
    assert b"\r\nConnection: close\r\n" in answer
    assert client.ended
    assert not world.dials


def test_connections_tell_what_they_do(world: World) -> None:
    client, server = exchange(world)
    about = {one["kind"]: one for one in world.proxy.connections()}
    assert (
        about["http1.downstream"].items() >= {"step": "wait", "cluster": "app", "method": "GET", "requests": 1}.items()
    )
    assert about["http1.upstream"].items() >= {"use": "head", "endpoint": "127.0.0.1:9000", "requests": 1}.items()
    assert world.proxy.in_flight() == 1
    server.send(HELLO)
    client.take()
    about = {one["kind"]: one for one in world.proxy.connections()}
    assert about["http1.downstream"]["step"] == "idle"
    assert about["http1.upstream"]["use"] == "idle"
    assert world.proxy.in_flight() == 0
