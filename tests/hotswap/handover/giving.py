"""A source attempt with a test as its destination."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

from hotswap.errors import (
    HotswapError,
)
from hotswap.handover import wire
from hotswap.handover.channel import Channel, from_memfd
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits
from hotswap.handover.states import Source, State
from tests.hotswap.handover.ends import LIMITS, Other, Owner, give, hello, own_pidfd
from tests.hotswap.toy import Toy, no_leak, play


class Giving:
    """A source attempt, and this test as its destination."""

    def __init__(self, server: Toy, **how: Any) -> None:
        self.server = server
        self.owner = Owner(server)
        self.events: list[dict[str, Any]] = []
        self.pipe = -1
        self.held: dict[int, int] = {}  # descriptors received, by serial
        self.seen: dict[int, bytes] = {}  # states received, by serial
        self.closed: list[int] = []
        pidfd = how.pop("pidfd", None)
        wishes = Wishes(how.pop("dry_run", False), how.pop("require_all", False))
        limits = Limits(**{name: how.pop(name, getattr(LIMITS, name)) for name in Limits.__struct_fields__})
        assert not how
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.other = Other(theirs)
        self.attempt = give(Channel(ours), self.owner, hello(), wishes, limits, self.events)
        self.attempt.begin({"line": 1}, own_pidfd() if pidfd is None else pidfd)

    # -- the steps of a destination ------------------------------------------------------------------

    async def welcome(self) -> wire.Welcome:
        """WELCOME and what comes with it."""
        welcome = await self.other.expect(wire.Welcome)
        await self.other.expect(wire.Listeners)
        await self.other.expect(wire.Lock)
        _, [self.pipe] = await self.other.expect_with_fds(wire.Pipe)
        return welcome

    async def round(self, *problems: wire.Problem) -> int:
        """One round, taken in and answered; its number."""
        begun = await self.copied()
        self.other.say(wire.RoundDone(begun.number, len(self.seen), list(problems)))
        return begun.number

    async def copied(self) -> wire.Round:
        """One round, taken in and not answered yet."""
        begun = await self.other.expect(wire.Round)
        assert not begun.final
        while not isinstance(message := await self.take(), wire.RoundEnd):
            pass
        assert message.number == begun.number
        return begun

    async def final(self) -> wire.Final:
        """The last pass."""
        assert (await self.other.expect(wire.Round)).final
        while not isinstance(message := await self.take(), wire.Final):
            pass
        return message

    async def take(self) -> wire.AnyMessage:
        """One message; values and descriptors are noted."""
        message: wire.AnyMessage
        message, fds, _ = await self.other.next()
        if isinstance(message, wire.Values):
            for item in message.items:
                self.note(item, fds)
        elif isinstance(message, wire.Closed):
            self.closed += message.serials
        for fd in fds:
            os.close(fd)
        return message

    def note(self, item: wire.Item, fds: list[int]) -> None:
        if item.with_fd:
            self.held[item.serial] = fds.pop(0)
        self.seen[item.serial] = from_memfd(fds.pop(0)) if item.in_memfd else item.state

    def take_byte(self) -> bytes:
        """What the pipe holds now, if anything."""
        try:
            return os.read(self.pipe, 16)
        except BlockingIOError:
            return b""

    async def own(self) -> None:
        """Everything up to OWNED."""
        await self.welcome()
        await self.round()
        await self.final()
        self.other.say(wire.Prepared())
        assert self.take_byte() == b"O"
        self.other.say(wire.Owned())

    # -- the outcome ---------------------------------------------------------------------------------

    async def over(self) -> HotswapError | None:
        """Wait for the end; why it failed."""
        await self.attempt.over
        return self.attempt.failure

    def state(self) -> State:
        return self.attempt.state

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until something is so; the whole scenario has a deadline."""
        while not condition():  # noqa: ASYNC110  what a machine does inside sends no event
            await asyncio.sleep(0)

    async def taken_back(self, kind: type[HotswapError], words: str = "") -> None:
        """The attempt fails for this reason, and the server is as if it had never been."""
        failure = await self.over()
        assert isinstance(failure, kind), repr(failure)
        assert failure.exit_code == kind.exit_code
        assert words in str(failure)
        assert self.attempt.state is Source.SERVING
        assert self.server.ticking
        assert "retire" not in self.server.calls
        assert self.owner.calls.count("freeze") == self.owner.calls.count("thaw")
        if self.pipe >= 0:
            assert self.take_byte() == b"A", "who reads the pipe later must find the abort"
        for serial, client in self.server.clients.items():
            self.server.answer(serial, b"still here")
            assert client.recv(100) == b"still here"

    def close(self) -> None:
        self.attempt._close()
        if (pidfd := self.attempt.detach_pidfd()) >= 0:
            os.close(pidfd)
        self.other.close()
        self.owner.close()
        self.server.close()
        for fd in [self.pipe, *self.held.values()]:
            if fd >= 0:
                os.close(fd)


def three_connections(*, unfinished: Collection[int] = ()) -> Toy:
    server = Toy()
    server.connect(1, 2, 3, text=b"before")
    server.unfinished = set(unfinished)
    return server


@contextlib.asynccontextmanager
async def giving(server: Toy | None = None, **how: Any) -> AsyncIterator[Giving]:
    """A `Giving` that leaves no descriptor open, whatever happens in the block."""
    server = server or three_connections()
    made = Giving(server, **how)
    try:
        yield made
    finally:
        made.close()


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that runs in an event loop with a deadline, and leaks nothing."""

    def run() -> None:
        async def bounded() -> None:
            await test()

        with no_leak():
            play(bounded())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextlib.contextmanager
def mortal() -> Any:
    """A process to die in place of the destination."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()
