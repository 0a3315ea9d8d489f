"""The value law: cut the streams at any byte, move anywhere, and both sides get what they would have got."""

from __future__ import annotations

from itertools import cycle, pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.http1.cases import GOOD_REQUESTS, Good
from tests.proxy.http1.scene import ADDED, HELLO, HELLO_GOT, ID, VIA, post, post_sent, web
from tests.proxy.simulation import Socket, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Play(NamedTuple):
    """One exchange: what the client sends, the server gets, the server answers, the client gets."""

    sent: bytes
    got: bytes
    answer: bytes
    result: bytes


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
REQUESTS = [
    (b"GET /a HTTP/1.1\r\nHost: a\r\n" + ID + b"\r\n", b"GET /a HTTP/1.1\r\nHost: a\r\n" + ID + ADDED),
    (
        b"\r\nGET / HTTP/1.1\r\nConnection: x\r\nHost: a\r\nX: 1\r\n" + ID + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + ID + ADDED,
    ),
    (post(b"0123456789"), post_sent(b"0123456789")),
    (post(b"PUT / HTTP/1.1\r\n\r\n", method=b"PUT"), post_sent(b"PUT / HTTP/1.1\r\n\r\n", method=b"PUT")),
    (
        UPLOAD + ID + b"\r\n5;x=1\r\nhello\r\n0\r\nX-Sum: 1\r\nTE: x\r\n\r\n",
        UPLOAD + ID + ADDED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
]
ANSWERS = [
    (HELLO, HELLO_GOT),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n" + VIA + b"\r\n"),
    (
        CHUNKED + b"\r\n3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 2\r\nUpgrade: no\r\n\r\n",
        CHUNKED + VIA + b"\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 2\r\n\r\n",
    ),
    (HINTS + OLD, HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + VIA + b"\r\nok"),
]
LAST = (
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\n" + VIA + b"Connection: close\r\n\r\nuntil the end",
)
TUNNEL = Play(
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + ID + b"\r\n",
    b"GET /chat HTTP/1.1\r\nHost: a\r\n" + ID + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + ADDED,
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05first",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + VIA + b"\r\n\x81\x05first",
)
TUNNELLED = b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n\xff"


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """The data, cut at these positions."""
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    for start, end in pairwise(at):
        yield data[start:end]


class Stage:
    """A client and the servers of one run, and who moves when."""

    def __init__(self, plays: Sequence[Play], moves: Iterator[bool], answer_cuts: Sequence[int]) -> None:
        self.world = World(web())
        self.moves = moves
        self.answer_cuts = answer_cuts
        self.waiting = list(plays)
        self.client = self.world.connect("web")
        self.server: Socket | None = None
        self.got = b""
        self.result = b""

    def step(self) -> None:
        """After every action: perhaps a handover."""
        if next(self.moves):
            self.world.move()
            self.world.tick()
        self.result += self.client.take()

    def serve(self) -> None:
        """Be the upstream: answer every request that is there whole."""
        while True:
            while self.world.dials:
                self.server = self.world.dialled()
                self.server.accept()
                self.step()
            if self.server is None or not self.waiting:
                return
            self.got += self.server.take()
            if not self.got.startswith(self.waiting[0].got):
                assert self.waiting[0].got.startswith(self.got)
                return
            play = self.waiting.pop(0)
            self.got = self.got[len(play.got) :]
            for piece in pieces(play.answer, self.answer_cuts):
                self.server.send(piece)
                self.step()

    def run(self, sent: bytes, cuts: Sequence[int]) -> None:
        for piece in pieces(sent, cuts):
            self.client.send(piece)
            self.step()
            self.serve()


def check(plays: Sequence[Play], cuts: Sequence[int], answer_cuts: Sequence[int], moves: Iterator[bool]) -> Stage:
    stage = Stage(plays, moves, answer_cuts)
    stage.run(b"".join(play.sent for play in plays), cuts)
    assert not stage.waiting, "a request did not come through"
    assert stage.got == b""
    assert stage.result == b"".join(play.result for play in plays)
    return stage


PLAYS = st.builds(lambda request, answer: Play(*request, *answer), st.sampled_from(REQUESTS), st.sampled_from(ANSWERS))
MOVES = st.lists(st.booleans(), min_size=1)
CUTS = st.lists(st.integers(1, 600), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    plays=st.lists(PLAYS, min_size=1, max_size=4),
    cuts=CUTS,
    answer_cuts=CUTS,
    moves=st.lists(st.booleans(), min_size=1),
)
def test_streams_survive_any_cut_and_any_move(
    plays: list[Play], cuts: list[int], answer_cuts: list[int], moves: list[bool]
) -> None:
    check(plays, cuts, answer_cuts, cycle(moves))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=CUTS, answer_cuts=CUTS, moves=MOVES)
def test_response_until_close_survives_any_cut_and_any_move(
    cuts: list[int], answer_cuts: list[int], moves: list[bool]
) -> None:
    stage = check([Play(*REQUESTS[2], *LAST)], cuts, answer_cuts, cycle(moves))
    assert stage.server is not None
    stage.server.fin()
    stage.step()
    assert stage.client.ended
    assert not stage.client.reset


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=CUTS, answer_cuts=CUTS, moves=MOVES)
def test_tunnel_survives_any_cut_and_any_move(cuts: list[int], answer_cuts: list[int], moves: list[bool]) -> None:
    stage = check([Play(*REQUESTS[0], *ANSWERS[0]), TUNNEL], cuts, answer_cuts, cycle(moves))
    server, client = stage.server, stage.client
    assert server is not None
    server.take()
    for one, other in ((client, server), (server, client)):
        passed = b""
        for piece in pieces(TUNNELLED, cuts):
            one.send(piece)
            stage.step()
            passed += other.take()
        assert (stage.result + passed).endswith(TUNNELLED)


@pytest.mark.parametrize("request_and_got", REQUESTS, ids=range(len(REQUESTS)))
@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_every_single_cut_with_a_move_there(request_and_got: tuple[bytes, bytes], answer: tuple[bytes, bytes]) -> None:
    play = Play(*request_and_got, *answer)
    for cut in range(1, max(len(play.sent), len(play.answer))):
        check([play], [cut], [cut], cycle([True]))


def test_byte_by_byte_with_a_move_after_each() -> None:
    plays = [Play(*request, *answer) for request, answer in zip(REQUESTS, [*ANSWERS, ANSWERS[0]], strict=True)]
    check(plays, range(1, 10000), range(1, 1000), cycle([True]))


@pytest.mark.parametrize("case", GOOD_REQUESTS, ids=lambda case: case.name)
def test_saving_has_no_effect_and_restoring_gives_the_same_value(case: Good) -> None:
    for cut in range(0, len(case.request), 3):
        world = World(web())
        world.connect("web").send(case.request[:cut])
        before = {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
        assert before == {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
        world.move()
        assert before == {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
