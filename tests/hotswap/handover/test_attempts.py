"""Both sides of a handover against each other, over a real channel, while the source goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator

import msgspec
import pytest

from hotswap.errors import DestinationFailed, LeftBehind
from hotswap.handover import wire
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits
from hotswap.handover.states import Action, Destination, Source
from tests.hotswap.handover.ends import LIMITS, Handover
from tests.hotswap.toy import Toy, no_leak, play


@contextlib.asynccontextmanager
async def handover(giving: Toy, *, limits: Limits = LIMITS, wishes: Wishes | None = None) -> AsyncIterator[Handover]:
    made = Handover(giving, Toy(), limits=limits, wishes=wishes)
    try:
        yield made
    finally:
        made.close()


def with_lines(*serials: int, text: bytes = b"before") -> Toy:
    server = Toy()
    server.connect(*serials, text=text)
    return server


def test_everything_moves_and_every_descriptor_is_the_same_connection() -> None:
    async def run() -> None:
        giving = with_lines(*range(600))
        giving.connect(1000, text=b"L" * 300_000)
        giving.shared_state = b"S" * 100_000
        expected = giving.texts()
        async with handover(giving) as case:
            assert await case.run() == (Source.GONE, Destination.STARTED)
            taken = case.heir.server
            assert taken.texts() == expected
            assert taken.shared_state == giving.shared_state
            assert giving.lines == {}
            for serial, client in giving.clients.items():
                taken.answer(serial, b"%d" % serial)
                assert client.recv(100) == b"%d" % serial
            assert case.heir.figures is not None
            assert case.heir.figures.connections == 601

    with no_leak():
        play(run())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_while_copying_the_last_state_arrives(seed: int) -> None:
    """Restoring all rounds gives what one save at the freeze would have given."""
    chance = random.Random(seed)

    async def serve(giving: Toy) -> None:
        """Traffic, new and closed connections, for as long as the source may tick."""
        fresh = 1000
        while giving.ticking:
            for serial in chance.sample(sorted(giving.lines), min(5, len(giving.lines))):
                giving.receive(serial, chance.randbytes(chance.choice([3, 300, 40_000])))
            if chance.random() < 0.3:
                giving.connect(fresh)
                fresh += 1
            if chance.random() < 0.2 and giving.lines:
                giving.forget(chance.choice(sorted(giving.lines)))
            await asyncio.sleep(0)

    async def run() -> None:
        giving = with_lines(*range(300))
        limits = msgspec.structs.replace(LIMITS, slice=0.0, budget=3 * LIMITS.value_cost)
        frozen: dict[int, bytes] = {}
        async with handover(giving, limits=limits) as case:

            def freeze() -> None:
                frozen.update(giving.texts())
                giving.freeze()

            case.owner.freeze = freeze  # type: ignore[method-assign]
            traffic = asyncio.create_task(serve(giving))
            assert await case.run() == (Source.GONE, Destination.STARTED)
            await traffic
            assert case.heir.server.texts() == frozen
            assert case.source is not None
            assert case.source.outcome.rounds > 1
            for serial in frozen:
                case.heir.server.answer(serial, b"!")
                assert giving.clients[serial].recv(10) == b"!"

    with no_leak():
        play(run())


def test_what_the_destination_cannot_restore_stays_with_the_source_and_both_serve() -> None:
    async def run() -> None:
        async with handover(with_lines(*range(200))) as case:
            case.heir.server.refusing = dict.fromkeys(range(0, 200, 2), "an even number")
            assert await case.run() == (Source.GONE, Destination.STARTED)
            giving, taking = case.owner.server, case.heir.server
            assert sorted(giving.lines) == sorted(case.owner.kept) == list(range(0, 200, 2))
            assert sorted(taking.lines) == list(range(1, 200, 2))
            assert case.source is not None
            assert case.source.outcome.kept == {"an even number": 100}
            for serial, client in giving.clients.items():
                (taking if serial % 2 else giving).answer(serial, b"!")
                assert client.recv(10) == b"!"

    with no_leak():
        play(run())


def test_require_all_refuses_and_nothing_has_moved() -> None:
    async def run() -> None:
        giving = with_lines(1, 2)
        async with handover(giving, wishes=Wishes(require_all=True)) as case:
            case.heir.server.refusing[2] = "too new"
            assert await case.run() == (Source.SERVING, Destination.LEFT)
            assert case.source is not None
            assert type(case.source.failure) is LeftBehind
            assert giving.texts() == {1: b"before", 2: b"before"}
            assert giving.ticking

    play(run())


def test_a_dry_run_is_not_felt() -> None:
    async def run() -> None:
        giving = with_lines(1, 2)
        async with handover(giving, wishes=Wishes(dry_run=True)) as case:
            assert await case.run() == (Source.SERVING, Destination.LEFT)
            assert case.source is not None
            assert case.source.failure is None
            assert case.source.outcome.rehearsed
            assert giving.calls == []
            assert case.heir.failure is None
            assert not case.heir.server.ticking

    play(run())


def test_a_change_that_was_missed_is_found_and_everything_taken_back() -> None:
    async def run() -> None:
        giving = with_lines(1, 2)
        async with handover(giving) as case:
            source = await case.begin()
            while 2 not in case.destination._holdings.changes:  # noqa: ASYNC110  copying sends no event to the outside
                await asyncio.sleep(0)
            case.destination._holdings.changes[1] += 1
            assert await case.run() == (Source.SERVING, Destination.LEFT)
            assert type(source.failure) is DestinationFailed
            assert "count or digest differ" in str(source.failure)
            assert giving.ticking
            assert not case.heir.server.ticking

    play(run())


def test_stragglers_follow_and_are_owned_by_the_destination() -> None:
    async def run() -> None:
        giving = with_lines(1, 2, 3)
        giving.unfinished = {2, 3}
        async with handover(giving) as case:
            await case.begin()
            while not case.heir.server.ticking:  # noqa: ASYNC110  the commit sends no event to the outside
                await asyncio.sleep(0)
            assert list(case.heir.server.lines) == [1]
            giving.receive(3, b"L" * 100_000)
            giving.unfinished = {2}
            while 3 not in case.heir.server.lines:  # noqa: ASYNC110  the same
                await asyncio.sleep(0)
            giving.receive(2, b"at last")
            giving.unfinished = set()
            assert await case.run() == (Source.GONE, Destination.STARTED)
            assert case.heir.server.texts() == {1: b"before", 2: b"at last", 3: b"L" * 100_000}
            case.heir.server.answer(2, b"moved")
            assert giving.clients[2].recv(10) == b"moved"

    with no_leak():
        play(run())


def test_stragglers_that_are_still_to_come_follow_to_the_generation_after() -> None:
    """The second upgrade begins while the first source still has a straggler: it goes all the way."""

    async def run() -> None:
        giving = with_lines(1, 2)
        giving.unfinished = {2}
        async with handover(giving) as first:
            await first.begin()
            while not first.heir.server.ticking:  # noqa: ASYNC110  the commit sends no event to the outside
                await asyncio.sleep(0)
            middle = first.heir.server
            assert list(middle.stragglers()) == [2]
            async with handover(middle) as second:
                await second.begin()
                while not second.heir.server.ticking:  # noqa: ASYNC110  the same
                    await asyncio.sleep(0)
                giving.unfinished = set()
                assert await first.run() == (Source.GONE, Destination.STARTED)
                assert await second.run() == (Source.GONE, Destination.STARTED)
                assert second.heir.server.texts() == {1: b"before", 2: b"before"}
                assert list(second.heir.server.stragglers()) == []
                second.heir.server.answer(2, b"moved")
                assert giving.clients[2].recv(10) == b"moved"

    play(run())


def test_descriptors_of_the_server_itself_come_before_the_first_value() -> None:
    async def run() -> None:
        giving = with_lines(1)
        giving.own = {"note": os.memfd_create("note")}
        os.pwrite(giving.own["note"], b"shared", 0)
        async with handover(giving) as case:
            assert await case.run() == (Source.GONE, Destination.STARTED)
            heir = case.heir.server
            assert heir.calls[:2] == ["accept_descriptors", "adopt"]
            assert os.pread(heir.own["note"], 10, 0) == b"shared"
            os.close(giving.own["note"])

    with no_leak():
        play(run())


def test_an_attempt_that_failed_does_not_stand_in_the_way_of_the_next() -> None:
    async def run() -> None:
        giving = with_lines(1, 2)
        for _ in range(3):
            failing = Handover(giving, Toy())
            failing.heir.adopting_fails = DestinationFailed("not today")
            assert await failing.run() == (Source.SERVING, Destination.LEFT)
            failing.owner.server = failing.heir.server = Toy()  # they live on
            failing.close()
        async with handover(giving) as case:
            assert await case.run() == (Source.GONE, Destination.STARTED)
            assert case.heir.server.texts() == {1: b"before", 2: b"before"}

    play(run())


def test_the_byte_of_one_attempt_is_of_no_use_in_the_next() -> None:
    """Rule 2: a destination that was stopped in an earlier attempt must not wake up to a later byte."""

    async def run() -> None:
        giving = with_lines(1)
        first = Handover(giving, Toy(), limits=msgspec.structs.replace(LIMITS, freeze=0.05))
        source = await first.begin()
        take_byte = first.destination._take_byte
        first.destination._ACTIONS = {**first.destination._ACTIONS, Action.TAKE_BYTE: lambda _: None}
        assert await source.over is Source.SERVING
        async with handover(giving) as second:
            assert await second.run() == (Source.GONE, Destination.STARTED)
            take_byte()  # the first one wakes up now
            assert first.destination._events[0].name == "GOT_A"
        first.owner.server = first.heir.server = Toy()
        first.close()

    play(run())


def test_large_messages_are_bounded_by_the_protocol_not_by_luck() -> None:
    """Every size around the limits between inline and memfd, in one handover."""

    async def run() -> None:
        giving = Toy()
        for serial, size in enumerate(range(wire.INLINE_VALUE - 3, wire.INLINE_VALUE + 4)):
            giving.connect(2 * serial, text=os.urandom(size))
            giving.connect(2 * serial + 1, text=os.urandom(size // 2))
        expected = giving.texts()
        async with handover(giving) as case:
            assert await case.run() == (Source.GONE, Destination.STARTED)
            assert case.heir.server.texts() == expected

    with no_leak():
        play(run())
