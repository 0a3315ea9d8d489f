"""A toy server, the generation around it, and both ends of a handover in one event loop.

Toy        a `Swappable` in memory: its connections are real socket pairs, its state a text
Owner      what the source's generation does (`handover.holder.Holder`), noted down
Heir       what the destination's generation does (`handover.holder.Taker`), noted down
Other      the other end of a channel, driven message by message by a test
Handover   a source attempt and a destination attempt over a real SEQPACKET socket pair
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hotswap.address import Address
from hotswap.chain import Chain
from hotswap.errors import CannotRestore, HotswapError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received
from hotswap.handover.destination import DestinationAttempt
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits
from hotswap.handover.source import SourceAttempt
from hotswap.handover.states import State
from hotswap.server import Server
from hotswap.swappable import ListenerSpec, Saved, Schema, Value

T = TypeVar("T")
M = TypeVar("M", bound=wire.Message)

Events = list[dict[str, Any]]

PATIENCE = 10.0  # seconds for anything that takes a fraction of one
ADDRESS = "127.0.0.1:7000"
LIMITS = Limits(attempt=PATIENCE, freeze=PATIENCE, grace=PATIENCE, release=PATIENCE, stragglers=PATIENCE)


def play(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario with a deadline; what the loop had to report makes it fail."""
    complaints: list[dict[str, Any]] = []

    async def bounded() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        return await asyncio.wait_for(scenario, 2 * PATIENCE)

    answer = asyncio.run(bounded())
    assert not complaints
    return answer


def open_descriptors() -> dict[str, str]:
    """What this process has open: number and what stands behind it."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[entry.name] = str(entry.readlink())
    return found


@contextlib.contextmanager
def no_leak() -> Iterator[None]:
    """The block closes every descriptor it opens."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    assert after.keys() <= before.keys(), {fd: after[fd] for fd in after.keys() - before.keys()}


class Line:
    """One connection: what was written to it last is its state."""

    kind = "line"

    def __init__(self, serial: int, fd: int, text: bytes) -> None:
        self.serial = serial
        self.fd = fd
        self.changes = 0
        self.text = text

    def save(self, now: float) -> bytes:
        return self.text


class Toy(Server):
    """Notes in `calls` what it was told, in order."""

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self.clients: dict[int, socket.socket] = {}
        self.calls: list[str] = []
        self.shared_state = b""
        self.refusing: dict[int, str] = {}  # serials that it cannot restore
        self.reasons: dict[int, str] = {}  # serials that stay
        self.unfinished: set[int] = set()  # serials that are no value yet
        self.ticking = False
        self.copies_elsewhere = False
        self.chosen: dict[str, int] = {}

    # -- for tests -----------------------------------------------------------------------------------

    def connect(self, *serials: int, text: bytes = b"") -> None:
        """Clients call."""
        for serial in serials:
            client, server = socket.socketpair()
            client.settimeout(PATIENCE)
            self.clients[serial] = client
            self.lines[serial] = Line(serial, server.detach(), text)

    def receive(self, serial: int, text: bytes) -> None:
        """Something comes in on a connection."""
        line = self.lines[serial]
        line.text = text
        line.changes += 1

    def answer(self, serial: int, text: bytes) -> None:
        """Write to a client."""
        os.write(self.lines[serial].fd, text)

    def texts(self) -> dict[int, bytes]:
        """The state of every connection."""
        return {serial: line.text for serial, line in self.lines.items()}

    def close(self) -> None:
        """Close everything."""
        for serial in list(self.lines):
            self.forget(serial)
        for client in self.clients.values():
            client.close()

    # -- Swappable -----------------------------------------------------------------------------------

    def schemas(self) -> Mapping[str, Schema]:
        return {"line": Schema(1, 1)}

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        self.chosen = dict(chosen)

    def wanted(self) -> Sequence[ListenerSpec]:
        return [ListenerSpec("web", Address.parse(ADDRESS))]

    def adopt(self, listeners: Mapping[str, int]) -> None:
        self.calls.append("adopt")

    def values(self) -> Mapping[int, Value]:
        return self.lines

    def restore(self, saved: Saved, now: float) -> None:
        if saved.serial in self.refusing:
            if saved.fd >= 0:
                os.close(saved.fd)
            raise CannotRestore(self.refusing[saved.serial])
        line = self.lines.get(saved.serial)
        if line is None:
            assert saved.fd >= 0, "the first time a descriptor comes along"
            line = self.lines[saved.serial] = Line(saved.serial, saved.fd, b"")
        line.text, line.changes = saved.state, saved.changes

    def forget(self, serial: int) -> None:
        os.close(self.lines.pop(serial).fd)

    def save_shared(self, now: float) -> bytes:
        return self.shared_state

    def restore_shared(self, state: bytes, now: float) -> None:
        self.calls.append("restore_shared")
        self.shared_state = state

    def staying(self) -> Mapping[int, str]:
        return {serial: reason for serial, reason in self.reasons.items() if serial in self.lines}

    def keep(self, serials: Collection[int], reason: str) -> None:
        self.reasons.update(dict.fromkeys(serials, reason))

    def stragglers(self) -> Collection[int]:
        return sorted(self.unfinished & self.lines.keys())

    def sharing(self, shared: bool) -> None:
        self.copies_elsewhere = shared

    def freeze(self) -> None:
        self.calls.append("freeze")
        self.ticking = False

    def thaw(self) -> None:
        self.calls.append("thaw")
        self.ticking = True

    def start(self) -> None:
        self.calls.append("start")
        self.ticking = True

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        self.calls.append("retire")
        self.retired = True
        for serial in self.lines.keys() - set(kept):
            self.forget(serial)

    def abandon(self) -> None:
        self.calls.append("abandon")
        super().abandon()

    def in_flight(self) -> int:
        return len(self.lines) // 2


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
        self.failure: HotswapError | None = None
        self.adopting_fails: HotswapError | None = None

    def adopt(self, entries: list[tuple[wire.ListenerEntry, int]], lock: int) -> None:
        self.calls.append("adopt")
        self.entries, self.lock = entries, lock
        if self.adopting_fails is not None:
            raise self.adopting_fails
        self.server.adopt({"web": entries[-1][1]})

    def restore_chain(self, chain: bytes, generation: int) -> None:
        self.chain, self.generation = Chain.decode(chain), generation

    def start(self) -> None:
        self.calls.append("start")
        self.server.start()

    def start_cold(self) -> None:
        self.calls.append("start_cold")
        self.server.abandon()
        self.server.start()

    def told(self, figures: wire.Bye) -> None:
        self.figures = figures

    def leave(self, failure: HotswapError | None) -> None:
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
