"""The value law: cut the streams of both directions at any byte, move anywhere, and everybody gets what was theirs."""

from __future__ import annotations

from itertools import cycle, pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import dubbo
from tests.kit.dubbo import Frame, FrameReader
from tests.proxy.dubbo.scene import BY_GROUP, BY_INTERFACE, Captured, captured, pair, rpc
from tests.proxy.multiplexed.scene import EVERYTHING
from tests.proxy.simulation import Socket, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.config.model import RouteConfig

INTERFACES = ("com.acme.Orders", "com.other.A")
ROUTES = (EVERYTHING, BY_INTERFACE, BY_GROUP)


class Say(NamedTuple):
    """One frame of a client, and what becomes of it: a call, a oneway call or a heartbeat."""

    client: int
    what: str
    interface: str
    size: int
    number: int


SAYS = st.builds(
    Say,
    st.integers(0, 2),
    st.sampled_from(["call", "call", "call", "oneway", "heartbeat", "push"]),
    st.sampled_from(INTERFACES),
    st.sampled_from([0, 1, 30, 3000]),
    st.sampled_from([0, -1, 1 << 62]),
)
MOVES = st.lists(st.booleans(), min_size=1)
CUTS = st.lists(st.integers(1, 5000), max_size=10)


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    for start, end in pairwise(at):
        yield data[start:end]


class Stage:
    """Three clients, and servers that answer in reverse order; `moves` says after which action everything moves."""

    def __init__(self, routes: tuple[RouteConfig, ...], moves: Iterator[bool], cuts: Sequence[int]) -> None:
        self.world = World(rpc(routes=routes, endpoints=2, shared_connections=2))
        self.moves = moves
        self.cuts = cuts
        self.clients = [self.world.connect("rpc") for _ in range(3)]
        self.heard: list[list[Frame]] = [[], [], []]
        self.readers = [FrameReader() for _ in range(3)]
        self.servers: dict[Socket, FrameReader] = {}
        self.oneways: list[bytes] = []
        self.pushed: dict[tuple[int, int], bytes] = {}

    def step(self) -> None:
        """After every action: perhaps a move; then see what clients heard."""
        if next(self.moves):
            self.world.move()
            self.world.tick()
        for client, reader, heard in zip(self.clients, self.readers, self.heard, strict=True):
            for frame in reader.feed(client.take()):
                if frame.is_call:  # a server asks: answer with what came
                    self.say(client, dubbo.answer(frame.id, frame.content))
                else:
                    heard.append(frame)

    def say(self, socket: Socket, data: bytes) -> None:
        for piece in pieces(data, self.cuts):
            socket.send(piece)
            self.step()

    def serve(self) -> None:
        """Be the servers until nothing is left to do."""
        while True:
            while self.world.dials:
                server = self.world.dialled()
                self.servers[server] = FrameReader()
                server.accept()
                self.step()
            busy = False
            for number, (server, reader) in enumerate(list(self.servers.items())):
                frames = reader.feed(server.take())
                busy = busy or bool(frames)
                answers = b""
                for frame in reversed(frames):
                    answers += self.answer(number, frame)
                if answers:
                    self.say(server, answers)
            if not busy and not self.world.dials:
                return

    def answer(self, server: int, frame: Frame) -> bytes:
        if frame.flags == dubbo.REQUEST:
            self.oneways.append(frame.content)
        elif not frame.flags & dubbo.REQUEST:
            assert self.pushed.pop((server, frame.id)) == frame.content
        elif frame.content.startswith(b"push"):
            self.pushed[server, frame.id] = frame.content
            push = dubbo.call(frame.id, frame.content)
            return push + dubbo.answer(frame.id, frame.content)
        else:
            return dubbo.answer(frame.id, frame.content)
        return b""


def check(
    says: Sequence[Say], moves: Iterator[bool], cuts: Sequence[int], routes: tuple[RouteConfig, ...] = EVERYTHING
) -> None:
    stage = Stage(routes, moves, cuts)
    expected: list[dict[int, bytes]] = [{}, {}, {}]
    oneways = []
    streams = [b"", b"", b""]
    for count, say in enumerate(says, 1):
        number = -count if say.number < 0 else say.number + count - 1
        content = b"%s %d " % (say.what.encode(), count) + bytes(say.size)
        if say.what == "heartbeat":
            streams[say.client] += dubbo.heartbeat(number)
            expected[say.client][number] = dubbo.heartbeat_answer(number)
            continue
        oneway = say.what == "oneway"
        attached = {"group": "blue"} if count % 2 else {"x-lane": "green"}
        streams[say.client] += dubbo.call(
            number, content, interface=say.interface, method="get", oneway=oneway, attached=attached
        )
        if oneway:
            oneways.append(content)
        else:
            expected[say.client][number] = dubbo.answer(number, content)
    for client, stream in zip(stage.clients, streams, strict=True):
        for piece in pieces(stream, cuts):
            client.send(piece)
            stage.step()
    stage.serve()
    heard = [{frame.id: frame.raw for frame in frames} for frames in stage.heard]
    assert heard == expected
    assert sorted(stage.oneways) == sorted(oneways)
    assert stage.pushed == {}
    assert not any(reader.partial for reader in stage.readers)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(says=st.lists(SAYS, min_size=1, max_size=8), moves=MOVES, cuts=CUTS, routes=st.sampled_from(ROUTES))
def test_every_call_survives_any_cut_and_any_move(
    says: list[Say], moves: list[bool], cuts: list[int], routes: tuple[RouteConfig, ...]
) -> None:
    check(says, cycle(moves), cuts, routes)


@pytest.mark.parametrize("routes", [EVERYTHING, BY_GROUP])
def test_byte_by_byte_with_a_move_after_each(routes: tuple[RouteConfig, ...]) -> None:
    says = [
        Say(n % 3, what, INTERFACES[n % 2], 3, -1) for n, what in enumerate(["call", "push", "oneway", "heartbeat"])
    ]
    check(says, cycle([True]), range(1, 1000), routes)


@pytest.mark.parametrize("one", captured(), ids=lambda one: f"{one.source.split()[0]}-{one.kind}-{one.number}")
def test_saving_has_no_effect_and_restoring_gives_the_same_values(one: Captured) -> None:
    frame = one.frame
    for cut in range(0, min(len(frame), 300), 11):
        world = World(rpc())
        client, server, _ = pair(world)
        client.send(frame[:cut])
        server.send(frame[:cut])
        before = {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
        assert before == {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
        world.move()
        assert before == {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
