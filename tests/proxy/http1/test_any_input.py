"""Whatever comes: it is parsed, or refused with a documented answer, and memory stays bounded."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.http1.download import MAX_HEAD
from proxy.http1.downstream import Http1Downstream
from proxy.http1.upstream import Http1Upstream
from tests.proxy.http1.cases import BAD_CHUNKS, BAD_REQUESTS, BAD_RESPONSES, GOOD_REQUESTS
from tests.proxy.http1.scene import GET, HELLO, exchange, post, web
from tests.proxy.simulation import World

pytestmark = pytest.mark.usefixtures("either_parser")

SLOW = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
"""Not checked: a world takes its time, and `either_parser` is for all examples of a test."""
ANSWERS = {400, 404, 413, 414, 417, 431, 501, 505}
ROOM = 4 * 65536
"""More than a connection may ever hold: outbox, unparsed bytes, a request kept for another attempt."""

FRAGMENTS = st.sampled_from([
    *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b"Host: a", b"Host:"),
    *(b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"identity", b"Connection: ", b"close", b"Upgrade: h"),
    *(b"Expect: 100-continue", b"0", b"5", b"ffff", b"hello", b"0\r\n\r\n", b"\r\n\r\n", b";a=b", b"\x80", b"\x7f"),
])  # fmt: skip
NOISE = st.lists(FRAGMENTS | st.binary(max_size=5), max_size=40).map(b"".join)
BEGINNINGS = [b"", b"GET / HTTP/1.1\r\n", GET, post(b"", length=10**9)]
ANSWERED = [b"", HELLO[:-8], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 103 x\r\n\r\n"]
STATED = [case.request for case in [*BAD_REQUESTS, *BAD_CHUNKS] if len(case.request) < 1000]
STATED += [case.request for case in GOOD_REQUESTS]


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A message of the table with some bytes replaced, left out or doubled."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 4)))
        data = data[:start] + draw(NOISE) + data[draw(st.sampled_from([start, end])) :]
    return data


def held_memory(world: World) -> int:
    held = 0
    for value in world.proxy.values().values():
        held = max(held, len(value.save(world.kernel.clock())))
    return held


def statuses(stream: bytes) -> list[int]:
    """The statuses of a stream of responses that all state their length."""
    found = []
    while stream:
        head, end, stream = stream.partition(b"\r\n\r\n")
        assert end
        lines = head.split(b"\r\n")
        found.append(int(lines[0].split(b" ")[1]))
        length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
        assert len(stream) >= length
        stream = stream[length:]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(data=st.lists(NOISE | mutated(STATED), min_size=1, max_size=4), cut=st.integers(1, 50))
def test_any_client_gets_answers(data: list[bytes], cut: int) -> None:
    """Every answer is one of ours or the upstream's, whole, and after a refusal the connection ends."""
    world = World(web())
    client = world.connect("web")
    stream = b"".join(data)
    for start in range(0, len(stream), cut):
        client.send(stream[start : start + cut])
        while world.dials:
            world.dialled().accept()
    answers = statuses(client.take().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    assert set(answers) <= ANSWERS
    refused = [answer for answer in answers if answer != 404]
    assert len(refused) <= 1
    if refused and refused[0] != 404:
        assert client.ended
    assert held_memory(world) < ROOM
    client.rst()
    assert not any(isinstance(value, Http1Downstream) for value in world.proxy.values().values())


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(data=NOISE | mutated([case.response for case in BAD_RESPONSES] + [HELLO, HELLO[:-5]]), cut=st.integers(1, 50))
def test_any_upstream_costs_one_exchange_at_most(data: bytes, cut: int) -> None:
    world = World(web())
    client, server = exchange(world)
    for start in range(0, len(data[:2000]), cut):
        if not server.closed:
            server.send(data[start : start + cut])
    assert held_memory(world) < ROOM
    if not server.closed:
        server.fin()
    while world.dials:
        fresh = world.dialled()
        fresh.accept()
        fresh.fin()
    got = client.take()
    assert client.ended or client.reset or got.startswith((b"HTTP/1.1 502 ", b"HTTP/1."))
    client.rst()
    assert world.proxy.values() == {}


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(unit=NOISE.filter(bool) | mutated(STATED), prefix=st.sampled_from(BEGINNINGS))
def test_memory_is_bounded_however_much_a_client_sends(unit: bytes, prefix: bytes) -> None:
    world = World(web())
    client = world.connect("web")
    client.accept_bytes(0)
    client.send(prefix + (unit or b"x") * (2 * 10**6 // (len(unit) or 1)))
    for _ in range(3):
        while world.dials:
            server = world.dialled()
            server.accept()
            server.accept_bytes(0)
        world.wait(0.01)
    assert held_memory(world) < ROOM


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(unit=NOISE.filter(bool) | st.just(b"HTTP/1.1 103 x\r\n\r\n"), prefix=st.sampled_from(ANSWERED))
def test_memory_is_bounded_however_much_an_upstream_sends(unit: bytes, prefix: bytes) -> None:
    world = World(web())
    client, server = exchange(world)
    client.accept_bytes(0)
    server.send(prefix + unit * (10**6 // len(unit)))
    assert held_memory(world) < ROOM + MAX_HEAD
    assert sum(isinstance(value, Http1Upstream) for value in world.proxy.values().values()) <= 1
