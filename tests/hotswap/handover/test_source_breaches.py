"""The giving side against a destination that breaks the protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable

import pytest

from hotswap.errors import (
    ProtocolError,
)
from hotswap.handover import wire
from hotswap.handover.channel import to_memfd
from tests.hotswap.handover.ends import hello, own_pidfd
from tests.hotswap.handover.giving import Giving, giving, scenario
from tests.hotswap.toy import no_leak, play

# -- a destination that breaks the protocol ----------------------------------------------------------------


async def nothing_yet(case: Giving) -> None:
    """Right after WELCOME."""
    await case.welcome()


async def a_round(case: Giving) -> None:
    """With a round to be answered."""
    await case.welcome()
    await case.copied()


async def frozen(case: Giving) -> None:
    """With FINAL received."""
    await case.welcome()
    await case.round()
    await case.final()


BREACHES: list[tuple[Callable[[Giving], Awaitable[None]], wire.Message, int, str]] = [
    (nothing_yet, hello(), 0, "a source was sent Hello"),
    (nothing_yet, wire.Lock(), 1, "a source was sent Lock"),
    (a_round, wire.Final(0, b"", b"", b""), 0, "a source was sent Final"),
    (a_round, wire.Bye(), 0, "a source was sent Bye"),
    (a_round, wire.RoundDone(7, 3, []), 0, "ROUND_DONE 7 out of turn"),
    (a_round, wire.Prepared(), 0, "PREPARED out of turn in state COPYING"),
    (a_round, wire.Owned(), 0, "OWNED out of turn in state COPYING"),
    (a_round, wire.Released(), 0, "RELEASED out of turn in state COPYING"),
    (frozen, wire.RoundDone(1, 3, []), 0, "ROUND_DONE 1 out of turn"),
    (frozen, wire.Released(), 0, "RELEASED out of turn in state OFFERED"),
    (frozen, wire.Welcome(1, {}, 1, 1, 1.0), 3, "a source was sent Welcome"),
]


@pytest.mark.parametrize(
    ("until", "message", "fds", "words"), BREACHES, ids=[f"{b[0].__name__}-{type(b[1]).__name__}" for b in BREACHES]
)
def test_a_message_out_of_turn_ends_the_attempt_and_nothing_else(
    until: Callable[[Giving], Awaitable[None]], message: wire.Message, fds: int, words: str
) -> None:
    async def run() -> None:
        async with giving() as case:
            await until(case)
            case.other.say(message, *(own_pidfd() for _ in range(fds)))
            await case.taken_back(ProtocolError, words)
            assert "end_destination" in case.owner.calls

    with no_leak():
        play(run())


@pytest.mark.parametrize("until", [nothing_yet, a_round, frozen])
@pytest.mark.parametrize("garbage", [b"\0", b"\x91\xa5OWNED\xff", b"\x92\xa8PREPARED", b"\x91" * 5000])
def test_garbage_ends_the_attempt_and_nothing_else(until: Callable[[Giving], Awaitable[None]], garbage: bytes) -> None:
    async def run() -> None:
        async with giving() as case:
            await until(case)
            with socket.socket(fileno=os.dup(case.other.channel.fileno())) as raw:
                raw.send(garbage)
            await case.taken_back(ProtocolError, "not a handover message")

    with no_leak():
        play(run())


@scenario
async def test_a_flood_of_acknowledgements_opens_nothing() -> None:
    async with giving() as case:
        for _ in range(100):
            case.other.say(wire.Ack(2**62))
        await case.own()
        await case.other.expect(wire.Bye)


@pytest.mark.parametrize("kind", ["file", "pipe", "memfd"])
def test_a_proof_of_life_that_is_no_pidfd_is_refused(kind: str) -> None:
    async def run() -> None:
        if kind == "file":
            fd = os.open("/dev/null", os.O_RDONLY)
        elif kind == "memfd":
            fd = to_memfd(b"Pid:\t1\n")
        else:
            fd, writer = os.pipe()
            os.close(writer)
        async with giving(pidfd=fd) as case:
            refused = await case.other.expect(wire.Refused)
            assert (refused.code, "no pidfd" in refused.reason) == (ProtocolError.exit_code, True)
            await case.taken_back(ProtocolError, "no pidfd")
            assert not case.server.copies_elsewhere

    with no_leak():
        play(run())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("until", [a_round, frozen])
def test_a_message_of_another_user_is_not_believed(until: Callable[[Giving], Awaitable[None]]) -> None:
    """The channel may have been inherited by, or passed on to, a process of less right."""

    async def run() -> None:
        async with giving() as case:
            await until(case)
            fd = case.other.channel.fileno()
            message = wire.RoundDone(1, 3, []) if until is a_round else wire.Owned()
            program = f"import os, socket; os.setuid(65534); socket.socket(fileno={fd}).send({wire.encode(message)!r})"
            argv = [sys.executable, "-I", "-c", program]
            stranger = await asyncio.create_subprocess_exec(*argv, pass_fds=[fd])
            await case.taken_back(ProtocolError, "uid 65534")
            assert await stranger.wait() == 0

    play(run())
