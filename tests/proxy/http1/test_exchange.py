"""Requests and responses, as playbooks: who says what, and what the other side sees."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import errno

import pytest

from proxy.connection import HIGH
from tests.proxy.http1.cases import BAD_CHUNKS, BAD_REQUESTS, BAD_RESPONSES, GOOD_REQUESTS, Bad, BadResponse, Good
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
    idle = world.connect("web")
    world.proxy.drain(world.kernel.clock() + 100)
    world.settle()
    assert idle.ended
    server.send(HELLO)
    assert client.take() == HELLO_LAST
    assert client.ended
    assert server.closed
    client.fin()
    idle.fin()
    assert world.proxy.idle()
