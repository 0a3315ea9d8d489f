"""Whatever comes, from either side: parsed, or refused with the documented error; no bystander lost, bounded memory.

`corpus` has streams that are worth keeping, as hex: what once failed, and one of each kind of breach.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.amqp.client_methods import CHANNEL as OF_CLIENTS
from proxy.amqp.server_methods import CHANNEL as OF_BROKERS
from proxy.connection import HIGH
from tests.kit.amqp import Reader
from tests.proxy.amqp.scene import Pair, captured, relayed
from tests.proxy.damage import damaged, feed
from tests.proxy.simulation import World

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.hex"))
FRAMES = [one.frame for one in captured()] + [
    struct.pack(">BHII", 1, channel, 4 + len(rest), word) + rest + b"\xce"
    for word in {*OF_CLIENTS, *OF_BROKERS}
    for channel in (0, 1)
    for rest in (b"", bytes(9), b"\0\0\xff")
]
CODES = {0, 320, 501, 502, 504, 505, 506, 530, 541}


def seeds() -> list[bytes]:
    return [bytes.fromhex(path.read_text()) for path in CORPUS]


INPUT = st.one_of(damaged(FRAMES, 6), st.binary(max_size=200), st.sampled_from(seeds()))


def check_bystander(pair: Pair) -> None:
    pair.client.declare(1, b"alive")
    pair.run()
    assert pair.client.methods[-1].method == (50, 11)


def ends(data: bytes) -> set[int]:
    """The codes that a client was told."""
    codes = {0}
    for frame in Reader().feed(data):
        if frame.method == (10, 50):
            codes.add(int(struct.unpack(">H", frame.arguments[:2])[0]))
    return codes


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUT, cut=st.integers(0, 100), moves=st.booleans(), opened=st.booleans(), quiet=st.booleans())
@example(data=b"\x01\0\x01\0\0\0\x08\0\x3c\0\x28\0\0\0\0\xce", cut=9, moves=True, opened=True, quiet=True)
def test_any_input_of_a_client(data: bytes, cut: int, moves: bool, opened: bool, quiet: bool) -> None:
    world = World(relayed(listener={"handover": "quiet" if quiet else "value"}), moving=moves and not quiet)
    bystander = Pair(world)
    bystander.open(1)
    pair = Pair(world)
    if opened:
        pair.open(1)
    feed(pair.near, data, cut)
    if quiet:
        world.move()
        world.tick()
    assert ends(pair.near.take()) <= CODES
    check_bystander(bystander)
    world.wait(200)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=INPUT, cut=st.integers(0, 100), moves=st.booleans(), opened=st.booleans(), quiet=st.booleans())
def test_any_input_of_a_broker(data: bytes, cut: int, moves: bool, opened: bool, quiet: bool) -> None:
    world = World(relayed(listener={"handover": "quiet" if quiet else "value"}), moving=moves and not quiet)
    bystander = Pair(world)
    bystander.open(1)
    pair = Pair(world)
    if opened:
        pair.open(1)
    feed(pair.far, data, cut)
    if quiet:
        world.move()
        world.tick()
    check_bystander(bystander)
    world.wait(200)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus(path: Path) -> None:
    data = bytes.fromhex(path.read_text())
    for opened in (False, True):
        world = World(relayed(), moving=True)
        pair = Pair(world)
        if opened:
            pair.open(1)
        feed(pair.near, data, len(data) // 2)
        feed(pair.far, data, len(data) // 2)
        world.wait(200)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 0xFFFFFFFF), kind=st.sampled_from([1, 2, 3, 8]), far=st.booleans())
def test_any_stated_length_is_bounded_in_memory(length: int, kind: int, far: bool) -> None:
    world = World(relayed(listener={"max_frame": 1 << 17}))
    pair = Pair(world)
    pair.open(1)
    socket = pair.far if far else pair.near
    socket.send(struct.pack(">BHI", kind, 5, length))
    for _ in range(20):
        if socket.closed:
            break
        socket.send(bytes(65536))
        values: list[Any] = list(world.proxy.values().values())
        held = sum(len(one.inbox) + len(one.outbox) for one in values)
        assert held < (1 << 17) + 2 * HIGH


def test_what_is_known_of_a_client_is_bounded() -> None:
    world = World(relayed(listener={"max_channels": 3, "max_consumers": 50}))
    pair = Pair(world)
    pair.open(1)
    pair.session.silent = True
    for number in range(60):
        pair.client.consume(1, b"q" * 255, b"%d" % number)
        pair.client.declare(1, b"e%d" % number, 4 | 8)
    pair.run()
    assert pair.client.code() == 506
    (client,) = [one for one in world.proxy.connections() if one["kind"] == "amqp.downstream"]
    assert client["consumers"] <= 50


def test_requests_without_an_answer_are_bounded() -> None:
    world = World(relayed())
    pair = Pair(world)
    pair.open(1)
    pair.near.send(b"\x01\0\x01\0\0\0\x0b\0\x3c\0\x0a\0\0\0\0\0\x01\0\xce" * 8193)
    pair.run()
    assert pair.client.code() == 506
