"""Windows of endpoints and of clients: who is slow slows nobody else, and nothing grows without bound."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from proxy.connection import HIGH
from proxy.http2 import frame
from proxy.http2.upstream import Http2Upstream
from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Site, behind
from tests.proxy.http2.browser import Browser, Headers

LONG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n%b\r\n" % ID


@pytest.fixture
def world(site: Callable[..., Site]) -> Site:
    return site()


def queued(world: Site) -> int:
    """Bytes that wait for the windows of endpoints."""
    upstreams = [one for one in world.proxy.values().values() if isinstance(one, Http2Upstream)]
    return sum(one.requests.session.queued + len(one.outbox) for one in upstreams)


def test_a_shut_window_stays_shut_whatever_the_other_direction_does(world: Site) -> None:
    client = world.ask(LONG)
    server = world.server(greedy=False)
    server.head(1, OK, (b"content-length", b"10000000"))
    client.accept_bytes(0)
    most = 0
    for _ in range(5):  # the response is paused, and resumed
        if not client.inbox:
            client.send(b"x" * HIGH)
        while (size := server.room(1)) and size > 50_000:
            server.say(1, b"y" * min(size, 16384))
        client.take()
        client.accept_bytes(300_000)
        most = max(most, queued(world))
    assert most <= 3 * HIGH


@pytest.mark.parametrize("how", ["fin", "reset", "stream reset", "broken"])
@pytest.mark.parametrize("length", [((b"content-length", b"100000"),), ()])
def test_a_whole_response_outlives_its_connection(world: Site, how: str, length: Headers) -> None:
    """A slow client has not taken all of it by then. By NO_ERROR a server says that it needs no more of a request."""
    client = world.ask(LONG)
    client.accept_bytes(100)
    server = world.server()
    server.head(1, OK, *length)
    server.say(1, b"x" * 100_000, end=True)
    if how == "fin":
        server.socket.fin()
    elif how == "reset":
        server.socket.rst()
    else:
        server.socket.send(frame.rst_stream(1, 0) if how == "stream reset" else b"\0\0\1\x06\0\0\0\0\0?")
    client.accept_bytes(None)
    head, _, body = client.take().partition(b"\r\n\r\n")
    if not length:
        assert body.endswith(b"\r\n0\r\n\r\n")
    assert body.count(b"x") == 100_000
    assert head.startswith(b"HTTP/1.1 200 OK")


def test_a_window_that_stays_shut_pauses_its_client_and_no_other(world: Site) -> None:
    first, browser = world.ask(LONG), Browser(world)
    slow, fast = (browser.ask(b"/", b"POST", end=False) for _ in range(2))
    server = world.server(greedy=False)
    server.widen(1_000_000)
    sent = 0
    for _ in range(20):
        if not first.inbox:
            first.send(b"x" * HIGH)
        size = min(browser.room(slow), 16384)
        if size:
            browser.say(slow, b"y" * size)
            sent += size
    assert first.inbox, "it is not read any more"
    assert browser.room(slow) == 0
    assert sent < 65_535 + 2 * 131_072
    assert queued(world) < 6 * HIGH
    server.widen(1_000_000, 5)
    for _ in range(20):
        browser.say(fast, b"z" * 16384)
    browser.say(fast, b"", end=True)
    assert (len(server.asked(5).body), server.asked(5).ended) == (20 * 16384, True)
    for _ in range(4):
        server.widen(200_000, 1)
        server.widen(200_000, 3)
        browser.listen()
    assert not first.inbox
    assert len(server.asked(3).body) == sent
    assert browser.room(slow) > 0


def test_a_shut_window_of_the_connection_pauses_all_until_it_opens(world: Site) -> None:
    clients = [world.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n%b\r\n" % ID) for _ in range(3)]
    server = world.server(greedy=False)
    for stream in (1, 3, 5):
        server.widen(200_000, stream)
    for client in clients:
        client.send(b"x" * 100_000)
    assert sum(len(server.asked(stream).body) for stream in (1, 3, 5)) == 65_535
    server.widen(300_000)
    assert [len(server.asked(stream).body) for stream in (1, 3, 5)] == [100_000] * 3
    assert all(server.asked(stream).ended for stream in (1, 3, 5))


def test_a_client_that_does_not_read_stops_its_stream_alone(world: Site) -> None:
    slow, browser = world.ask(), Browser(world, greedy=False)
    held = browser.ask()
    other = world.ask()
    server = world.server()
    slow.accept_bytes(0)
    sent = {1: 0, 3: 0}
    for stream in sent:
        server.head(stream, OK, (b"content-length", b"1000000"))
        while (size := min(server.room(stream), 16384)) > 0:
            server.say(stream, b"x" * size)
            sent[stream] += size
    browser.listen()
    assert sum(sent.values()) < 2 * (131_072 + 2 * HIGH) + 65_535
    server.answer(5, b"z" * 100_000)
    assert other.take().count(b"z") == 100_000
    slow.accept_bytes(None)
    assert slow.take().count(b"x") == sent[1]
    browser.connection.increment_flow_control_window(1_000_000, held)
    browser.connection.increment_flow_control_window(1_000_000)
    browser.flush()
    assert len(browser.heard(held).body) == sent[3]
    assert server.room(1) > 0
    assert server.room(3) > 0


def test_a_server_that_does_not_read_its_socket_pauses_its_clients(world: Site) -> None:
    client = world.ask(LONG)
    server = world.server()
    server.widen(10_000_000)
    server.widen(10_000_000, 1)
    server.socket.accept_bytes(100)
    for _ in range(20):
        if not client.inbox:
            client.send(b"x" * HIGH)
    assert client.inbox
    assert queued(world) < 4 * HIGH
    server.socket.accept_bytes(None)
    assert not client.inbox
    assert len(server.asked(1).body) % HIGH == 0


def test_what_a_client_that_went_had_not_read_is_given_back(world: Site) -> None:
    """Else the window of the connection would shrink with each."""
    server = None
    for number in range(8):
        client = world.ask()
        server = server or world.server()
        stream = server.latest
        client.accept_bytes(0)
        server.head(stream, OK)
        while (size := min(server.room(stream), 16384)) > 0:
            server.say(stream, b"x" * size)
        client.rst()
        assert server.asked(stream).reset == 8
        assert number < 8
    assert server is not None
    assert server.connection.outbound_flow_control_window > 200_000


def test_a_server_that_is_asked_and_never_reads_is_given_up() -> None:
    world = Site(behind())
    world.ask()
    server = world.server()
    server.answer(1)
    server.socket.accept_bytes(0)
    for _ in range(300):
        client = world.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: %b\r\n\r\n" % (b"~" * 30_000))
        if server.socket.closed:
            break
        client.rst()
    assert server.socket.closed
    world.leave()


def test_clients_that_do_not_read_leave_the_others_their_window(world: Site) -> None:
    """All of them share the connection."""
    clients = [world.ask()]
    server = world.server(greedy=False)
    clients += [world.ask() for _ in range(5)]
    for stream, client in zip(server.open, clients, strict=True):
        client.accept_bytes(0)
        server.head(stream, OK)
        while size := min(server.room(stream), 16384):
            server.say(stream, b"x" * size)
    other = world.ask()
    server.answer(server.latest, b"hello", (b"content-length", b"5"))
    assert other.take().endswith(b"hello")


def test_pieces_of_one_byte_are_not_copied_again_with_each(world: Site) -> None:
    """Else 1 MB of them from either side would keep everybody waiting for seconds."""

    def spent(part: int) -> float:
        browser = Browser(world)
        stream = browser.ask(b"/", b"POST", end=False)
        piece = frame.HEAD.pack(0, 1, frame.DATA, 0, stream) + b"x"
        began = process_time()
        browser.socket.send(piece * (browser.room(stream) // part))
        return process_time() - began

    few = min(spent(8) for _ in range(3))
    whole = spent(1)
    server = world.server()
    assert [server.asked(stream).body.count(b"x") for stream in (5, 7)] == [16384, 131072]
    assert whole < 16 * few, "8 times as many: 3 times is usual, and a copy of all for each would take 64"
