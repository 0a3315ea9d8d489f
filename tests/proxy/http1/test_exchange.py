"""Requests and responses, as playbooks: who says what, and what the other side sees."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import pytest

from proxy.connection import HIGH
from tests.proxy.http1.cases import BAD_CHUNKS, BAD_REQUESTS, BAD_RESPONSES, GOOD_REQUESTS, Bad, BadResponse, Good
from tests.proxy.http1.scene import (
    ADDED,
    GET,
    GET_SENT,
    HELLO,
    HELLO_GOT,
    ID,
    VIA,
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


# ---- the plain exchange ----


def test_request_and_response_pass(world: World) -> None:
    client = world.connect("web")
    client.send(GET)
    server = world.dialled()
    assert server.take() == b""
    server.accept()
    assert server.take() == GET_SENT
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert not client.ended
    assert not server.ended


def test_connections_are_used_again(world: World) -> None:
    client, server = exchange(world)
    server.send(HELLO)
    for _ in range(3):
        client.send(GET)
        assert server.take() == GET_SENT
        server.send(HELLO)
        assert client.take() == HELLO_GOT * (2 if _ == 0 else 1)
    assert not world.dials


def test_idle_upstream_connection_serves_another_client(world: World) -> None:
    _, server = exchange(world)
    server.send(HELLO)
    other = world.connect("web", "198.51.100.7")
    other.send(GET)
    assert b"X-Forwarded-For: 198.51.100.7\r\n" in server.take()


def test_request_id_is_made_if_there_is_none(world: World) -> None:
    client = world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server = world.dialled()
    server.accept()
    assert server.take() == b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: %032x\r\n" % 1 + ADDED


def test_forwarded_for_is_appended_and_the_scheme_kept(world: World) -> None:
    client = world.connect("web")
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n"
        b"x-forwarded-for: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n" + ID + b"\r\n"
    )
    server = world.dialled()
    server.accept()
    assert server.take() == (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n" + ID +
        b"X-Forwarded-For: 203.0.113.5, 10.0.0.1, 192.0.2.1\r\n" + VIA + b"\r\n"
    )  # fmt: skip


def test_client_of_a_unix_socket_has_no_address_to_forward(world: World) -> None:
    client = world.connect("web", "unix")
    client.send(GET)
    server = world.dialled()
    server.accept()
    assert b"X-Forwarded-For" not in server.take()


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("case", GOOD_REQUESTS, ids=lambda case: case.name)
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_good_request_is_forwarded(case: Good, cut: int) -> None:
    world = World(web())
    client = world.connect("web")
    for n in range(0, len(case.request), cut or len(case.request)):
        client.send(case.request[n : n + (cut or len(case.request))])
    server = world.dialled()
    server.accept()
    head, _, body = server.take().partition(b"\r\n\r\n")
    assert head.startswith(case.forwarded + b"\r\n")
    assert body == case.body
    server.send(HELLO)
    assert client.take().endswith(b"hello")


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("case", [*BAD_REQUESTS, *BAD_CHUNKS], ids=lambda case: case.name)
@pytest.mark.parametrize("behind", [b"", GET], ids=["alone", "followed"])
def test_bad_request_gets_its_status_and_the_connection_ends(case: Bad, behind: bytes) -> None:
    world = World(web())
    client = world.connect("web")
    client.send(case.request + behind)
    for server in world.dials:
        server.accept()
    answer = client.take()
    assert status(answer) == case.status
    assert b"\r\nConnection: close\r\n" in answer
    assert client.ended
    assert all(server.closed for server in world.dials)
    client.fin()
    assert client.closed
    assert world.proxy.values() == {}


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    "case", [case for case in [*BAD_REQUESTS, *BAD_CHUNKS] if len(case.request) < 1500], ids=lambda case: case.name
)
def test_bad_request_gets_the_same_status_byte_by_byte(case: Bad) -> None:
    world = World(web())
    client = world.connect("web")
    for n in range(len(case.request)):
        client.send(case.request[n : n + 1])
        for server in world.dials:
            if server.connecting:
                server.accept()
    assert status(client.take()) == case.status
    assert client.ended


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("case", BAD_RESPONSES, ids=lambda case: case.name)
def test_bad_response_is_a_bad_gateway(case: BadResponse, world: World) -> None:
    client, server = exchange(world)
    server.send(case.response)
    assert status(client.take()) == 502
    assert server.closed
    assert not client.ended
    client.send(GET)
    assert len(world.dials) == 1


# ---- bodies ----


def test_request_body_is_streamed_as_it_comes(world: World) -> None:
    client = world.connect("web")
    client.send(post(b"abc", length=10))
    server = world.dialled()
    server.accept()
    assert server.take() == post_sent(b"abc", length=10)
    client.send(b"defg")
    assert server.take() == b"defg"
    client.send(b"hij")
    assert server.take() == b"hij"
    server.send(HELLO)
    assert client.take() == HELLO_GOT


def test_chunked_body_and_trailers_are_streamed_both_ways(world: World) -> None:
    client, server = exchange(world, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab")
    client.send(b"cd\r\n0\r")
    assert server.take() == b"cd\r\n"
    client.send(b"\nX-Sum: 1\r\n\r\n")
    assert server.take() == b"0\r\nX-Sum: 1\r\n\r\n"
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n")
    assert client.take() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + VIA + b"\r\n3\r\nabc\r\n"
    server.send(b"0\r\nX-Sum: 2\r\n\r\n")
    assert client.take() == b"0\r\nX-Sum: 2\r\n\r\n"
    client.send(GET)
    assert server.take() == GET_SENT


def test_response_until_close_ends_the_connection(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nall ")
    assert client.take() == b"HTTP/1.1 200 OK\r\n" + VIA + b"Connection: close\r\n\r\nall "
    server.send(b"of it")
    assert client.take() == b"of it"
    assert not client.ended
    server.fin()
    assert client.ended
    assert not client.reset


@pytest.mark.parametrize(
    "response",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"],
)
def test_response_without_a_body_is_complete_with_its_head(world: World, response: bytes) -> None:
    client, server = exchange(world)
    server.send(response)
    assert client.take() == response[:-2] + VIA + b"\r\n"
    client.send(GET)
    assert server.take() == GET_SENT


def test_response_to_head_has_no_body(world: World) -> None:
    client, server = exchange(world, GET.replace(b"GET", b"HEAD"))
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert client.take() == HELLO_GOT[:-5]
    client.send(GET)
    assert server.take() == GET_SENT


def test_slow_client_pauses_the_upstream(world: World) -> None:
    client, server = exchange(world)
    client.accept_bytes(0)
    size = 20 * HIGH
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert len(server.inbox) > 15 * HIGH
    client.accept_bytes(None)
    assert len(client.take().partition(b"\r\n\r\n")[2]) == size
    assert not server.inbox
    client.send(GET)
    assert server.take() == GET_SENT


def test_slow_upstream_pauses_the_client(world: World) -> None:
    size = 20 * HIGH
    client, server = exchange(world, post(b"", length=size))
    server.accept_bytes(0)
    client.send(b"x" * size)
    assert len(client.inbox) > 15 * HIGH
    server.accept_bytes(None)
    assert len(server.take()) == size
    server.send(HELLO)
    assert client.take() == HELLO_GOT


def test_body_is_not_read_before_an_upstream_is_there(world: World) -> None:
    size = 20 * HIGH
    client = world.connect("web")
    client.send(post(b"x" * size))
    assert len(client.inbox) > 15 * HIGH
    server = world.dialled()
    server.accept()
    assert server.take() == post_sent(b"x" * size)


def test_bytes_after_a_response_end_the_upstream_connection(world: World) -> None:
    client, server = exchange(world)
    server.send(HELLO + b"HTTP/1.1 200 OK\r\n")
    assert client.take() == HELLO_GOT
    assert server.closed
    client.send(GET)
    world.dialled().accept()


def test_unasked_bytes_of_an_idle_upstream_end_it(world: World) -> None:
    client, server = exchange(world)
    server.send(HELLO)
    server.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert server.closed
    assert client.take() == HELLO_GOT
    assert not client.ended
