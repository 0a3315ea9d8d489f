"""Copying in rounds: a copy that is only brought up to date where `changes` says so is the value at every moment.

The changes of one side's value can come from the other side: a client that goes is no longer named by its calls, a
server that dies no longer by what it asked. Each protocol plays it with frames of its own (`test_dirty.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from hotswap.swappable import Saved
from proxy.server import ProxyServer
from tests.kit.frames import Corrupt
from tests.proxy.simulation import ManualTicker, SimulatedKernel, Socket, World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.model import Config


class Copy:
    """A destination, in the middle of its rounds for ever."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel = SimulatedKernel(world, first_fd=500, offset=77.25)
        self.proxy = ProxyServer(world.config, self.kernel, ManualTicker)
        self.proxy.adopt({one.name: self.kernel.install([]) for one in world.config.listeners})
        self.sent: dict[int, int] = {}
        world.proxy.sharing(True)

    def round(self) -> None:
        """Copy what is dirty."""
        source = self.world.proxy.values()
        here, there = self.world.kernel.clock(), self.kernel.clock()
        for serial in [serial for serial in self.sent if serial not in source]:
            self.proxy.forget(serial)
            del self.sent[serial]
        for serial, value in source.items():
            if self.sent.get(serial) != value.changes:
                fd = -1 if serial in self.sent else self.kernel.install(self.world.kernel.socket(value.fd))
                self.proxy.restore(Saved(value.kind, serial, value.changes, value.save(here), fd), there)
                self.sent[serial] = value.changes

    def check(self) -> None:
        """Everything is as it is at the source."""
        source, copies = self.world.proxy, self.proxy.values()
        here, there = self.world.kernel.clock(), self.kernel.clock()
        self.proxy.restore_shared(source.save_shared(here), there)
        assert [*copies] == [*source.values()]
        for serial, value in source.values().items():
            assert copies[serial].save(there) == value.save(here), value.kind
            assert {bond.serial for bond in copies[serial].bonds()} == {bond.serial for bond in value.bonds()}
        for cluster in source.clusters.values():
            for endpoint in cluster.endpoints:
                assert self.proxy.clusters[cluster.name].endpoint(endpoint.name).in_flight == endpoint.in_flight


class Play:
    """Clients and servers that do one thing after the other."""

    def __init__(self, config: Config) -> None:
        self.world = World(config)
        self.clients: list[Socket] = []
        self.servers: list[Socket] = []
        self.number = 0

    def act(self, what: str, whom: int) -> None:
        """One of `ACTS`."""
        self.acts()[what](whom)

    def acts(self) -> dict[str, Callable[[int], None]]:
        """All that there are."""
        return {
            "connect": self.connect,
            "call": self.call,
            "half": self.half,
            "oneway": self.oneway,
            "heartbeat": self.heartbeat,
            "answer": self.answer,
            "push": self.push,
            "accept": self.accept,
            "refuse": self.refuse,
            "wait": lambda n: self.world.wait(n / 4),
            "slow": lambda n: self.each(self.servers, n, lambda server: server.accept_bytes(40)),
            "quick": lambda n: self.each(self.servers, n, lambda server: server.accept_bytes(None)),
            "slow client": lambda n: self.each(self.clients, n, lambda client: client.accept_bytes(40)),
            "quick client": lambda n: self.each(self.clients, n, lambda client: client.accept_bytes(None)),
            "client goes": lambda n: self.each(self.clients, n, lambda client: client.rst()),
            "client ends": lambda n: self.each(self.clients, n, lambda client: client.fin()),
            "server goes": lambda n: self.each(self.servers, n, lambda server: server.rst()),
            "server ends": lambda n: self.each(self.servers, n, lambda server: server.fin()),
        }

    def each(self, sockets: list[Socket], number: int, act: Callable[[Socket], None]) -> None:
        alive = [one for one in sockets if not one.ended and not one.error and not one.far_fin]
        if alive:
            act(alive[number % len(alive)])

    def connect(self, number: int) -> None:
        self.clients.append(self.world.connect("rpc"))

    def frame(self, kind: str) -> bytes:
        """A call, a oneway call or a heartbeat, some of them long."""
        raise NotImplementedError

    def answers(self, data: bytes) -> list[bytes]:
        """The answers to the calls in this; raises `Corrupt`."""
        raise NotImplementedError

    def pushed(self, number: int) -> bytes:
        """A request of a server."""
        raise NotImplementedError

    def call(self, number: int) -> None:
        self.each(self.clients, number, lambda client: client.send(self.frame("call")))

    def half(self, number: int) -> None:
        self.each(self.clients, number, lambda client: client.send(self.frame("call")[:30]))

    def oneway(self, number: int) -> None:
        self.each(self.clients, number, lambda client: client.send(self.frame("oneway")))

    def heartbeat(self, number: int) -> None:
        self.each(self.clients, number, lambda client: client.send(self.frame("heartbeat")))

    def answer(self, number: int) -> None:
        """The last calls that came on both sides, as far as their frames came whole."""

        def reply(socket: Socket) -> None:
            try:
                answers = self.answers(socket.take())
            except Corrupt:  # the rest of a frame of which the beginning was taken before
                return
            for answer in answers:
                socket.send(answer)

        self.each(self.servers, number, reply)
        self.each(self.clients, number, reply)

    def push(self, number: int) -> None:
        self.each(self.servers, number, lambda server: server.send(self.pushed(number)))

    def accept(self, number: int) -> None:
        if self.world.dials:
            server = self.world.dialled()
            if not server.closed:
                self.servers.append(server)
                server.accept()

    def refuse(self, number: int) -> None:
        if self.world.dials:
            server = self.world.dialled()
            if not server.closed:
                server.refuse()


ACTS = [
    *["call"] * 6,
    *["answer"] * 4,
    *["accept"] * 4,
    *["connect", "push"] * 2,
    *["half", "oneway", "heartbeat", "refuse", "wait", "slow", "quick", "slow client", "quick client"],
    *["client goes", "client ends", "server goes", "server ends"],
]


def steps(*more: str) -> st.SearchStrategy[list[tuple[str, int, bool]]]:
    """What is done, by whom, and whether a round follows; `more` that only this protocol has."""
    return st.lists(st.tuples(st.sampled_from([*ACTS, *more]), st.integers(0, 7), st.booleans()), max_size=40)


def check(play: Play, done: Sequence[tuple[str, int, bool]]) -> None:
    """Play it, and look at the copy after each round."""
    copy = Copy(play.world)
    play.act("connect", 0)
    for what, whom, copies in [("call", 0, True), ("accept", 0, True), *done]:
        play.act(what, whom)
        if copies:
            copy.round()
            copy.check()
    copy.round()
    copy.check()
