"""The giving side when the destination, the clock or the server itself fails."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from hotswap.errors import (
    AttemptFailed,
    ConnectionsLost,
    DeadlinePassed,
    DestinationFailed,
    HotswapError,
)
from hotswap.handover import wire
from hotswap.handover.states import Source
from tests.hotswap.handover.giving import giving, mortal, scenario, three_connections
from tests.hotswap.toy import Toy, play

# -- time --------------------------------------------------------------------------------------------------


@scenario
async def test_a_destination_that_restores_for_ever_is_given_up() -> None:
    async with giving(attempt=0.5) as case:
        await case.welcome()
        await case.copied()
        await case.taken_back(DeadlinePassed, "copying was not done in time")


@scenario
async def test_a_destination_that_stops_reading_in_the_freeze_is_given_up() -> None:
    server = Toy()
    server.connect(*range(200), text=b"x")
    async with giving(server, rounds=1, freeze=0.1) as case:
        await case.welcome()
        begun = await case.copied()
        for serial in server.lines:
            server.receive(serial, b"y" * wire.INLINE_VALUE)  # 6 MB: more than the socket takes
        case.other.say(wire.RoundDone(begun.number, 200, []))
        await case.taken_back(DeadlinePassed, "stopped reading in the middle of the freeze")
        assert server.calls == ["freeze", "thaw"]
        assert "end_destination" in case.owner.calls


@scenario
async def test_a_destination_that_does_not_take_the_byte_loses_it() -> None:
    async with giving(freeze=0.05) as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.say(wire.Prepared())
        await case.taken_back(DeadlinePassed, "did not take over in time after the freeze")


@scenario
async def test_one_that_took_the_byte_and_went_silent_is_waited_for() -> None:
    async with giving(freeze=0.5, grace=0.02) as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.take_byte() == b"O"
        await case.until(lambda: case.owner.calls == ["freeze", "end_destination"])
        assert case.state() is Source.WAITING
        assert not case.server.ticking, "the byte is out: whoever holds it may tick"
        case.other.say(wire.Owned())  # it was about to
        await case.other.expect(wire.Bye)
        case.other.say(wire.Released())
        await case.over()
        assert case.state() is Source.GONE


@scenario
async def test_a_missing_release_does_not_keep_the_source_for_ever() -> None:
    async with giving(release=0.05) as case:
        await case.own()
        await case.other.expect(wire.Bye)
        await case.over()
        assert case.state() is Source.GONE


@scenario
async def test_cancelled_before_the_commit_it_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.attempt.cancel(AttemptFailed("told to end"))
        await case.taken_back(AttemptFailed, "told to end")


@scenario
async def test_cancelled_in_the_freeze_it_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.attempt.frozen
        case.attempt.cancel(AttemptFailed("told to end"))
        await case.taken_back(AttemptFailed, "told to end")


@scenario
async def test_cancelled_after_the_commit_it_is_finished_all_the_same() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=60.0) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.attempt.cancel(AttemptFailed("too late"))
        case.server.unfinished = set()
        await case.other.expect(wire.Straggler)
        await case.other.expect(wire.Bye)
        case.attempt.cancel(AttemptFailed("too late"))
        await asyncio.sleep(0)
        assert case.state() is Source.LEAVING
        case.other.say(wire.Released())
        assert await case.over() is None


# -- a destination that fails ----------------------------------------------------------------------------


@scenario
async def test_one_that_is_unable_after_the_freeze_says_why() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.say(wire.Unable(14, "count or digest differ"))
        await case.taken_back(DestinationFailed, "count or digest differ")
        assert case.server.calls == ["freeze", "thaw"]


@scenario
async def test_one_that_is_unable_while_copying_says_why() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.other.say(wire.Unable(8, "127.0.0.1:80 cannot be bound"))
        await case.taken_back(DestinationFailed, "127.0.0.1:80 cannot be bound")


@scenario
async def test_one_that_hangs_up_while_copying_changes_nothing() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.other.close()
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.server.calls == []


@scenario
async def test_one_that_hangs_up_after_the_freeze_without_the_byte_loses_it() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.close()
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.server.calls == ["freeze", "thaw"]
        assert case.take_byte() == b"A"


@scenario
async def test_one_that_dies_with_the_byte_before_owned_has_done_nothing() -> None:
    with mortal() as process:
        async with giving(pidfd=os.pidfd_open(process.pid)) as case:
            await case.welcome()
            await case.round()
            await case.final()
            assert case.take_byte() == b"O"
            case.other.close()
            await case.until(lambda: case.attempt.state is Source.WAITING)
            assert not case.server.ticking, "the end of the channel is no death"
            process.kill()
            assert await case.over() is None
            assert case.state() is Source.SERVING
            assert case.server.calls == ["freeze", "thaw"]
            assert case.attempt.peer_dead


@pytest.mark.parametrize("said_bye", [False, True])
def test_one_that_dies_as_owner_before_released_gives_the_listeners_back(said_bye: bool) -> None:
    async def run() -> None:
        with mortal() as process:
            async with giving(
                three_connections(unfinished=set() if said_bye else {2}),
                pidfd=os.pidfd_open(process.pid),
                stragglers=60.0,
            ) as case:
                await case.own()
                if said_bye:
                    await case.other.expect(wire.Bye)
                process.kill()
                failure = await case.over()
                assert type(failure) is ConnectionsLost
                assert case.state() is Source.ALONE
                assert case.owner.calls == ["freeze", "retired", "take_listeners"]

    play(run())


@scenario
async def test_one_that_dies_with_released_on_its_way_is_gone_for_good() -> None:
    with mortal() as process:
        async with giving(pidfd=os.pidfd_open(process.pid)) as case:
            await case.own()
            await case.other.expect(wire.Bye)
            case.other.say(wire.Released())
            process.kill()  # both are there when the loop looks: the message counts
            process.wait()
            assert await case.over() is None
            assert case.state() is Source.GONE


# -- a server that fails -----------------------------------------------------------------------------------


def failing(*_: object) -> Any:
    raise ZeroDivisionError("a bug of the server")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("freeze", "source.freeze failed"),
        ("save_shared", "source.send_final failed"),
        ("in_flight", "could not be processed"),
    ],
)
def test_a_bug_of_the_server_costs_the_attempt_only(method: str, words: str) -> None:
    async def run() -> None:
        server = Toy()
        server.connect(1, 2)
        setattr(server, method, failing)
        async with giving(server) as case:
            await case.welcome()
            await case.round()
            failure = await case.over()
            assert words in str(failure)
            assert case.state() is Source.SERVING
            assert server.ticking
            assert case.take_byte() == b"A"

    play(run())


@scenario
async def test_a_value_that_cannot_be_saved_costs_the_attempt_only() -> None:
    async with giving() as case:
        case.server.lines[2].save = failing  # type: ignore[assignment, method-assign]
        await case.welcome()
        await case.taken_back(HotswapError, "a value could not be copied: ZeroDivisionError")


@pytest.mark.parametrize("at", ["copying", "frozen", "straggling"])
def test_a_value_whose_descriptor_is_not_open_is_never_lost_in_silence(at: str) -> None:
    """The kernel refuses to pass it on: that is no end of the channel."""

    async def run() -> None:
        async with giving(three_connections(unfinished={3} if at == "straggling" else ())) as case:
            line = case.server.lines[3]
            fd, line.fd = line.fd, 9999
            if at == "straggling":
                await case.own()
                await case.until(lambda: "retired" in case.owner.calls)
                case.server.unfinished = set()
                await case.other.expect(wire.Bye)
                assert list(case.server.lines) == [3], "what cannot be sent is kept"
                line.fd = fd
                return
            if at == "copying":
                await case.welcome()
                failure = await case.over()
            else:
                line.fd = fd
                await case.welcome()
                begun = await case.copied()
                case.server.connect(4)
                fd, case.server.lines[4].fd = case.server.lines[4].fd, 9999
                line = case.server.lines[4]
                case.other.say(wire.RoundDone(begun.number, 3, []))
                failure = await case.over()
            line.fd = fd
            assert "Bad file descriptor" in str(failure)
            assert case.attempt.state is Source.SERVING
            assert case.server.ticking

    play(run())
