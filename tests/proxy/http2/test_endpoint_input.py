"""Fuzzing: whatever a server sends, it ends its own connection at most, and its requests; nothing else breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http2 import frame
from tests.proxy.damage import damaged, feed
from tests.proxy.http1.scene import status
from tests.proxy.http2.backend import OK, Backend, Site, behind
from tests.proxy.http2.browser import Browser
from tests.proxy.http2.test_any_input import FRAMES
from tests.proxy.http2.test_tunnels import KEY, UPGRADE

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH = (b"content-length", b"5")


def heads(stream: int, *fields: tuple[bytes, bytes], end: bool = False) -> bytes:
    """Without a table, so that each stands for itself."""
    block: bytes = b"".join(hpack.Encoder().encode([field], huffman=False) for field in fields)
    return frame.headers(block, stream, end=end, most=16384)


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    return frame.frame(frame.DATA, frame.END_STREAM if end else 0, stream, body)


def sensible() -> list[bytes]:
    """What servers say, to five requests of every kind."""
    found = [frame.SETTINGS_ACK, frame.ping(b"12345678"), frame.goaway(2**31 - 1, 0), frame.goaway(3, 0)]
    found += [frame.settings([(3, 2)]), frame.settings([(4, 10)]), frame.settings([(8, 1)]), frame.window_update(0, 9)]
    found.append(frame.frame(frame.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"))
    for stream in (1, 3, 5, 7, 9):
        found += [heads(stream, OK), heads(stream, OK, LENGTH), heads(stream, OK, end=True)]
        found += [heads(stream, (b":status", b"103")), heads(stream, (b":status", b"204"), end=True)]
        found += [heads(stream, (b"x-sum", b"1"), end=True), data(stream, b"hello", end=True)]
        found += [data(stream, b"hello"), data(stream, b"", end=True), frame.rst_stream(stream, 7)]
        found += [frame.rst_stream(stream, 0), frame.window_update(stream, 9)]
    return found


SENSIBLE = sensible()
RANDOM = st.lists(FRAMES, max_size=12).map(b"".join)
SAID = damaged(SENSIBLE, 12) | RANDOM | st.lists(st.sampled_from(SENSIBLE), max_size=20).map(b"".join)


def five(world: Site) -> Backend:
    """Requests of every kind under way: GET, half a POST, a tunnel, and the streams of a browser."""
    world.ask()
    world.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    world.ask(UPGRADE % (KEY, b""))
    browser = Browser(world)
    browser.ask(b"/", b"POST", end=False)
    browser.ask(b"/", b"POST", (b"content-type", b"application/grpc"), (b"grpc-timeout", b"5S"), end=False)
    return world.server(connect=True)


def answered(world: Site) -> None:
    """A further client is served by a server that knows what to say."""
    client = world.ask()
    for _ in range(2):
        while world.dials:
            server = world.server()
            server.answer(server.latest)
    if b"HTTP/1.1" not in client.outbox:  # it went to the one that says anything
        world.wait(1000)
        return
    assert status(client.take()) in {200, 502, 503, 504}


def check(said: bytes, cut: int, *, moving: bool) -> None:
    world = Site(behind(shared_connections=2, retries=0), moving=moving)
    server = five(world)
    feed(server.socket, said, cut)
    assert len(server.socket.outbox) < 50_000
    answered(world)
    world.wait(400)
    world.leave()


@settings(max_examples=6)
@given(said=SAID, cut=st.integers(1, 400))
def test_any_frames(moving: bool, said: bytes, cut: int) -> None:
    check(said, cut, moving=moving)


@pytest.mark.all
@pytest.mark.timeout(1200)
@settings(max_examples=600)
@given(said=SAID, cut=st.integers(1, 400), moving=st.booleans())
def test_very_many_frames(said: bytes, cut: int, moving: bool) -> None:
    check(said, cut, moving=moving)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0", bytes(9), frame.PREFACE])
def test_a_server_that_speaks_something_else(said: bytes) -> None:
    world = Site(behind(retries=0))
    clients = [world.ask() for _ in range(2)]
    server = world.server(hello=False)
    server.socket.send(said)
    world.wait(31)
    server.socket.fin()
    codes: Sequence[int] = [status(client.take()) for client in clients]
    assert set(codes) <= {502, 504}
    world.leave()
