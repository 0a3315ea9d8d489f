"""What nobody understands may have been OWNED: a source never thaws on it. Who cannot say OWNED never ticks."""

from __future__ import annotations

import asyncio

import pytest

from hotswap.errors import ProtocolError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.states import Source
from tests.hotswap.handover.giving import Giving, giving
from tests.hotswap.handover.taking import taking
from tests.hotswap.toy import PATIENCE, play


async def _offered(case: Giving) -> None:
    await case.welcome()
    await case.round()
    await case.final()


def _garble(case: Giving, message: wire.Message) -> None:
    case.other.channel.corrupt_next = True
    case.other.say(message)


def test_garbage_before_the_byte_is_taken_is_a_failed_attempt() -> None:
    async def run() -> None:
        async with giving() as case:
            await _offered(case)
            _garble(case, wire.Prepared())
            await case.taken_back(ProtocolError)

    play(run())


def test_an_owned_that_nobody_understands_is_no_reason_to_thaw() -> None:
    async def run() -> None:
        async with giving() as case:
            await _offered(case)
            case.other.say(wire.Prepared())
            assert case.take_byte() == b"O"
            _garble(case, wire.Owned())
            await case.other.expect(wire.Bye)
            case.other.say(wire.Released())
            await case.over()
            assert case.state() is Source.GONE
            assert "thaw" not in case.server.calls
            assert "end_destination" not in case.owner.calls

    play(run())


def test_nor_is_one_that_comes_late() -> None:
    async def run() -> None:
        async with giving(freeze=0.05, grace=PATIENCE) as case:
            await _offered(case)
            assert case.take_byte() == b"O"
            await case.until(lambda: case.state() is Source.WAITING)
            _garble(case, wire.Owned())
            await case.other.expect(wire.Bye)
            assert "end_destination" not in case.owner.calls

    play(run())


def test_a_prepared_that_nobody_understands_and_then_owned() -> None:
    async def run() -> None:
        async with giving() as case:
            await _offered(case)
            assert case.take_byte() == b"O"
            _garble(case, wire.Prepared())
            case.other.say(wire.Owned())
            await case.other.expect(wire.Bye)
            case.other.say(wire.Released())
            await case.over()
            assert case.state() is Source.GONE

    play(run())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_destination_that_could_not_say_owned_leaves(when: str) -> None:
    async def run() -> None:
        async with taking() as case:
            case.attempt.faults = Faults([f"destination.send_owned.{when}:raise"])
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final()
            await case.other.expect(wire.Prepared)
            if when == "after":
                await case.other.expect(wire.Owned)
                assert case.server.ticking
                return
            while "leave" not in case.heir.calls:  # noqa: ASYNC110  what a machine does inside sends no event
                await asyncio.sleep(0)
            case.never_ticked()

    play(run())
