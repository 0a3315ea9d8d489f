"""A destination attempt with a test as its source."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from hotswap.chain import Chain, Record
from hotswap.errors import (
    HotswapError,
)
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, to_memfd
from hotswap.handover.destination import DestinationAttempt
from hotswap.handover.ownership import OwnershipPipe
from hotswap.handover.rounds import Limits, Proof
from hotswap.handover.states import Destination, State
from tests.hotswap.handover.ends import LIMITS, Heir, Other, hello, own_pidfd
from tests.hotswap.toy import ADDRESS, Toy, play

RESOURCES = [
    wire.ListenerEntry("control", "", ""),
    wire.ListenerEntry("handover", "", ""),
    wire.ListenerEntry("server", "web", ADDRESS),
]
CHAIN = Chain([Record(1, "1.0", "build", "config", [], "/", 1, 0.0, "cold")])


class Taking:
    """A destination attempt, and this test as its source."""

    def __init__(self, **how: Any) -> None:
        self.server = Toy()
        self.heir = Heir(self.server)
        self.pipe = OwnershipPipe.fresh()
        self.clients: dict[int, socket.socket] = {}
        self.changes: dict[int, int] = {}  # of what was sent, by serial
        self.pidfd = how.pop("pidfd", -1)
        limits = Limits(**{name: how.pop(name, getattr(LIMITS, name)) for name in Limits.__struct_fields__})
        assert not how
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.other = Other(ours)
        self.attempt = DestinationAttempt(Channel(theirs), self.server, self.heir, limits=limits, faults=Faults([]))
        self.attempt.begin(hello())

    # -- the steps of a source -----------------------------------------------------------------------

    async def called(self) -> wire.Hello:
        """HELLO."""
        said, [pidfd] = await self.other.expect_with_fds(wire.Hello)
        os.close(pidfd)
        return said

    def proof(self) -> int:
        """A pidfd of the source."""
        return own_pidfd() if self.pidfd < 0 else os.dup(self.pidfd)

    async def welcomed(self) -> None:
        """Everything up to PIPE."""
        await self.called()
        self.say_welcome()
        self.say_resources()
        self.say_lock()
        self.say_pipe()

    def say_welcome(self) -> None:
        self.other.say(wire.Welcome(1, {"line": 1}, 2, 0, 10.0), self.proof())

    def say_resources(self) -> None:
        self.other.say(wire.Listeners(RESOURCES), *null(len(RESOURCES)))

    def say_lock(self) -> None:
        self.other.say(wire.Lock(), *null(1))

    def say_pipe(self) -> None:
        self.other.say(wire.Pipe(), self.pipe.read_end, close=False)

    def item(self, serial: int, state: bytes = b"", changes: int = 0) -> tuple[wire.Item, list[int]]:
        """A value with the descriptors that go with it."""
        known = serial in self.changes
        self.changes[serial] = changes
        fds = []
        if not known:
            client, server = socket.socketpair()
            client.settimeout(10)
            self.clients[serial] = client
            fds.append(server.detach())
        large = len(state) > wire.INLINE_VALUE
        if large:
            fds.append(to_memfd(state))
        return wire.Item("line", serial, changes, b"" if large else state, not known, large), fds

    async def round(self, states: dict[int, bytes], *, number: int = 1, changes: int = 0) -> wire.RoundDone:
        """One round with these values; what the destination says about it."""
        self.other.say(wire.Round(number))
        self.values(states, changes=changes)
        self.other.say(wire.RoundEnd(number))
        done = await self.other.expect(wire.RoundDone)
        assert done.number == number
        return done

    def values(self, states: dict[int, bytes], *, changes: int = 0) -> None:
        made = [self.item(serial, state, changes) for serial, state in states.items()]
        self.other.say(wire.Values([item for item, _ in made]), *(fd for _, fds in made for fd in fds))

    def say_final(self, *fds: int, **changes: Any) -> None:
        """The last pass, as it should be but for `changes`."""
        order = sorted(self.changes)
        fields: dict[str, Any] = {
            "connections": len(order),
            "digest": Proof(order).digest([self.changes[serial] for serial in order]),
            "shared": b"shared",
            "chain": CHAIN.encode(),
        }
        self.other.say(wire.Round(99, final=True))
        self.other.say(wire.Final(**{**fields, **changes}), *fds)

    async def owned(self, states: dict[int, bytes] | None = None) -> None:
        """Everything up to OWNED."""
        await self.welcomed()
        await self.round(states or {1: b"one", 2: b"two"})
        self.pipe.put()
        self.say_final()
        await self.other.expect(wire.Prepared)
        await self.other.expect(wire.Owned)

    def abort(self) -> None:
        """What a source does whose attempt failed."""
        self.pipe.put_abort()
        self.other.close()

    # -- the outcome -----------------------------------------------------------------------------------

    def state(self) -> State:
        return self.attempt.state

    async def over(self) -> State:
        return await self.attempt.over

    async def left(self, kind: type[HotswapError], words: str) -> None:
        """It ends itself for this reason and has touched nothing."""
        assert await self.over() is Destination.LEFT
        failure = self.heir.failure
        assert type(failure) is kind, repr(failure)
        assert words in str(failure)
        self.never_ticked()

    def never_ticked(self) -> None:
        assert "start" not in self.heir.calls
        assert "start_cold" not in self.heir.calls
        assert not self.server.ticking

    def close(self) -> None:
        self.attempt._close()
        if (pidfd := self.attempt.detach_pidfd()) >= 0:
            os.close(pidfd)
        self.other.close()
        self.pipe.close()
        if self.attempt.state is not Destination.ALONE:
            self.heir.close()
        self.server.close()
        for client in self.clients.values():
            client.close()


def null(count: int) -> list[int]:
    """Descriptors of nothing in particular."""
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


@contextlib.asynccontextmanager
async def taking(**how: Any) -> AsyncIterator[Taking]:
    made = Taking(**how)
    try:
        yield made
    finally:
        made.close()


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that runs in an event loop with a deadline."""

    def run() -> None:
        async def bounded() -> None:
            await test()

        play(bounded())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextlib.contextmanager
def mortal() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process to die in place of the source, and its pidfd."""
    with subprocess.Popen(["sleep", "60"]) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            yield process, pidfd
        finally:
            os.close(pidfd)
            process.kill()
