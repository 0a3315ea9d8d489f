"""The receiving side against a source that does its part."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hotswap.errors import (
    BindFailed,
    DestinationFailed,
    HotswapError,
)
from hotswap.handover import wire
from hotswap.handover.channel import to_memfd
from hotswap.handover.states import Destination
from tests.hotswap.handover.taking import CHAIN, RESOURCES, null, scenario, taking
from tests.hotswap.toy import ADDRESS, play

# -- a handover that succeeds ----------------------------------------------------------------------------


@scenario
async def test_from_hello_to_released() -> None:
    async with taking() as case:
        assert (await case.called()).wanted == [ADDRESS]
        case.say_welcome()
        case.say_resources()
        case.say_lock()
        case.say_pipe()
        done = await case.round({1: b"one", 2: b"two"})
        assert (done.restored, done.problems) == (2, [])
        assert case.server.chosen == {"line": 1}
        await case.round({2: b"two again"}, number=2, changes=1)
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.never_ticked()
        case.pipe.put()
        await case.other.expect(wire.Owned)
        assert case.heir.calls == ["adopt", "start"]
        assert case.server.calls == ["accept_descriptors", "adopt", "restore_shared", "start"]
        assert case.server.texts() == {1: b"one", 2: b"two again"}
        assert case.server.shared_state == b"shared"
        assert (case.heir.chain, case.heir.generation) == (CHAIN, 2)
        assert [entry for entry, _ in case.heir.entries] == RESOURCES
        case.server.answer(2, b"moved")
        assert case.clients[2].recv(100) == b"moved"
        case.other.say(wire.Bye(1.5, 1, 2, 0))
        await case.other.expect(wire.Released)
        assert await case.over() is Destination.STARTED
        assert case.heir.figures == wire.Bye(1.5, 1, 2, 0)


@scenario
async def test_a_byte_that_is_there_already_is_taken_at_once() -> None:
    async with taking() as case:
        await case.owned()
        assert case.server.ticking


@scenario
async def test_received_descriptors_are_never_inherited() -> None:
    async with taking() as case:
        await case.owned()
        fds = [fd for _, fd in case.heir.entries] + [case.heir.lock] + [line.fd for line in case.server.lines.values()]
        assert not any(os.get_inheritable(fd) for fd in fds)


@scenario
async def test_large_values_come_in_memory_files() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"L" * 100_000, 2: b"small", 3: b"M" * 50_000})
        await case.round({1: b"N" * 200_000}, number=2, changes=1)
        case.pipe.put()
        shared = b"S" * 300_000
        case.say_final(to_memfd(shared), shared=b"", shared_in_memfd=True)
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert case.server.texts() == {1: b"N" * 200_000, 2: b"small", 3: b"M" * 50_000}
        assert case.server.shared_state == shared


@scenario
async def test_what_the_source_closed_is_forgotten() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.other.say(wire.Closed([2, 77]))
        del case.changes[2]
        case.pipe.put()
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert list(case.server.lines) == [1]


@scenario
async def test_more_listeners_than_a_message_holds_come_in_several() -> None:
    async with taking() as case:
        await case.called()
        case.say_welcome()
        case.say_resources()
        entries = [wire.ListenerEntry("server", "", f"127.0.0.1:{port}") for port in range(1, wire.MAX_FDS + 1)]
        case.other.say(wire.Listeners(entries), *null(len(entries)))
        case.say_lock()
        case.say_pipe()
        await case.round({})
        assert len(case.heir.entries) == len(RESOURCES) + wire.MAX_FDS


# -- what cannot be restored -------------------------------------------------------------------------------


@scenario
async def test_a_value_it_has_no_place_for_is_reported_and_not_kept() -> None:
    async with taking() as case:
        await case.welcomed()
        case.server.refusing[2] = "too new"
        done = await case.round({1: b"one", 2: b"two"})
        assert done.problems == [wire.Problem(2, "too new")]
        case.other.say(wire.Closed([2]))
        del case.changes[2]
        case.pipe.put()
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert list(case.server.lines) == [1]


@scenario
async def test_one_that_was_restored_before_and_cannot_be_any_more_is_dropped() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.server.refusing[2] = "changed beyond recognition"
        done = await case.round({2: b"2"}, number=2, changes=1)
        assert [problem.serial for problem in done.problems] == [2]
        assert list(case.server.lines) == [1]


@scenario
async def test_any_number_of_problems_is_reported_in_portions() -> None:
    async with taking() as case:
        await case.welcomed()
        case.server.refusing = dict.fromkeys(range(150), "ü" * 1000)
        reported: list[int] = []
        number = 1
        done = await case.round(dict.fromkeys(range(152), b"x"))
        while done.problems:
            reported += [problem.serial for problem in done.problems]
            number += 1
            # The source knows only of these: the others may well have changed meanwhile.
            unknown = [serial for serial in range(150) if serial not in reported]
            done = await case.round(dict.fromkeys(unknown[:3], b"y"), number=number, changes=number)
        assert reported == list(range(150))
        assert sorted(case.server.lines) == [150, 151]


@scenario
async def test_a_value_of_the_last_pass_that_cannot_be_restored_is_the_end_of_the_attempt() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.server.refusing[2] = "too new"
        case.other.say(wire.Round(2, final=True))
        case.values({2: b"2"}, changes=1)
        case.say_final()
        unable = await case.other.expect(wire.Unable)
        assert "1 values of the last pass cannot be restored: too new" in unable.reason
        case.abort()
        await case.left(DestinationFailed, "cannot be restored")


@pytest.mark.parametrize(
    "changes", [{"connections": 3}, {"connections": 1}, {"digest": b"\0" * 16}, {"digest": b""}], ids=str
)
def test_a_count_or_digest_that_differs_is_the_end_of_the_attempt(changes: dict[str, Any]) -> None:
    async def run() -> None:
        async with taking() as case:
            await case.welcomed()
            await case.round({1: b"one", 2: b"two"})
            case.say_final(**changes)
            unable = await case.other.expect(wire.Unable)
            assert "count or digest differ" in unable.reason
            assert case.state() is Destination.DOOMED
            case.pipe.put()  # whatever it finds there: the values are not right
            assert case.pipe.take().name == "GOT_O", "a doomed destination does not look while the source lives"
            case.abort()
            assert await case.over() is Destination.LEFT
            case.never_ticked()

    play(run())


def test_a_change_that_was_never_copied_shows_in_the_digest() -> None:
    async def run() -> None:
        async with taking() as case:
            await case.welcomed()
            await case.round({1: b"one", 2: b"two"})
            case.changes[2] += 1  # it changed at the source, and nobody sent it
            case.say_final()
            await case.other.expect(wire.Unable)

    play(run())


@scenario
async def test_listeners_that_cannot_be_bound_are_told_with_their_own_code() -> None:
    async with taking() as case:
        case.heir.adopting_fails = BindFailed("127.0.0.1:80 cannot be bound")
        await case.welcomed()
        unable = await case.other.expect(wire.Unable)
        assert (unable.code, unable.reason) == (BindFailed.exit_code, "127.0.0.1:80 cannot be bound")
        # The source has not heard of it yet and goes on sending.
        case.other.say(wire.Round(1))
        case.values({1: b"one"})
        case.other.say(wire.RoundEnd(1))
        case.abort()
        await case.left(BindFailed, "127.0.0.1:80")
        assert case.server.lines == {}


@scenario
async def test_a_shared_state_that_cannot_be_restored_is_told() -> None:
    async with taking() as case:

        def refuse(_state: bytes, _now: float) -> None:
            raise HotswapError("counters of another kind")

        case.server.restore_shared = refuse  # type: ignore[assignment, method-assign]
        await case.welcomed()
        await case.round({})
        case.say_final()
        unable = await case.other.expect(wire.Unable)
        assert "counters of another kind" in unable.reason


@scenario
async def test_a_chain_that_cannot_be_read_is_told() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({})
        case.say_final(chain=b"\xc1")
        assert "shared state" in (await case.other.expect(wire.Unable)).reason


# -- stragglers ----------------------------------------------------------------------------------------------


@scenario
async def test_a_straggler_is_owned_on_receipt() -> None:
    async with taking() as case:
        await case.owned({1: b"one"})
        for serial, text in ((7, b"late"), (8, b"L" * 100_000)):
            item, fds = case.item(serial, text)
            case.other.say(wire.Straggler(item), *fds)
        case.other.say(wire.Bye())
        await case.other.expect(wire.Released)
        assert case.server.texts() == {1: b"one", 7: b"late", 8: b"L" * 100_000}
        case.server.answer(7, b"moved")
        assert case.clients[7].recv(100) == b"moved"


@scenario
async def test_a_bad_straggler_costs_itself_only() -> None:
    async with taking() as case:
        case.server.refusing[7] = "too new"
        await case.owned({1: b"one"})
        item, fds = case.item(7, b"late")
        case.other.say(wire.Straggler(item), *fds)
        item, fds = case.item(8, b"fine")
        case.other.say(wire.Straggler(item), *fds)
        case.other.say(wire.Bye())
        await case.other.expect(wire.Released)
        assert case.server.texts() == {1: b"one", 8: b"fine"}
        assert case.clients[7].recv(100) == b"", "its client must hear of it"
