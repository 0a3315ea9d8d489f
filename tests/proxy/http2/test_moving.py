"""The value law for whole connections: cut both ways at any byte, move anywhere; every stream gets what is its."""

from __future__ import annotations

from itertools import cycle, pairwise
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.http1.scene import web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proxy.simulation import Socket


class Ask(NamedTuple):
    """A request with a body of so many bytes, and its answer."""

    size: int
    sized: bool
    answer: int
    chunked: bool


ASKS = st.lists(
    st.builds(Ask, st.sampled_from([0, 1, 300, 40_000]), st.booleans(), st.sampled_from([0, 5, 70_000]), st.booleans()),
    min_size=1,
    max_size=5,
)


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    for start, end in pairwise(at):
        yield data[start:end]


def text(number: int, size: int) -> bytes:
    """Bytes that belong to one stream and one place."""
    unit = b"<%d>" % number
    return (unit * (size // len(unit) + 1))[:size]


class Conversation:
    """A browser whose frames are cut, and servers that answer in reverse order."""

    def __init__(self, moves: Iterator[bool], cuts: Sequence[int]) -> None:
        self.world = World(speaking(web()))
        self.moves, self.cuts = moves, cuts
        self.browser = Browser(self.world)
        self.browser.socket.send, send = self._cut, self.browser.socket.send  # type: ignore[method-assign]
        self._send = send
        self.servers: list[Socket] = []

    def _cut(self, data: bytes) -> None:
        for piece in pieces(data, self.cuts):
            self._send(piece)
            self.step()

    def step(self) -> None:
        """After everything that happens: perhaps a move."""
        if next(self.moves):
            self.world.move()
            self.world.tick()
        while self.world.dials:
            server = self.world.dialled()
            server.accept()
            self.servers.append(server)

    def say(self, server: Socket, data: bytes) -> None:
        """Of a server, cut as well."""
        for piece in pieces(data, self.cuts):
            server.send(piece)
            self.step()
            self.browser.listen()

    def upload(self, stream: int, data: bytes) -> None:
        """As fast as the window allows; a server that does not read would stop it."""
        while data:
            size = min(len(data), self.browser.room(stream), 16384)
            assert size, "the window is not given back"
            self.browser.say(stream, data[:size], end=size == len(data))
            data = data[size:]
            self.step()


def answer(number: int, ask: Ask) -> bytes:
    body = text(number + 100, ask.answer)
    if not ask.chunked:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces(body, [7, 5000]) if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-End: 1\r\n\r\n"


def received(request: bytes) -> bytes:
    """The body of a request as a server gets it."""
    head, _, body = request.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        return body
    whole = b""
    while True:
        line, _, rest = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return whole
        whole, body = whole + rest[:size], rest[size + 2 :]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asks=ASKS, moves=st.lists(st.booleans(), min_size=1), cuts=st.lists(st.integers(1, 20_000), max_size=6))
def test_every_stream_gets_what_is_its(asks: list[Ask], moves: list[bool], cuts: list[int]) -> None:
    conversation = Conversation(cycle([*moves, False]), cuts)
    browser = conversation.browser
    streams = []
    for number, ask in enumerate(asks):
        length = [(b"content-length", b"%d" % ask.size)] if ask.sized and ask.size else []
        stream = browser.ask(b"/", b"POST" if ask.size else b"GET", *length, end=not ask.size)
        conversation.step()
        streams.append(stream)
        conversation.upload(stream, text(number, ask.size))
    assert len(conversation.servers) == len(asks)
    for number, server in enumerate(conversation.servers):
        assert received(server.take()) == text(number, asks[number].size)
    for number in reversed(range(len(asks))):
        conversation.say(conversation.servers[number], answer(number, asks[number]))
    for number, stream in enumerate(streams):
        heard = browser.heard(stream)
        assert (heard.status, heard.ended, heard.reset) == (200, True, None)
        assert heard.body == text(number + 100, asks[number].answer)
        assert heard.trailers == ([(b"x-end", b"1")] if asks[number].chunked else [])
    assert browser.goaways == []
    assert not conversation.world.proxy.reactor.hosted
