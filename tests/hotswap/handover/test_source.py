"""The giving side against a destination that does its part."""

from __future__ import annotations

import os

import pytest

from hotswap.errors import (
    LeftBehind,
)
from hotswap.handover import wire
from hotswap.handover.channel import from_memfd
from hotswap.handover.rounds import Proof
from hotswap.handover.states import Source
from tests.hotswap.handover.giving import giving, scenario, three_connections
from tests.hotswap.toy import ADDRESS, Toy, play

# -- a handover that succeeds --------------------------------------------------------------------------


@scenario
async def test_from_welcome_to_released() -> None:
    async with giving() as case:
        welcome = await case.welcome()
        assert (welcome.generation, welcome.connections, welcome.schemas) == (2, 3, {"line": 1})
        assert case.server.copies_elsewhere
        await case.round()
        assert case.seen == {1: b"before", 2: b"before", 3: b"before"}
        final = await case.final()
        assert not case.server.ticking
        assert (final.connections, final.digest) == (3, Proof([1, 2, 3]).digest([0, 0, 0]))
        assert case.take_byte() == b"O"
        case.other.say(wire.Prepared())
        case.other.say(wire.Owned())
        bye = await case.other.expect(wire.Bye)
        assert (bye.listeners, bye.connections, bye.in_flight) == (1, 3, 1)
        assert not case.attempt.over.done(), "the listeners are held until RELEASED"
        case.other.say(wire.Released())
        await case.over()
        assert case.state() is Source.GONE
        assert case.owner.calls == ["freeze", "retired"]
        assert (case.owner.kept, set(case.owner.wanted)) == ([], {ADDRESS})
        os.write(case.held[2], b"moved")
        assert case.server.clients[2].recv(100) == b"moved"


@scenario
async def test_the_byte_is_in_the_pipe_before_final_is_out() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.take_byte() == b"O"
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)


@scenario
async def test_what_changed_is_copied_again_and_what_closed_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.server.receive(2, b"after")
        case.server.forget(3)
        case.server.connect(9, text=b"new")
        case.seen.clear()
        case.other.say(wire.RoundDone(1, 3, []))
        final = await case.final()
        assert case.seen == {2: b"after", 9: b"new"}
        assert case.closed == [3]
        assert (final.connections, final.digest) == (3, Proof([1, 2, 9]).digest([0, 1, 0]))
        assert set(case.held) == {1, 2, 3, 9}


@scenario
async def test_rounds_go_on_until_the_rest_is_small() -> None:
    server = Toy()
    server.connect(*range(100), text=b"x")
    async with giving(server, budget=10 * 6e-6, value_cost=6e-6) as case:
        await case.welcome()
        for dirty in (50, 20, 11):
            begun = await case.copied()
            for serial in range(dirty):
                server.receive(serial, b"y")
            case.other.say(wire.RoundDone(begun.number, 0, []))
        await case.round()
        await case.final()
        rounds = [(event["copied"], event["left"]) for event in case.events if event["event"] == "round"]
        assert rounds == [(100, 50), (50, 20), (20, 11), (11, 0)]
        assert case.attempt.outcome.rounds == 4


@scenario
async def test_large_states_travel_in_sealed_memory() -> None:
    server = Toy()
    server.connect(1, text=b"L" * (wire.INLINE_VALUE + 1))
    server.connect(2, text=b"S" * wire.INLINE_VALUE)
    server.shared_state = b"C" * 200_000
    async with giving(server) as case:
        await case.welcome()
        await case.round()
        assert case.seen == server.texts()
        assert (await case.other.expect(wire.Round)).final
        final, [memfd] = await case.other.expect_with_fds(wire.Final)
        assert final.shared_in_memfd
        assert from_memfd(memfd) == server.shared_state
        case.take_byte()
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)


@scenario
async def test_a_chain_and_a_shared_state_that_fit_alone_do_not_burst_the_message_together() -> None:
    async with giving() as case:
        case.server.shared_state = b"C" * (wire.INLINE_VALUE - 1)
        case.owner.chain_state = lambda: b"H" * (wire.INLINE_VALUE - 1)  # type: ignore[method-assign]
        await case.welcome()
        await case.round()
        assert (await case.final()).shared_in_memfd


@pytest.mark.parametrize("size", [1, 8_000, 20_000, wire.INLINE_VALUE, wire.INLINE_VALUE + 1])
def test_states_of_any_size_fit_their_messages(size: int) -> None:
    async def run() -> None:
        server = Toy()
        for serial in range(40):
            server.connect(serial, text=b"x" * (size - serial % 2))
        async with giving(server) as case:
            await case.welcome()
            await case.round()
            assert case.seen == server.texts()

    play(run())


# -- what cannot move ----------------------------------------------------------------------------------


@scenario
async def test_what_the_destination_cannot_restore_is_kept() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round(wire.Problem(2, "line too new"))
        assert await case.round() == 2, "another round must tell what else cannot be restored"
        assert case.server.staying() == {2: "line too new"}
        final = await case.final()
        assert case.closed == [2]
        assert final.connections == 2
        case.take_byte()
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)
        case.other.say(wire.Released())
        await case.over()
        assert case.owner.kept == [2]
        assert list(case.server.lines) == [2]
        assert case.attempt.outcome.kept == {"line too new": 1}


@scenario
async def test_what_stays_is_never_copied_nor_counted_as_dirty() -> None:
    server = Toy()
    server.connect(1, 2, 3)
    server.reasons[3] = "cannot"
    async with giving(server, budget=0.0, value_cost=1.0) as case:
        await case.welcome()
        await case.round()
        assert set(case.held) == {1, 2}
        assert (await case.final()).connections == 2
        assert case.events[-2]["left"] == 0


@scenario
async def test_require_all_refuses_before_anything_is_frozen() -> None:
    async with giving(require_all=True) as case:
        await case.welcome()
        await case.round(wire.Problem(2, "line too new"))
        await case.taken_back(LeftBehind, "1 connections cannot move (line too new)")
        assert "freeze" not in case.server.calls
        assert case.owner.calls == ["end_destination"]


@scenario
async def test_require_all_is_content_when_everything_moves() -> None:
    async with giving(require_all=True) as case:
        await case.own()
        await case.other.expect(wire.Bye)


@scenario
async def test_a_dry_run_goes_as_far_as_prepared_and_puts_no_byte() -> None:
    async with giving(dry_run=True) as case:
        await case.welcome()
        await case.round()
        final = await case.final()
        assert final.connections == 3
        assert case.take_byte() == b""
        assert case.server.ticking
        case.other.say(wire.Prepared())
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.attempt.outcome.rehearsed
        assert case.attempt.outcome.connections == 3
        assert case.take_byte() == b"A"
        assert case.server.calls == []
        assert case.owner.calls == ["end_destination"]


# -- stragglers ------------------------------------------------------------------------------------------


@scenario
async def test_a_straggler_follows_when_it_has_become_a_value() -> None:
    async with giving(three_connections(unfinished={2, 3})) as case:
        await case.welcome()
        await case.round()
        final = await case.final()
        assert (final.connections, final.stragglers) == (1, [2, 3])
        assert case.take_byte() == b"O"
        case.other.say(wire.Owned())
        await case.until(lambda: "retired" in case.owner.calls)
        assert sorted(case.owner.kept) == [2, 3], "ticked by the source alone until each is sent"
        case.server.receive(3, b"L" * 100_000)
        case.server.unfinished = {2}
        message, fds = await case.other.expect_with_fds(wire.Straggler)
        case.note(message.item, fds)
        assert case.seen[3] == b"L" * 100_000
        assert 3 not in case.server.lines, "two owners"
        os.write(case.held[3], b"moved")
        assert case.server.clients[3].recv(100) == b"moved"
        case.server.forget(2)  # its handshake failed
        await case.other.expect(wire.Bye)


@scenario
async def test_a_straggler_that_takes_too_long_is_kept() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=0.05) as case:
        await case.own()
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [2]


@scenario
async def test_who_calls_on_the_source_later_does_not_hold_up_the_goodbye() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=60.0) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.server.connect(10)
        case.server.unfinished = {10}
        await case.other.expect(wire.Straggler)
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [10]


@scenario
async def test_a_straggler_that_cannot_be_saved_costs_the_others_nothing() -> None:
    async with giving(three_connections(unfinished={2, 3})) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.server.lines[2].text = None  # type: ignore[assignment]
        case.server.unfinished = set()
        assert (await case.other.expect(wire.Straggler)).item.serial == 3
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [2]
