"""The receiving side when the source takes back, goes silent or dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess

import pytest

from hotswap.errors import (
    DeadlinePassed,
    SourceHung,
    Superseded,
)
from hotswap.handover import wire
from hotswap.handover.states import Destination
from tests.hotswap.handover.taking import mortal, scenario, taking

# -- what comes instead of the byte ------------------------------------------------------------------------


@scenario
async def test_a_refusal_ends_it_with_the_reason_of_the_source() -> None:
    async with taking() as case:
        await case.called()
        case.other.say(wire.Refused(Superseded.exit_code, "a later generation superseded this one"))
        await case.left(Superseded, "superseded this one")


@scenario
async def test_an_abort_ends_it() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.abort()
        assert await case.over() is Destination.LEFT
        assert case.heir.failure is None, "nothing went wrong here: the source took it back"
        case.never_ticked()


@scenario
async def test_an_abort_in_the_middle_of_a_round_ends_it() -> None:
    async with taking() as case:
        await case.welcomed()
        case.other.say(wire.Round(1))
        case.values({1: b"one"})
        case.abort()
        assert await case.over() is Destination.LEFT
        case.never_ticked()


@scenario
async def test_the_end_of_the_channel_is_no_death() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.other.close()
        while case.attempt.state is not Destination.DOOMED_LOOK:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0)
        case.never_ticked()
        case.pipe.put_abort()
        assert await case.over() is Destination.LEFT


@scenario
async def test_a_source_that_never_answers_is_hung() -> None:
    async with taking(attempt=0.05) as case:
        await case.called()
        await case.left(SourceHung, "took the call and does not answer")


@scenario
async def test_a_source_that_goes_silent_with_the_byte_in_hand_is_given_up() -> None:
    async with taking(attempt=0.5, freeze=0.1) as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.left(DeadlinePassed, "did not come to an end in time")


@scenario
async def test_a_byte_beats_the_deadline_that_passed_while_this_process_stood_still() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.attempt.set_deadline(0.01, case.attempt._late)
        case.pipe.put()
        stand_still(0.05)
        assert not case.attempt.over.done()
        await case.other.expect(wire.Owned)


def stand_still(seconds: float) -> None:
    """As SIGSTOP and SIGCONT: this process does nothing meanwhile."""
    with contextlib.suppress(subprocess.TimeoutExpired), subprocess.Popen(["sleep", "60"]) as process:
        try:
            process.wait(seconds)
        finally:
            process.kill()


# -- a source that dies --------------------------------------------------------------------------------------


@scenario
async def test_one_that_dies_before_it_gave_anything_leaves_a_clean_start() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.called()
            case.say_welcome()
            case.say_resources()
            case.say_lock()
            process.kill()
            case.other.close()
            assert await case.over() is Destination.ALONE
            assert case.heir.calls == []
            for fd in (*(fd for _, fd in case.attempt._listeners), case.attempt._lock):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)  # the lock's copy above all: nobody could ever start cold


@scenario
async def test_one_that_dies_while_copying_leaves_the_listeners() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            process.kill()
            assert await case.over() is Destination.COLD
            assert case.heir.calls == ["adopt", "start_cold"]
            assert case.server.lines == {}


@scenario
async def test_one_that_dies_with_the_byte_out_leaves_everything() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final()
            process.kill()
            process.wait()
            assert await case.over() is Destination.STARTED
            assert case.heir.calls == ["adopt", "start"]
            assert case.server.texts() == {1: b"one"}


@scenario
async def test_one_that_dies_with_a_doomed_one_leaves_the_listeners() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final(connections=5)
            await case.other.expect(wire.Unable)
            process.kill()
            assert await case.over() is Destination.COLD
            assert case.server.lines == {}


@scenario
async def test_one_that_dies_before_bye_is_not_missed() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.owned()
            process.kill()
            assert await case.over() is Destination.STARTED
            assert case.server.ticking


@scenario
async def test_one_that_dies_with_stragglers_is_not_waited_for() -> None:
    """Else the next source would wait for them until its deadline: this very process, when it is replaced."""
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final(stragglers=[7])
            await case.other.expect(wire.Prepared)
            await case.other.expect(wire.Owned)
            assert list(case.server.stragglers()) == [7]
            process.kill()
            assert await case.over() is Destination.STARTED
            assert list(case.server.stragglers()) == []
