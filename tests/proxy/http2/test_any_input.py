"""Fuzzing: whatever comes, it is taken, or refused with a documented code, and memory stays bounded.

Inputs are frames of all kinds with any content, cut anywhere and damaged. The corpus is `corpus.txt`: what once went
another way than it does now, and one sample of each kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http2 import frame
from proxy.http2.errors import NAMES
from tests.proxy.http2.scene import GET, OK, POST, Stage, client, server

if TYPE_CHECKING:
    from collections.abc import Sequence

CORPUS = {
    name: bytes.fromhex(text)
    for name, text in (
        line.split() for line in Path(__file__).with_name("corpus.txt").read_text().splitlines() if line[:1] != "#"
    )
}
KINDS = st.integers(0, 9) | st.sampled_from([0, 0, 1, 1, 1, 8, 16, 200])
STREAMS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 7, 2**31 - 1])
BLOCKS = st.sampled_from(
    [
        b"\x82\x86\x84\x41\x01a",
        b"\x83\x86\x84\x41\x01a\x0f\x0d\x01\x35",
        b"\x88",
        b"\x48\x03103",
        b"\x40\x01x\x01y",
        b"\xbe",
        b"\x20",
        b"",
    ]
) | st.binary(max_size=40)
PAYLOADS = BLOCKS | st.sampled_from(
    [bytes(4), bytes(5), bytes(6), bytes(8), b"\0\4\0\1\0\0", b"\0\1\0\0\0\0", b"x" * 99]
)
FRAMES = st.builds(frame.frame, KINDS, st.sampled_from([0, 1, 4, 5, 8, 12, 32, 37, 255]), STREAMS, PAYLOADS)
DAMAGE = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)


def ready(kind: int) -> Stage:
    """A server with an open and a half-closed stream, or a client with two of its own."""
    if kind:
        stage = server(eager=False)
        stage.say(stage.heads(1, POST, end=False), stage.heads(3, GET))
        stage.session.send_headers(1, OK, False)
        stage.session.send_body(1, b"x" * 70000, False)
    else:
        stage = client(eager=False)
        stage.call(POST, end=False)
        stage.call(GET)
        stage.session.send_body(1, b"x" * 70000, False)
    stage.session.take()
    return stage


def feed(stage: Stage, data: bytes, cut: int, *, moves: bool) -> None:
    """All of it, and what has to hold after each piece."""
    for at in range(0, len(data), cut):
        stage.say(data[at : at + cut])
        session = stage.session
        out = session.take()
        assert len(out) < 70000 + 200 * cut
        assert len(session.inbox) <= 9 + session.ours.frame
        assert len(session.block) <= 2 * session.ours.header_list
        assert len(session.streams) <= session.ours.streams
        assert session.decoder.filled <= 4096
        assert session.encoder.filled <= 4096
        assert 0 <= sum(one.held for one in session.streams.values()) + session.owed <= session.ours.connection
        assert session.queued == sum(len(one.queue) for one in session.streams.values())
        if session.dead:
            last = [call for call in stage.calls if call[0] == "broken"]
            assert len(last) == 1
            assert last[0][1] in NAMES
            assert last == stage.calls[-1:]
            return
        if moves:
            stage.move()


@given(st.booleans(), st.lists(FRAMES, max_size=20), DAMAGE, st.integers(1, 400), st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_frames(kind: int, frames: Sequence[bytes], damage: list[tuple[int, int]], cut: int, moves: bool) -> None:
    data = bytearray(b"".join(frames))
    for at, octet in damage:
        if at < len(data):
            data[at] = octet
    feed(ready(kind), bytes(data), cut, moves=moves)


@given(st.booleans(), st.binary(max_size=300), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_any_bytes(kind: int, data: bytes, cut: int) -> None:
    feed(ready(kind), data, cut, moves=True)
    fresh = server(fresh=True)
    fresh.say(data)
    assert fresh.session.dead or frame.PREFACE.startswith(data[:24])


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS.keys())
@pytest.mark.parametrize("kind", [0, 1], ids=["client", "server"])
def test_corpus(kind: int, data: bytes) -> None:
    for cut in (1, 13, len(data) + 1):
        feed(ready(kind), data, cut, moves=True)


@pytest.mark.all
@given(st.booleans(), st.lists(FRAMES, max_size=40), DAMAGE, st.integers(1, 1000), st.booleans())
@settings(max_examples=2000, deadline=None)
def test_very_many_frames(
    kind: int, frames: Sequence[bytes], damage: list[tuple[int, int]], cut: int, moves: bool
) -> None:
    data = bytearray(b"".join(frames))
    for at, octet in damage:
        if at < len(data):
            data[at] = octet
    feed(ready(kind), bytes(data), cut, moves=moves)
