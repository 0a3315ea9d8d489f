"""Upstreams and clients that fail: what the other side sees."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import errno

import pytest

from tests.proxy.http1.scene import (
    GET,
    GET_SENT,
    HELLO,
    HELLO_GOT,
    exchange,
    post,
    post_sent,
    status,
    web,
)
from tests.proxy.simulation import Socket, World


@pytest.fixture
def world(moving: bool) -> World:
    return World(web(), moving=moving)


@pytest.fixture
def three(moving: bool) -> World:
    return World(web(endpoints=3), moving=moving)


def in_flight(world: World) -> int:
    return sum(endpoint.in_flight for cluster in world.proxy.clusters.values() for endpoint in cluster.endpoints)


def kept_alive(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    """A request under way on an upstream connection that served one before."""
    client, server = exchange(world)
    server.send(HELLO)
    client.take()
    client.send(request)
    server.take()
    return client, server


# ---- dials ----


def test_refused_dials_go_on_to_the_next_endpoint(three: World) -> None:
    client = three.connect("web")
    client.send(post(b"ab"))
    ports = set()
    for _ in range(2):
        server = three.dialled()
        ports.add(server.address)
        server.refuse()
    server = three.dialled()
    ports.add(server.address)
    server.accept()
    assert len(ports) == 3
    assert server.take() == post_sent(b"ab")
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert in_flight(three) == 0


def test_no_endpoint_is_503(three: World) -> None:
    client = three.connect("web")
    client.send(GET)
    for _ in range(3):
        three.dialled().refuse()
    assert status(client.take()) == 503
    assert not client.ended
    client.send(GET)
    assert len(three.dials) == 1
    assert in_flight(three) == 1


def test_dial_that_fails_at_once(world: World) -> None:
    world.refusing["127.0.0.1:9000"] = errno.ENETUNREACH
    client = world.connect("web")
    client.send(GET)
    assert status(client.take()) == 503
    assert in_flight(world) == 0


def test_dial_that_takes_too_long_is_504(world: World) -> None:
    client = world.connect("web")
    client.send(GET)
    world.wait(1.1)
    assert status(client.take()) == 504
    assert world.dialled().closed
    assert in_flight(world) == 0


def test_failed_dial_drops_the_body_and_keeps_the_connection(world: World) -> None:
    client = world.connect("web")
    client.send(post(b"ab", length=4))
    world.dialled().refuse()
    assert status(client.take()) == 503
    client.send(b"cd" + GET)
    server = world.dialled()
    server.accept()
    assert server.take() == GET_SENT


def test_client_goes_while_dialling(world: World) -> None:
    client = world.connect("web")
    client.send(GET)
    client.rst()
    assert world.dialled().closed
    assert world.proxy.values() == {}
    assert in_flight(world) == 0


# ---- retries ----


def test_request_goes_again_if_a_kept_alive_upstream_closes_at_once(world: World) -> None:
    client, server = kept_alive(world)
    server.fin()
    assert server.closed
    fresh = world.dialled()
    fresh.accept()
    assert fresh.take() == GET_SENT
    fresh.send(HELLO)
    assert client.take() == HELLO_GOT


def test_request_goes_again_if_a_kept_alive_upstream_resets(world: World) -> None:
    _client, server = kept_alive(world)
    server.rst()
    fresh = world.dialled()
    fresh.accept()
    assert fresh.take() == GET_SENT
    assert in_flight(world) == 1


def test_request_goes_again_on_a_fresh_connection_only(world: World) -> None:
    first, one = exchange(world)
    _second, two = exchange(world)
    one.send(HELLO)
    two.send(HELLO)
    first.send(GET)
    assert two.take() == GET_SENT
    two.fin()
    assert one.take() == b""
    world.dialled().accept()


def test_repeatable_request_with_its_body_goes_again(world: World) -> None:
    _client, server = kept_alive(world, post(b"abc", method=b"PUT"))
    server.fin()
    fresh = world.dialled()
    fresh.accept()
    assert fresh.take() == post_sent(b"abc", method=b"PUT")


def test_repeatable_request_without_a_byte_of_its_body_goes_again(world: World) -> None:
    client, server = kept_alive(world, post(b"", length=3, method=b"PUT"))
    server.fin()
    fresh = world.dialled()
    client.send(b"abc")
    fresh.accept()
    assert fresh.take() == post_sent(b"abc", method=b"PUT")


def test_repeatable_request_with_a_part_of_its_body_does_not_go_again(world: World) -> None:
    client, server = kept_alive(world, post(b"a", length=3, method=b"PUT"))
    server.fin()
    assert status(client.take()) == 502
    assert not world.dials
    client.send(b"bc" + GET)
    fresh = world.dialled()
    fresh.accept()
    assert fresh.take() == GET_SENT


def test_unrepeatable_request_does_not_go_again(world: World) -> None:
    client, server = kept_alive(world, post(b"ab"))
    server.fin()
    assert status(client.take()) == 502
    assert not world.dials


def test_request_goes_again_as_often_as_configured(moving: bool) -> None:
    world = World(web(retries=2), moving=moving)
    client, server = kept_alive(world)
    server.fin()
    for _ in range(2):
        fresh = world.dialled()
        fresh.accept()
        fresh.fin()
    assert status(client.take()) == 502
    assert not world.dials
    assert in_flight(world) == 0


def test_request_does_not_go_again_after_a_byte_of_the_answer(world: World) -> None:
    client, server = kept_alive(world)
    server.send(b"H")
    server.fin()
    assert status(client.take()) == 502
    assert not world.dials


def test_request_does_not_go_again_after_an_interim_response(world: World) -> None:
    client, server = kept_alive(world)
    server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    client.take()
    server.fin()
    assert status(client.take()) == 502


def test_pipelined_requests_go_on_after_a_failure(world: World) -> None:
    client, server = kept_alive(world, post(b"ab") + GET)
    server.fin()
    fresh = world.dialled()
    fresh.accept()
    assert fresh.take() == GET_SENT
    fresh.send(HELLO)
    answers = client.take()
    assert answers.startswith(b"HTTP/1.1 502 ")
    assert answers.endswith(HELLO_GOT)


# ---- broken responses are never made to look complete ----


@pytest.mark.parametrize("reset", [False, True])
def test_response_that_lacks_bytes_is_cut_short(world: World, reset: bool) -> None:
    client, server = exchange(world)
    server.send(HELLO[:-2])
    server.rst() if reset else server.fin()
    assert client.take() == HELLO_GOT[:-2]
    assert client.ended


@pytest.mark.parametrize("reset", [False, True])
def test_response_that_lacks_chunks_is_cut_short(world: World, reset: bool) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    server.rst() if reset else server.fin()
    assert client.take().endswith(b"5\r\nhello\r\n")
    assert client.ended


def test_malformed_chunks_of_a_response_cut_it_short(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n")
    assert client.take().endswith(b"5\r\nhello")
    assert client.ended
    assert server.closed


def test_response_until_close_that_breaks_resets_the_client(world: World) -> None:
    client, server = exchange(world)
    server.send(b"HTTP/1.1 200 OK\r\n\r\npart")
    server.rst()
    assert client.reset


def test_bare_data_of_broken_chunks_resets_the_client(world: World) -> None:
    client, server = exchange(world, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    server.fin()
    assert client.reset


def test_upstream_that_closes_without_an_answer_is_a_bad_gateway(moving: bool) -> None:
    world = World(web(retries=0), moving=moving)
    client, server = exchange(world)
    server.fin()
    assert status(client.take()) == 502
    assert not client.ended
    assert in_flight(world) == 0


def test_idle_upstream_that_closes_leaves_the_pool(world: World) -> None:
    client, server = exchange(world)
    server.send(HELLO)
    server.fin()
    assert server.closed
    client.send(GET)
    world.dialled().accept()


# ---- clients that go ----


def test_client_reset_ends_the_upstream(world: World) -> None:
    client, server = exchange(world)
    client.rst()
    assert server.closed
    assert world.proxy.values() == {}
    assert in_flight(world) == 0


def test_client_that_half_closes_gets_its_responses(world: World) -> None:
    client, server = exchange(world, GET + GET)
    client.fin()
    server.send(HELLO)
    assert server.take() == GET_SENT
    server.send(HELLO)
    answers = client.take()
    assert answers.startswith(HELLO_GOT)
    assert b"Connection: close" in answers
    assert client.closed
    assert not server.ended


def test_client_that_half_closes_within_a_head(world: World) -> None:
    client = world.connect("web")
    client.send(GET[:10])
    client.fin()
    assert client.closed
    assert client.take() == b""


def test_client_that_half_closes_within_a_body(world: World) -> None:
    client, server = exchange(world, post(b"ab", length=4))
    client.fin()
    assert client.closed
    assert server.closed
    assert server.take() == b""
    assert world.proxy.values() == {}


def test_client_that_half_closes_within_a_pipelined_head(world: World) -> None:
    client, server = exchange(world, GET + GET[:10])
    client.fin()
    server.send(HELLO)
    assert client.take() == HELLO_GOT
    assert client.closed


def test_client_that_half_closes_while_its_upload_waits_for_the_upstream(world: World) -> None:
    client = world.connect("web")
    client.send(post(b"ab", length=4))
    client.fin()
    server = world.dialled()
    server.accept()
    assert client.closed
    assert server.closed


def test_idle_client_that_closes(world: World) -> None:
    client, server = exchange(world)
    server.send(HELLO)
    client.fin()
    assert client.closed
    assert not server.ended


def test_slow_client_that_half_closes_gets_all_of_it(world: World) -> None:
    client, server = exchange(world)
    client.accept_bytes(10)
    server.send(HELLO)
    client.fin()
    client.accept_bytes(None)
    assert client.take() == HELLO_GOT
    assert client.closed
