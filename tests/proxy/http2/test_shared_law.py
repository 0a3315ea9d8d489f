"""The value law for connections to endpoints: many clients share one, all is cut at any byte, and moves at any moment.

A move may have a first round, with changes behind it. Every request and every response arrives as it was sent.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.http1.scene import ID
from tests.proxy.http2.backend import OK, Backend, Site, behind
from tests.proxy.http2.browser import Browser
from tests.proxy.http2.test_moving import pieces, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proxy.simulation import Socket

END = (b"x-end", b"1")


class Ask(NamedTuple):
    """A request with a body of so many bytes, and its answer. What is not sized has trailers."""

    new: bool
    """Its client speaks HTTP/2."""
    size: int
    sized: bool
    answer: int
    answer_sized: bool
    early: bool
    """It is answered before all of it came."""


ASKS = st.lists(
    st.builds(
        Ask,
        st.booleans(),
        st.sampled_from([0, 1, 300, 40_000]),
        st.booleans(),
        st.sampled_from([0, 5, 70_000]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
MOVES = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=12)
CUTS = st.lists(st.integers(1, 20_000), max_size=5)


class Client:
    """One of either version, with one request."""

    def __init__(self, scene: Scene, number: int, ask: Ask) -> None:
        self.ask, self.number = ask, number
        self.body = text(number, ask.size)
        self.trailers = [END] if ask.size and not ask.sized else []
        self.browser: Browser | None = None
        if ask.new:
            self.browser = Browser(scene.world)
            self.socket = self.browser.socket
        else:
            self.socket = scene.world.connect("web")
        scene.cut(self.socket)
        self.left = self.body
        self.got = b""

    def begin(self) -> None:
        """The head, and the whole body where there is no window to look at."""
        ask, path, method = self.ask, b"/%d" % self.number, b"POST" if self.ask.size else b"GET"
        if self.browser is not None:
            length = [(b"content-length", b"%d" % ask.size)] if ask.sized and ask.size else []
            self.stream = self.browser.ask(path, method, *length, end=not ask.size)
            return
        length_line = b"Content-Length: %d\r\n" % ask.size if ask.sized else b"Transfer-Encoding: chunked\r\n"
        head = b"%b %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n" % (method, path, ID, length_line if ask.size else b"")
        body = self.body if ask.sized else chunked(self.body)
        self.socket.send(head + body if ask.size else head)
        self.left = b""

    def go_on(self) -> bool:
        """A piece of the body. False: there is nothing more, or no room."""
        browser = self.browser
        if browser is None or not self.left:
            return False
        browser.listen()
        size = min(len(self.left), browser.room(self.stream), 16384)
        if not size:
            return False
        piece, self.left = self.left[:size], self.left[size:]
        browser.say(self.stream, piece, end=not self.left and self.ask.sized)
        if not self.left and not self.ask.sized:
            browser.connection.send_headers(self.stream, self.trailers, end_stream=True)
            browser.flush()
        return True

    def check(self) -> None:
        """The response is what was sent."""
        body, ask = text(self.number + 100, self.ask.answer), self.ask
        if self.browser is not None:
            heard = self.browser.heard(self.stream)
            assert (heard.status, heard.ended, heard.reset) == (200, True, None)
            assert heard.body == body
            assert heard.trailers == ([] if ask.answer_sized else [END])
            assert self.browser.goaways == []
            return
        head, _, rest = self.socket.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        if ask.answer_sized:
            assert b"content-length: %d" % len(body) in head
            assert rest == body
        else:
            assert bare(rest) == (body, b"x-end: 1\r\n")
        assert not self.socket.ended


class Scene:
    """The clients, and the one connection to the endpoint."""

    def __init__(self, moves: Sequence[int], cuts: Sequence[int]) -> None:
        self.world = Site(behind(shared_connections=1))
        self.moves, self.cuts = cycle([*moves, 0]), cuts
        self.server: Backend | None = None

    def cut(self, socket: Socket) -> None:
        """Have what it sends arrive in pieces, with moves between."""
        whole = socket.send

        def send(data: bytes) -> None:
            for piece in pieces(data, self.cuts):
                self._happens(whole, piece)

        socket.send = send  # type: ignore[method-assign]

    def _happens(self, send: object, piece: bytes) -> None:
        how = next(self.moves)
        assert callable(send)
        if how == 2:
            self.world.move(meanwhile=lambda: send(piece))
        else:
            send(piece)
        if how == 1:
            self.world.move()
        self.world.tick()
        if self.world.dials:
            assert self.server is None, "they share one"
            socket = self.world.dialled()
            self.cut(socket)
            self.server = Backend(socket)


def chunked(body: bytes) -> bytes:
    """With the trailers."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(body, [7, 5000]) if part)
    return chunks + b"0\r\nX-End: 1\r\n\r\n"


def bare(chunks: bytes) -> tuple[bytes, bytes]:
    """A whole chunked body, and its trailers."""
    whole = b""
    while True:
        line, _, rest = chunks.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            trailers, _, behind = rest.rpartition(b"\r\n")
            assert behind == b""
            return whole, trailers
        whole, chunks = whole + rest[:size], rest[size + 2 :]


class Answers:
    """What the server sends, in turn. The end of an early answer waits: it would be that of its request."""

    def __init__(self, server: Backend, clients: Sequence[Client]) -> None:
        self.server = server
        streams = {int(asked.path[1:]): stream for stream, asked in server.streams.items()}
        self.asks = {streams[one.number]: one.ask for one in reversed(clients)}
        self.bodies = {streams[one.number]: text(one.number + 100, one.ask.answer) for one in reversed(clients)}
        self.begun: set[int] = set()

    def go_on(self, *, early: bool) -> bool:
        """A piece of each. False: nothing more can be sent now."""
        moved = False
        for stream, body in [*self.bodies.items()]:
            ask, server = self.asks[stream], self.server
            if early and not (ask.early and ask.answer):
                continue
            if stream not in self.begun:
                self.begun.add(stream)
                length = ((b"content-length", b"%d" % len(body)),) if ask.answer_sized else ()
                server.head(stream, OK, *length)
                moved = True
            size = min(len(body) - early, server.room(stream), 10_000)
            last = size == len(body)
            if size or last:
                server.say(stream, body[:size], end=last and ask.answer_sized)
                self.bodies[stream] = body[size:]
                moved = True
            if last:
                del self.bodies[stream]
                if not ask.answer_sized:
                    server.head(stream, END, end=True)
        return moved


def converse(asks: Sequence[Ask], moves: Sequence[int], cuts: Sequence[int]) -> None:
    scene = Scene(moves, cuts)
    clients = [Client(scene, number, ask) for number, ask in enumerate(asks)]
    for client in clients:
        client.begin()
    server = scene.server
    assert server is not None
    server.listen()
    answers = Answers(server, clients)
    while sum([one.go_on() for one in clients]) + answers.go_on(early=True):
        pass
    for stream, asked in server.streams.items():
        server.listen()
        client = clients[int(asked.path[1:])]
        assert (asked.body, asked.trailers, asked.ended, asked.reset) == (client.body, client.trailers, True, None)
        assert stream in answers.bodies
    while answers.go_on(early=False):
        pass
    assert answers.bodies == {}
    for client in clients:
        client.check()
    assert server.goaways == []
    scene.world.leave()


@settings(max_examples=10)
@given(asks=ASKS, moves=MOVES, cuts=CUTS)
def test_every_client_gets_what_is_its(asks: list[Ask], moves: list[int], cuts: list[int]) -> None:
    converse(asks, moves, cuts)


def test_half_a_chunk_between_two_rounds() -> None:
    """The beginning of a chunk goes nowhere yet; all that changes is what is known of it."""
    ask = Ask(new=False, size=1, sized=False, answer=0, answer_sized=False, early=False)
    converse([ask._replace(size=0), ask], moves=[2], cuts=[74, 77])


@pytest.mark.all
@pytest.mark.timeout(1200)
@settings(max_examples=1000)
@given(asks=ASKS, moves=MOVES, cuts=CUTS)
def test_very_many(asks: list[Ask], moves: list[int], cuts: list[int]) -> None:
    converse(asks, moves, cuts)
