"""Both ends of a handover and the generations around them, in one event loop.

Owner      what the source's generation does (`handover.holder.Holder`), noted down
Heir       what the destination's generation does (`handover.holder.Taker`), noted down
Other      the other end of a channel, driven message by message by a test
Handover   a source attempt and a destination attempt over a real SEQPACKET socket pair
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, TypeVar

import msgspec

from hotswap.chain import Chain
from hotswap.errors import HotswapError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received
from hotswap.handover.destination import DestinationAttempt
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits
from hotswap.handover.source import SourceAttempt
from hotswap.handover.states import State
from hotswap.swappable import Schema
from tests.hotswap.toy import ADDRESS, PATIENCE, Events, Toy

M = TypeVar("M", bound=wire.Message)

LIMITS = Limits(attempt=PATIENCE, freeze=PATIENCE, grace=PATIENCE, release=PATIENCE, stragglers=PATIENCE)


class Owner:
    """The generation that gives. Its listeners and its lock are pipes: nothing here cares."""

    def __init__(self, server: Toy) -> None:
        self.server = server
        self.calls: list[str] = []
        self.kept: list[int] = []
        self.wanted: frozenset[str] = frozenset()
        self.chain = Chain()
        self._fds = [*os.pipe(), *os.pipe()]
        server.ticking = True

    def resources(self) -> list[tuple[wire.ListenerEntry, int]]:
        entries = [
            wire.ListenerEntry("control", "", ""),
            wire.ListenerEntry("handover", "", ""),
            wire.ListenerEntry("server", "", ADDRESS),
        ]
        return list(zip(entries, self._fds, strict=False))

    def lock_fd(self) -> int:
        return self._fds[3]

    def chain_state(self) -> bytes:
        return self.chain.encode()

    def freeze(self) -> None:
        self.calls.append("freeze")
        self.server.freeze()

    def thaw(self) -> None:
        self.calls.append("thaw")
        self.server.thaw()

    def retired(self, kept: list[int], wanted: frozenset[str]) -> None:
        self.calls.append("retired")
        self.kept, self.wanted = kept, wanted
        self.server.retire(kept, {})

    def answering(self) -> bool:
        return False

    def take_listeners(self) -> None:
        self.calls.append("take_listeners")
        self.server.abandon()

    def end_destination(self) -> None:
        self.calls.append("end_destination")

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


class Heir:
    """The generation that takes; `leave` ends no process here."""

    def __init__(self, server: Toy) -> None:
        self.server = server
        self.calls: list[str] = []
        self.entries: list[tuple[wire.ListenerEntry, int]] = []
        self.lock = -1
        self.chain = Chain()
        self.generation = 0
        self.figures: wire.Bye | None = None
        self.lost = -1
        self.failure: HotswapError | None = None
        self.adopting_fails: HotswapError | None = None

    def adopt(self, entries: list[tuple[wire.ListenerEntry, int]], lock: int, generation: int) -> None:
        self.calls.append("adopt")
        self.entries, self.lock = entries, lock
        if self.adopting_fails is not None:
            raise self.adopting_fails
        self.server.accept_descriptors({entry.name: fd for entry, fd in entries if entry.purpose == "own"})
        self.server.adopt({"web": next(fd for entry, fd in entries if entry.purpose == "server")})

    def restore_chain(self, chain: bytes, generation: int) -> None:
        self.chain, self.generation = Chain.decode(chain), generation

    def start(self) -> None:
        self.calls.append("start")
        self.server.start()

    def start_cold(self) -> None:
        self.calls.append("start_cold")
        self.server.abandon()
        self.server.start()

    def told(self, figures: wire.Bye, lost: int) -> None:
        self.figures, self.lost = figures, lost

    def leave(self, failure: HotswapError | None, *, settled: bool) -> None:
        self.calls.append("leave")
        self.failure = failure

    def close(self) -> None:
        for fd in [*(fd for _, fd in self.entries), self.lock]:
            if fd >= 0:
                os.close(fd)


def hello(**changes: Any) -> wire.Hello:
    """An acceptable one."""
    made = wire.Hello(Schema(1, 1), {"line": Schema(1, 1)}, [ADDRESS], "1.0", "build", "config", pid=os.getpid())
    return msgspec.structs.replace(made, **changes)


def own_pidfd() -> int:
    """Of this process, whose death no test sees."""
    return os.pidfd_open(os.getpid())


class Other:
    """The other end of a channel. It acknowledges what carries descriptors, as everybody has to."""

    def __init__(self, sock: socket.socket) -> None:
        self.channel = Channel(sock)
        self._loop = asyncio.get_running_loop()

    async def next(self) -> Received:
        """The next message, whatever it is."""
        received = await self._received()
        assert received is not None, "the channel ended"
        if received.fds:
            self.channel.acknowledge()
        return received

    async def ended(self) -> None:
        """Wait for the end of the channel; what comes before it does not matter."""
        while (received := await self._received()) is not None:
            for fd in received.fds:
                os.close(fd)

    async def _received(self) -> Received | None:
        while (received := self.channel.receive()) is None and not self.channel.ended:
            readable = asyncio.Event()
            self._loop.add_reader(self.channel.fileno(), readable.set)
            try:
                await asyncio.wait_for(readable.wait(), PATIENCE)
            finally:
                self._loop.remove_reader(self.channel.fileno())
        return received

    async def expect(self, kind: type[M]) -> M:
        """The next message, which must be of this kind; its descriptors are closed."""
        message, fds = await self.expect_with_fds(kind)
        for fd in fds:
            os.close(fd)
        return message

    async def expect_with_fds(self, kind: type[M]) -> tuple[M, list[int]]:
        """The same with the descriptors."""
        received = await self.next()
        assert isinstance(received.message, kind), received.message
        return received.message, received.fds

    def say(self, message: wire.Message, *fds: int, close: bool = True) -> None:
        """Send a message; the descriptors go with it."""
        self.channel.send(message, fds, fds if close else ())

    def close(self) -> None:
        self.channel.close()


class Handover:
    """Both attempts. `source` exists once HELLO has been received."""

    def __init__(self, giving: Toy, taking: Toy, *, limits: Limits = LIMITS, wishes: Wishes | None = None) -> None:
        self.owner, self.heir = Owner(giving), Heir(taking)
        self.events: Events = []
        self.limits = limits
        self.wishes = wishes or Wishes()
        self.source: SourceAttempt | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours = ours
        self.destination = DestinationAttempt(Channel(theirs), taking, self.heir, limits=limits, faults=Faults([]))

    async def begin(self, said: wire.Hello | None = None) -> SourceAttempt:
        """HELLO, and the source begins."""
        self.destination.begin(said or hello())
        other = Other(self._ours)
        received, [pidfd] = await other.expect_with_fds(wire.Hello)
        self.source = give(other.channel, self.owner, received, self.wishes, self.limits, self.events)
        self.source.begin({"line": 1}, pidfd)
        return self.source

    async def run(self) -> tuple[State, State]:
        """To the end of both."""
        source = self.source or await self.begin()
        return await source.over, await self.destination.over

    def close(self) -> None:
        for attempt in (self.source, self.destination):
            if attempt is not None:
                attempt.close_channel()
                if (pidfd := attempt.detach_pidfd()) >= 0:
                    os.close(pidfd)
        self.owner.close()
        self.heir.close()
        for server in (self.owner.server, self.heir.server):
            server.close()


def give(
    channel: Channel, owner: Owner, said: wire.Hello, how: Wishes, limits: Limits, events: Events
) -> SourceAttempt:
    """A source attempt of `owner`; it begins with `begin`."""
    return SourceAttempt(
        channel,
        said,
        owner.server,
        owner,
        limits=limits,
        faults=Faults([]),
        wishes=how,
        report=events.append,
        generation=2,
    )
