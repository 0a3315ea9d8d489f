"""Long streams pass by reference: what both sides see, and what is counted, is the same as if they had been read."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import errno
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.bulk import PORTIONS, SPLICED
from proxy.config.loader import loads
from proxy.connection import HIGH
from tests.proxy.http1.scene import VIA
from tests.proxy.metrics.scene import Counted
from tests.proxy.simulated_kernel import SimulatedCalls
from tests.proxy.simulation import Socket, World

LONG = bytes(range(251)) * 4000  # a million bytes, and no two places alike within a page
GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_GOT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + VIA + b"\r\nok"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(LONG)
LOG = "/log"

TEXT = """\
name: edge
listeners:
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app, access_log: {{to: {log}, template: '{template}'}}}}
  - {{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app, {filters}
     access_log: {{to: {log}, template: '{template}'}}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000], idle_timeout: 60s}}
  - {{name: shadow, endpoints: [127.0.0.1:9100]}}
"""


def edge(*, moving: bool, filters: str = "") -> Counted:
    text = TEXT.format(log=LOG, template="{received} {sent} {outcome}", filters=filters)
    return Counted(loads(text).config, moving=moving)


@pytest.fixture
def world(moving: bool) -> Counted:
    return edge(moving=moving)


def calls(world: World) -> SimulatedCalls:
    return cast("SimulatedCalls", world.kernel.calls)


def spliced(world: Counted) -> int:
    """By all generations."""
    return sum(cast("SimulatedCalls", one.reactor.kernel.calls).spliced for one in world.generations)


def relay(world: World) -> tuple[Socket, Socket]:
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    return client, server


def asked(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    return client, server


def of(world: World, socket: Socket) -> Any:
    """The connection of the proxy that has this socket."""
    fd = next(fd for fd, one in world.kernel.open.items() if one is socket)
    return next(one for one in world.proxy.reactor.connections.values() if one.fd == fd)


# ---- relays ----


def test_long_stream_arrives_whole_both_ways(world: Counted) -> None:
    client, server = relay(world)
    server.send(LONG)
    assert client.take() == LONG
    client.send(LONG)
    assert server.take() == LONG
    assert spliced(world) > len(LONG)


def test_short_messages_are_read(world: Counted) -> None:
    client, server = relay(world)
    for _ in range(50):
        client.send(LONG[:16384])
        server.send(LONG[:30000])
    assert spliced(world) == 0
    assert server.take() == 50 * LONG[:16384]
    assert client.take() == 50 * LONG[:30000]


def test_stream_that_ebbs_away_is_read_again() -> None:
    world = edge(moving=False)
    client, server = relay(world)
    server.send(LONG)
    server.send(b"little")
    before = spliced(world)
    server.send(b"by little")
    assert client.take() == LONG + b"little" + b"by little"
    assert spliced(world) == before


def test_slow_reader_gets_all_and_little_waits_for_it(world: Counted) -> None:
    client, server = relay(world)
    client.accept_bytes(0)
    server.send(LONG)
    got = b""
    for room in (1, 40_000, 200_000, 0, 7, SPLICED, SPLICED + 1, 10_000):
        client.accept_bytes(room)
        got += client.take()
        assert len(of(world, client).outbox) <= SPLICED + HIGH
    client.accept_bytes(None)
    assert got + client.take() == LONG


def test_source_is_not_read_while_the_target_has_no_room() -> None:
    world = edge(moving=False)
    client, server = relay(world)
    client.accept_bytes(100_000)
    server.send(LONG)
    server.send(LONG)
    assert of(world, server).paused
    assert len(server.inbox) > len(LONG)


@pytest.mark.parametrize("shortage", [1, SPLICED // 2, SPLICED])
def test_room_that_comes_within_the_same_batch_is_used(shortage: int) -> None:
    """The source was paused and is resumed before epoll is told: what it still has must not be forgotten."""
    world = edge(moving=False)
    client, server = relay(world)
    calls(world).shortage = shortage
    server.send(LONG)
    assert client.take() == LONG


def test_others_have_their_turn_in_between() -> None:
    world = edge(moving=False)
    client, server = relay(world)
    server.send(LONG[: 16384 + 49152 + 1])  # enough to be bulk
    server.inbox += LONG * (1 + (PORTIONS + 1) * SPLICED // len(LONG))
    before = len(client.outbox)
    of(world, server).bulk = True
    of(world, server).readable(world.kernel.calls, world.kernel.clock())
    assert len(client.outbox) - before == PORTIONS * SPLICED
    world.settle()
    assert not server.inbox


def test_fin_comes_behind_all_bytes(world: Counted) -> None:
    client, server = relay(world)
    server.inbox += LONG
    server.fin()
    assert client.take() == LONG
    assert client.ended
    client.send(LONG)
    assert server.take() == LONG
    client.fin()
    assert server.ended
    assert client.closed


def test_client_that_said_it_all_gets_its_long_answer(world: Counted) -> None:
    client, server = relay(world)
    client.send(b"everything, please")
    client.fin()
    server.send(LONG)
    assert client.take() == LONG
    assert spliced(world) > 0


def test_reset_is_passed_on(world: Counted) -> None:
    client, server = relay(world)
    client.accept_bytes(200_000)
    server.send(LONG)
    server.rst()
    client.accept_bytes(None)
    assert client.reset


def test_reset_of_a_source_that_is_bulk_is_no_end(world: Counted) -> None:
    client, server = relay(world)
    server.inbox += LONG
    server.error = errno.ECONNRESET
    world.settle()
    assert client.reset


def test_target_that_is_gone_ends_the_pair(world: Counted) -> None:
    client, server = relay(world)
    server.inbox += LONG
    client.rst()
    assert server.reset


def test_every_byte_is_counted_once(world: Counted) -> None:
    client, server = relay(world)
    client.accept_bytes(100_000)
    server.send(LONG)
    client.accept_bytes(None)
    client.send(LONG[:300_000])
    server.fin()
    client.fin()
    assert world.only("_bytes") == {
        "downstream_received_bytes raw": 300_000,
        "downstream_sent_bytes raw": len(LONG),
        "upstream_received_bytes app 127.0.0.1:9000": len(LONG),
        "upstream_sent_bytes app 127.0.0.1:9000": 300_000,
    }
    assert world.lines[LOG] == [f"300000 {len(LONG)} ok"]


def test_stream_under_way_is_not_idle(world: Counted) -> None:
    client, server = relay(world)
    for _ in range(5):
        server.send(LONG)
        world.wait(50)
    assert not client.closed
    world.wait(61)
    assert client.closed


def test_one_that_is_silent_ends_though_it_was_bulk(world: Counted) -> None:
    client, server = relay(world)
    client.accept_bytes(200_000)
    server.send(LONG)
    world.wait(61)
    assert client.closed
    assert server.closed


@settings(max_examples=60, deadline=None)
@given(
    moving=st.booleans(),
    shortage=st.sampled_from([0, 0, 1, 70_000, SPLICED]),
    steps=st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)), max_size=8),
)
def test_any_pace_gives_the_same_bytes(moving: bool, shortage: int, steps: list[tuple[int, int]]) -> None:
    world = edge(moving=moving)
    client, server = relay(world)
    sent, got = b"", b""
    for size, room in steps:
        calls(world).shortage = shortage
        client.accept_bytes(room)
        sent += LONG[:size]
        server.send(LONG[:size])
        got += client.take()
    client.accept_bytes(None)
    server.fin()
    assert got + client.take() == sent
    assert client.ended


# ---- bodies of HTTP/1.1 ----


def test_long_body_ends_where_it_says(world: Counted) -> None:
    client, server = asked(world)
    server.send(SIZED + b"\r\n" + LONG)
    assert client.take() == SIZED + VIA + b"\r\n" + LONG
    assert spliced(world) > 0
    client.send(GET)
    server.take()
    server.send(OK)
    assert client.take() == OK_GOT
    assert not world.dials
    assert world.lines[LOG] == [f"0 {len(LONG)} ok", "0 2 ok"]


def test_bytes_behind_a_long_body_reach_nobody(world: Counted) -> None:
    client, server = asked(world)
    server.send(SIZED + b"\r\n" + LONG + b"HTTP/1.1 200 OK\r\n")
    assert client.take() == SIZED + VIA + b"\r\n" + LONG
    assert server.closed


def test_long_body_that_breaks_off_is_not_made_to_look_whole(world: Counted) -> None:
    client, server = asked(world)
    server.inbox += SIZED + b"\r\n" + LONG[:-1]
    server.fin()
    assert len(client.take()) == len(SIZED + VIA + b"\r\n" + LONG) - 1
    assert client.ended
    assert world.lines[LOG] == [f"0 {len(LONG) - 1} cut"]


def test_long_body_until_the_end_of_the_connection(world: Counted) -> None:
    client, server = asked(world)
    server.send(b"HTTP/1.1 200 OK\r\n\r\n" + LONG)
    server.fin()
    assert client.take() == b"HTTP/1.1 200 OK\r\n" + VIA + b"Connection: close\r\n\r\n" + LONG
    assert client.ended
    assert spliced(world) > 0


@pytest.mark.parametrize("size", [1000, 32768, 500_000])
def test_chunks_of_any_size_stay_as_they_are(world: Counted, size: int) -> None:
    client, server = asked(world)
    chunks = [LONG[at : at + size] for at in range(0, len(LONG), size)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    server.send(head + b"\r\n" + body)
    assert client.take() == head + VIA + b"\r\n" + body
    assert (spliced(world) > 0) is (size > SPLICED)
    assert world.lines[LOG] == [f"0 {len(body)} ok"]


def test_long_upload_ends_where_it_says(world: Counted) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX-Request-Id: 7\r\n\r\n" % len(LONG)
    client, server = asked(world, head)
    client.send(LONG + GET)
    assert server.take().endswith(b"\r\n\r\n" + LONG)
    assert spliced(world) > 0
    server.send(OK)
    assert b"GET / HTTP/1.1\r\n" in server.take()
    server.send(OK)
    assert client.take() == OK_GOT * 2
    assert world.lines[LOG] == [f"{len(LONG)} 2 ok", "0 2 ok"]


def test_upload_in_a_long_chunk(world: Counted) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Request-Id: 7\r\n\r\n"
    client, server = asked(world, head)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LONG), LONG)
    client.send(body)
    assert server.take().endswith(b"\r\n\r\n" + body)
    assert spliced(world) > 0
    server.send(OK)
    assert world.lines[LOG] == [f"{len(body)} 2 ok"]


def test_upload_that_a_mirror_gets_is_read() -> None:
    world = edge(moving=False, filters="filters: [{name: mirror, config: {cluster: shadow}}],")
    client = world.connect("web")
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LONG))
    dialled = {one.address.port: one for one in world.dials if one.address is not None}
    for server in dialled.values():
        server.accept()
    client.send(LONG)
    assert spliced(world) == 0
    assert dialled[9000].take().endswith(LONG)
    assert dialled[9100].take().endswith(LONG)


def test_tunnel_is_a_long_stream_too(world: Counted) -> None:
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    client, server = asked(world, b"GET / HTTP/1.1\r\nHost: a\r\n" + upgrade)
    server.send(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade)
    client.take()
    server.take()
    server.send(LONG)
    assert client.take() == LONG
    before = spliced(world)
    assert before > 0
    client.send(LONG)
    assert server.take() == LONG
    assert spliced(world) > before
    server.fin()
    client.fin()
    assert world.lines[LOG] == [f"{len(LONG)} {len(LONG)} ok"]


def test_slow_client_of_a_long_body_pauses_the_upstream(world: Counted) -> None:
    client, server = asked(world)
    client.accept_bytes(300_000)
    server.send(SIZED + b"\r\n" + LONG)
    assert of(world, server).paused
    assert len(of(world, client).outbox) <= SPLICED + HIGH
    client.accept_bytes(None)
    assert client.take() == SIZED + VIA + b"\r\n" + LONG
    client.send(GET)
    server.send(OK)
    assert client.take() == OK_GOT
