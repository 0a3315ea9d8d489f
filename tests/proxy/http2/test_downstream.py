"""Clients of HTTP/2 before servers of HTTP/1.1: playbooks, straight and with a handover after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proxy.http1.scene import GET, HELLO, HELLO_GOT, ID, web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

FORWARDED = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nVia: 2 hotswap\r\n\r\n"
SENT = b"GET / HTTP/1.1\r\nhost: a\r\n" + ID.lower().replace(b"x-request-id: ", b"x-request-id: ") + FORWARDED


@pytest.fixture
def world(moving: bool) -> World:
    return World(speaking(web()), moving=moving)


def asked(
    world: World, browser: Browser, path: bytes = b"/", method: bytes = b"GET", *, end: bool = True
) -> tuple[int, Socket]:
    """A request under way, and the server that got it."""
    stream = browser.ask(path, method, end=end)
    server = world.dialled()
    server.accept()
    return stream, server


def test_request_and_response_pass(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    assert server.take() == SENT
    server.send(HELLO)
    heard = browser.heard(stream)
    assert heard.headers == [(b":status", b"200"), (b"content-length", b"5"), (b"via", b"2 hotswap")]
    assert (heard.body, heard.ended, heard.reset) == (b"hello", True, None)


def test_streams_do_not_wait_for_each_other(world: World) -> None:
    browser = Browser(world)
    pairs = [asked(world, browser) for _ in range(5)]
    for number, (stream, server) in reversed(list(enumerate(pairs))):
        server.take()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        assert browser.heard(stream).body == b"%d" % number
    assert browser.goaways == []
    again = browser.ask()  # on one that is in the pool
    pairs[0][1].take()
    assert not world.dials
    assert not browser.heard(again).ended


def test_what_is_answered_in_one_batch_goes_by_one_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(world)
    pairs = [asked(world, browser) for _ in range(5)]
    writes: list[bytes] = []
    write = browser.socket.write

    def noted(data: bytes) -> int:
        writes.append(bytes(data))
        return write(data)

    monkeypatch.setattr(browser.socket, "write", noted)
    for _, server in pairs:
        server.take()
        server.inbox += HELLO
    world.settle()
    assert len(writes) == 1
    for stream, _ in pairs:
        assert (browser.heard(stream).body, browser.heard(stream).ended) == (b"hello", True)


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_a_client_may_go_in_the_moment_of_its_answer(world: World, end: str) -> None:
    first = Browser(world)
    _, server = asked(world, first)  # whose events come first, for it was there before the other client
    server.take()
    server.send(HELLO)
    browser = Browser(world)
    browser.ask()
    assert server.take() == SENT
    server.inbox += HELLO
    getattr(browser.socket, end)()
    assert browser.socket.closed
    stream = first.ask()
    assert server.take() == SENT, "it was kept"
    server.send(HELLO)
    assert first.heard(stream).body == b"hello"


def test_clients_of_http1_are_served_as_before(world: World) -> None:
    client = world.connect("web")
    for piece in (GET[:3], GET[3:]):
        client.send(piece)
    server = world.dialled()
    server.accept()
    server.send(HELLO)
    assert client.take() == HELLO_GOT


def test_a_preface_may_come_in_pieces(world: World) -> None:
    client = world.connect("web")
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
        client.send(bytes([byte]))
    assert client.take()[3:4] == b"\x04", "its settings"


def test_chunked_bodies_arrive_bare_with_their_trailers(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n")
    assert browser.heard(stream).body == b"abc"
    server.send(b"2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    heard = browser.heard(stream)
    assert (heard.body, heard.trailers, heard.ended) == (b"abcde", [(b"x-sum", b"5")], True)
    assert (b"transfer-encoding", b"chunked") not in heard.headers


def test_a_body_that_ends_with_the_connection(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nall of ")
    server.send(b"it")
    assert not browser.heard(stream).ended
    server.fin()
    assert (browser.heard(stream).body, browser.heard(stream).ended) == (b"all of it", True)
    assert not browser.socket.ended


def test_a_body_of_unknown_length_goes_in_chunks(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    assert b"transfer-encoding: chunked" in server.take().lower()
    browser.say(stream, b"hello")
    assert server.take() == b"5\r\nhello\r\n"
    browser.say(stream, b"!", end=True)
    assert server.take() == b"1\r\n!\r\n0\r\n\r\n"
    server.send(HELLO)
    assert browser.heard(stream).ended


def test_a_body_of_known_length_goes_as_it_is(world: World) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/", b"POST", (b"content-length", b"6"), end=False)
    browser.say(stream, b"abc")
    server = world.dialled()
    server.accept()
    assert server.take().endswith(b"\r\n\r\nabc")
    browser.say(stream, b"def", end=True)
    assert server.take() == b"def"


def test_trailers_of_a_request_pass(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    server.take()
    browser.connection.send_headers(stream, [(b"x-sum", b"9")], end_stream=True)
    browser.flush()
    assert server.take() == b"0\r\nx-sum: 9\r\n\r\n"


def test_crumbs_of_cookies_are_one_field(world: World) -> None:
    browser = Browser(world)
    browser.ask(b"/", b"GET", (b"cookie", b"a=1"), (b"cookie", b"b=2"))
    server = world.dialled()
    server.accept()
    assert b"cookie: a=1; b=2\r\n" in server.take()


def test_interim_responses_pass(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    server.send(HELLO)
    heard = browser.heard(stream)
    assert dict(heard.interim[0])[b":status"] == b"103"
    assert heard.status == 200


def test_a_head_has_no_body(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser, b"/", b"HEAD")
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    heard = browser.heard(stream)
    assert (heard.status, heard.body, heard.ended) == (200, b"", True)


# ---- what goes wrong ----


def test_what_no_route_takes_is_answered(world: World) -> None:
    browser = Browser(world)
    heard = browser.heard(browser.ask(b"/", authority=b"nobody"))
    assert (heard.status, heard.ended) == (404, True)


def test_a_server_that_is_not_there(world: World) -> None:
    browser = Browser(world)
    stream = browser.ask()
    world.dialled().refuse()
    heard = browser.heard(stream)
    assert (heard.status, heard.ended) == (503, True)


def test_a_response_that_breaks_off_is_no_whole_one(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
    server.fin()
    heard = browser.heard(stream)
    assert (heard.body, heard.ended, heard.reset) == (b"half", False, 2)
    assert browser.goaways == []


def test_a_client_that_resets_a_stream_frees_the_server(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    browser.connection.reset_stream(stream)
    browser.flush()
    assert server.ended
    assert world.proxy.in_flight() == 0


def test_a_client_that_goes_takes_its_requests_along(world: World) -> None:
    browser = Browser(world)
    servers = [asked(world, browser)[1] for _ in range(3)]
    browser.socket.fin()
    assert all(server.ended for server in servers)
    assert not world.proxy.reactor.hosted


def test_an_early_answer_ends_the_upload(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    browser.say(stream, b"some")
    server.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
    heard = browser.heard(stream)
    assert (heard.status, heard.body, heard.ended, heard.reset) == (413, b"no", True, None)
    world.wait(0.06)  # not at once: there are clients that would know nothing of the answer
    assert browser.heard(stream).reset == 0


def test_a_server_that_does_not_answer_in_time(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    world.wait(31)
    assert browser.heard(stream).status == 504
    assert server.ended


# ---- flow control ----


def test_a_slow_client_slows_the_server(world: World) -> None:
    browser = Browser(world, greedy=False)
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    sent = 0
    while not server.inbox and sent < 10_000_000:
        server.send(b"x" * 10_000)
        sent += 10_000
    assert sent < 1_000_000, "it is not read any more"
    assert len(browser.heard(stream).body) == 65535
    browser.connection.increment_flow_control_window(1_000_000, stream)
    browser.connection.increment_flow_control_window(1_000_000)
    browser.flush()
    assert len(browser.heard(stream).body) == sent
    assert not server.inbox


def test_a_client_that_does_not_read_slows_the_server(world: World) -> None:
    browser = Browser(world)
    browser.connection.increment_flow_control_window(10_000_000)
    stream, server = asked(world, browser)
    browser.connection.increment_flow_control_window(10_000_000, stream)
    browser.flush()
    browser.socket.accept_bytes(100)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
    sent = 0
    while not server.inbox and sent < 9_000_000:
        server.send(b"x" * 10_000)
        sent += 10_000
    assert sent < 1_000_000
    browser.socket.accept_bytes(None)
    assert len(browser.heard(stream).body) == sent


def test_a_client_that_asks_and_never_reads_is_given_up(world: World) -> None:
    browser, other = Browser(world), Browser(world)
    browser.socket.accept_bytes(100)
    answer = b"HTTP/1.1 204 No Content\r\nX-Long: %b\r\n\r\n" % (b"x" * 60_000)
    _, server = asked(world, browser)
    for _ in range(90):
        server.take()
        server.send(answer)
        if browser.socket.reset:
            break
        browser.ask()
    assert browser.socket.reset
    stream = other.ask()
    server.send(HELLO)
    assert other.heard(stream).ended


def test_a_slow_server_slows_the_client(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    server.take()
    server.accept_bytes(10)
    sent = 0
    while (size := min(browser.room(stream), 16384)) and sent < 4_000_000:
        browser.say(stream, b"x" * size)
        sent += size
    assert sent < 1_000_000, "its window is not given back"
    server.accept_bytes(None)
    browser.listen()
    assert browser.room(stream) > 0
    assert len(server.take()) >= sent


# ---- its end ----


def test_a_drain_lets_streams_end_and_takes_no_new_ones(world: World) -> None:
    browser = Browser(world)
    stream, server = asked(world, browser)
    world.proxy.drain(world.kernel.clock() + 30)
    world.tick()
    browser.listen()
    assert browser.goaways
    server.send(HELLO)
    assert browser.heard(stream).ended
    assert browser.socket.ended


def test_an_idle_connection_is_told_to_go(world: World) -> None:
    browser = Browser(world)
    _, server = asked(world, browser)
    server.send(HELLO)
    browser.listen()
    world.wait(80)
    browser.listen()
    assert browser.goaways[-1:] == [0]
    assert browser.socket.ended


def test_one_that_breaks_the_protocol_ends_alone(world: World) -> None:
    browser, other = Browser(world), Browser(world)
    stream, _ = asked(world, other)
    browser.socket.send(b"\0\0\1\x06\0\0\0\0\0?")  # a PING of one byte
    browser.listen()
    assert browser.goaways == [6]
    assert browser.socket.ended
    assert not other.heard(stream).ended


def test_websockets_are_tunnelled(world: World) -> None:
    browser = Browser(world)
    stream = browser.ask(b"/chat", b"CONNECT", (b"sec-websocket-version", b"13"), protocol=b"websocket", end=False)
    server = world.dialled()
    server.accept()
    request = server.take()
    assert request.startswith(b"GET /chat HTTP/1.1\r\n")
    assert b"upgrade: websocket\r\n" in request.lower()
    agreed = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
    server.send(b"HTTP/1.1 101 Switching Protocols\r\n" + agreed)
    assert browser.heard(stream).headers == [(b":status", b"200"), (b"via", b"2 hotswap")]
    browser.say(stream, b"ping")
    assert server.take() == b"ping"
    server.send(b"pong")
    assert browser.heard(stream).body == b"pong"
    browser.say(stream, b"", end=True)
    assert server.ended
    server.send(b"bye")
    server.fin()
    heard = browser.heard(stream)
    assert (heard.body, heard.ended, heard.reset) == (b"pongbye", True, None)


def test_another_protocol_than_websocket_is_not(world: World) -> None:
    browser = Browser(world)
    heard = browser.heard(browser.ask(b"/", b"CONNECT", protocol=b"connect-udp", end=False))
    assert heard.status == 501


def test_one_that_asks_nothing_is_not_waited_for(world: World) -> None:
    browser = Browser(world)
    world.wait(11)
    assert browser.socket.ended
