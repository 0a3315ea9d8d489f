"""The tables, and every step against everything that can happen in it."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from proxy.config.model import FilterConfig
from proxy.filters.chain import Chain
from proxy.http1.downstream import Http1Downstream
from proxy.http1.states import MOVES, USES, Event, Step, Use
from proxy.http1.upstream import Http1Upstream
from tests.proxy.http1.scene import GET, HELLO, exchange, post, web
from tests.proxy.simulation import Socket, World

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- the tables ----


def test_every_event_has_its_moves() -> None:
    assert set(MOVES) == set(Event)
    assert set(USES) == set(Use)


def test_every_step_can_be_reached_and_left() -> None:
    reached = {Step.IDLE}
    while True:
        further = {moves[step] for moves in MOVES.values() for step in reached if step in moves}
        if further <= reached:
            break
        reached |= further
    assert reached == set(Step)
    for step in Step:
        leads_on = any(moves.get(step, step) is not step for moves in MOVES.values())
        assert leads_on is (step not in {Step.LINGER, Step.TUNNEL})


def test_every_step_before_the_tunnel_can_be_the_last() -> None:
    assert set(MOVES[Event.LAST]) == set(Step) - {Step.LINGER, Step.TUNNEL}


def test_every_use_can_be_reached() -> None:
    assert {Use.DIAL}.union(*USES.values()) == set(Use)


def test_response_needs_a_request() -> None:
    for step in (Step.IDLE, Step.HEAD, Step.DIAL, Step.DISCARD, Step.LINGER):
        assert step not in MOVES[Event.RESPONSE]


# ---- every step, every disturbance ----

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nx"
ASK = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class Pair:
    """A client connection in a certain step, and its upstream, if there is one."""

    def __init__(self, world: World, step: Step) -> None:
        self.world = world
        self.server: Socket | None = None
        if step is Step.DELAY:
            fault = FilterConfig(name="fault", config={"delay": 30})
            self.client = world.connect("web")
            world.proxy.listeners["web"].filters = Chain([fault], "http1")
            self.client.send(GET)
            return
        if step in {Step.IDLE, Step.HEAD, Step.DIAL}:
            self.client = world.connect("web")
            self.client.send({Step.IDLE: b"", Step.HEAD: GET[:9], Step.DIAL: GET}[step])
            if step is Step.DIAL:
                self.server = world.dialled()
            return
        partial = step in {Step.SEND, Step.BOTH, Step.DISCARD}
        request = ASK if step is Step.TUNNEL else post(b"ab", length=4) if partial else GET
        self.client, self.server = exchange(world, request)
        if step in {Step.BOTH, Step.REPLY}:
            self.server.send(UNTIL_CLOSE)
        elif step is Step.DISCARD:
            self.server.send(HELLO)
        elif step is Step.LINGER:
            self.server.send(UNTIL_CLOSE)
            self.server.fin()
        elif step is Step.TUNNEL:
            self.server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")

    @property
    def downstream(self) -> Http1Downstream | None:
        values = self.world.proxy.values().values()
        return next((value for value in values if isinstance(value, Http1Downstream)), None)

    def end(self) -> None:
        """Both far ends go."""
        for socket in (self.client, *([self.server] if self.server else [])):
            if not socket.closed and not socket.connecting:
                socket.rst()
        for dialled in self.world.dials:
            if not dialled.closed and dialled.connecting:
                dialled.refuse()
            elif not dialled.closed:
                dialled.rst()


def _server(act: Callable[[Socket], None]) -> Callable[[Pair], None]:
    def disturb(pair: Pair) -> None:
        if pair.server is not None and not pair.server.closed and not pair.server.connecting:
            act(pair.server)

    return disturb


def _client(act: Callable[[Socket], None]) -> Callable[[Pair], None]:
    def disturb(pair: Pair) -> None:
        if not pair.client.closed:
            act(pair.client)

    return disturb


def _dial_ends(pair: Pair, act: Callable[[Socket], None]) -> None:
    if pair.server is not None and pair.server.connecting and not pair.server.closed:
        act(pair.server)


def _drain(pair: Pair) -> None:
    pair.world.proxy.drain(pair.world.kernel.clock() + 10000)
    pair.world.settle()


DISTURBANCES: dict[str, Callable[[Pair], None]] = {
    "client sends a request": _client(lambda client: client.send(GET)),
    "client sends garbage": _client(lambda client: client.send(b"\0\xff\r\n\r\n")),
    "client sends a body": _client(lambda client: client.send(b"cd")),
    "client ends": _client(lambda client: client.fin()),
    "client resets": _client(lambda client: client.rst()),
    "client stops reading": _client(lambda client: client.accept_bytes(0)),
    "client reads": _client(lambda client: client.accept_bytes(None)),
    "server answers": _server(lambda server: server.send(HELLO)),
    "server continues": _server(lambda server: server.send(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "server switches": _server(lambda server: server.send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n")),
    "server sends garbage": _server(lambda server: server.send(b"\0\xff\r\n\r\n")),
    "server ends": _server(lambda server: server.fin()),
    "server resets": _server(lambda server: server.rst()),
    "server stops reading": _server(lambda server: server.accept_bytes(0)),
    "server reads": _server(lambda server: server.accept_bytes(None)),
    "dial succeeds": lambda pair: _dial_ends(pair, lambda server: server.accept()),
    "dial fails": lambda pair: _dial_ends(pair, lambda server: server.refuse()),
    "a second passes": lambda pair: pair.world.wait(1.5),
    "a day passes": lambda pair: pair.world.wait(86400),
    "drain": _drain,
}


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name)
def test_pair_is_in_its_step(step: Step, moving: bool) -> None:
    pair = Pair(World(web(), moving=moving), step)
    assert pair.downstream is not None
    assert pair.downstream.step is step


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name)
def test_nothing_is_left_behind_whatever_happens(step: Step, moving: bool) -> None:
    """Any two disturbances in any step: no failure inside, and nothing stays when both far ends are gone."""
    names = list(DISTURBANCES)
    for first, second in product(names, names[::4] if moving else names):
        world = World(web(endpoints=2), moving=moving)
        pair = Pair(world, step)
        DISTURBANCES[first](pair)
        DISTURBANCES[second](pair)
        used = {value.endpoint.name for value in world.proxy.values().values() if isinstance(value, Http1Upstream)}
        for endpoint in world.proxy.clusters["app"].endpoints:
            assert endpoint.in_flight >= 0
            assert endpoint.in_flight == 0 or endpoint.name in used, (first, second)
        pair.end()
        world.wait(86400)
        world.wait(86400)
        assert world.proxy.values() == {}, (first, second)
        for endpoint in world.proxy.clusters["app"].endpoints:
            assert endpoint.in_flight == 0, (first, second)
            assert len(endpoint.pool) == 0, (first, second)


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name)
def test_handover_changes_nothing_of_what_happens(step: Step, disturbance: str) -> None:
    seen = []
    for moving in (False, True):
        world = World(web(), moving=moving)
        pair = Pair(world, step)
        DISTURBANCES[disturbance](pair)
        server = pair.server
        seen.append((
            pair.client.take(), pair.client.ended, pair.client.reset, pair.client.closed,
            None if server is None else (server.take(), server.ended, server.reset, server.closed),
            len(world.dials), None if pair.downstream is None else pair.downstream.step,
        ))  # fmt: skip
    assert seen[0] == seen[1]
