"""The figures of a handover: what the source measures and counts, what its goodbye carries, what an older one lacks."""

from __future__ import annotations

import os

import msgspec
import pytest

from hotswap.errors import AttemptFailed, DestinationFailed
from hotswap.handover import wire
from hotswap.handover.holder import Outcome
from hotswap.handover.states import Destination, Source
from hotswap.swappable import OTHER, REFUSED, STRAGGLERS, Reason
from hotswap.upgrade import result
from tests.hotswap.handover import taking as receiving
from tests.hotswap.handover.giving import Giving, giving, mortal, scenario, three_connections
from tests.hotswap.handover.taking import taking
from tests.hotswap.toy import Toy


class OldBye(wire.Message, frozen=True, tag="BYE"):
    """As versions before phases and reasons know it."""

    downtime_ms: float = 0.0
    listeners: int = 0
    connections: int = 0
    in_flight: int = 0


async def goodbye(case: Giving) -> wire.Bye:
    """BYE, and everything to its end."""
    bye = await case.other.expect(wire.Bye)
    case.other.say(wire.Released())
    await case.over()
    assert case.state() is Source.GONE
    return bye


# -- at the source ---------------------------------------------------------------------------------------------------


@scenario
async def test_the_phases_are_the_downtime() -> None:
    async with giving() as case:
        await case.own()
        bye = await goodbye(case)
        assert list(bye.phases) == ["copy", "check", "byte"]
        assert min(bye.phases.values()) >= 0.0
        assert sum(bye.phases.values()) == pytest.approx(bye.downtime_ms)
        assert bye.phases == case.attempt.outcome.phases


@pytest.mark.parametrize(
    ("at", "phases"),
    [
        ({"final": 1.5, "checked": 1.75, "owned": 2.0}, (500.0, 250.0, 250.0)),
        ({"final": 1.5, "owned": 2.0}, (500.0, 0.0, 500.0)),
        ({"checked": 1.75, "owned": 2.0}, (750.0, 0.0, 250.0)),
        ({"owned": 2.0}, (1000.0, 0.0, 0.0)),
    ],
)
def test_a_moment_that_nobody_saw_makes_no_phase_negative(at: dict[str, float], phases: tuple[float, ...]) -> None:
    outcome = Outcome()
    outcome.measured({"freeze": 1.0, **at})
    assert tuple(outcome.phases.values()) == phases
    assert outcome.downtime_ms == 1000.0


@scenario
async def test_what_stays_is_told_by_a_word_for_counters_and_a_text_for_people() -> None:
    server = Toy()
    server.connect(*range(1, 8))
    gone = Reason("listener 'web' is not in the new configuration", "removed_listener")
    server.reasons = {1: gone, 2: gone, 3: "cannot"}
    async with giving(server) as case:
        await case.welcome()
        await case.round(wire.Problem(5, "line too new"))
        await case.round()
        await case.final()
        case.other.say(wire.Owned())
        bye = await goodbye(case)
        assert bye.stayed == {"removed_listener": 2, OTHER: 1, REFUSED: 1}
        assert bye.connections == 3
        figures = msgspec.json.decode(msgspec.json.encode(result(case.attempt.outcome, None, 2)))
        assert {one["reason"]: one["count"] for one in figures["kept"]} == {
            str(gone): 2,
            "cannot": 1,
            "line too new": 1,
        }


@scenario
async def test_stragglers_that_took_too_long_stayed() -> None:
    """One follows, one ends by itself, one is still no value at the deadline."""
    async with giving(three_connections(unfinished={1, 2, 3}), stragglers=0.05) as case:
        await case.own()
        case.server.unfinished = {3}
        case.server.forget(2)
        straggler, [fd] = await case.other.expect_with_fds(wire.Straggler)
        assert straggler.item.serial == 1
        case.held[1] = fd
        assert (await goodbye(case)).stayed == {STRAGGLERS: 1}


@scenario
async def test_there_are_never_more_words_than_a_reader_takes() -> None:
    server = Toy()
    server.connect(*range(1, 101))
    server.reasons = {serial: Reason(f"reason {serial}", f"{serial}_word" * 100) for serial in server.lines}
    async with giving(server) as case:
        await case.own()
        words = (await goodbye(case)).stayed
        assert len(words) == wire.MAX_WORDS
        assert max(map(len, words)) <= 64


@scenario
async def test_before_the_freeze_a_failure_is_no_thaw() -> None:
    async with giving() as case:
        await case.welcome()
        case.attempt.cancel(AttemptFailed("told to end"))
        await case.taken_back(AttemptFailed)
        assert not case.attempt.thawed


@scenario
async def test_after_the_freeze_a_failure_is_a_thaw() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert not case.attempt.thawed
        case.other.say(wire.Unable(14, "no room"))
        await case.taken_back(DestinationFailed)
        assert case.attempt.thawed


@scenario
async def test_a_destination_that_dies_as_owner_is_no_thaw() -> None:
    with mortal() as process:
        async with giving(pidfd=os.pidfd_open(process.pid)) as case:
            await case.own()
            await case.other.expect(wire.Bye)
            process.kill()
            await case.over()
            assert case.state() is Source.ALONE
            assert not case.attempt.thawed


# -- at the destination, and between versions ------------------------------------------------------------------------


@receiving.scenario
async def test_the_destination_counts_stragglers_that_it_cannot_restore() -> None:
    async with taking() as case:
        case.server.refusing = {8: "line too new"}
        await case.welcomed()
        await case.round({1: b"one"})
        case.pipe.put()
        case.say_final(stragglers=[7, 8])
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        for serial in (7, 8):
            item, fds = case.item(serial, b"late")
            case.other.say(wire.Straggler(item), *fds)
        case.other.say(wire.Bye(2.5, 1, 2, 0, {"copy": 2.5}, {STRAGGLERS: 1}))
        await case.other.expect(wire.Released)
        assert await case.over() is Destination.STARTED
        assert case.heir.lost == 1
        assert case.heir.figures == wire.Bye(2.5, 1, 2, 0, {"copy": 2.5}, {STRAGGLERS: 1})


@receiving.scenario
async def test_the_goodbye_of_an_older_source_is_one() -> None:
    async with taking() as case:
        await case.owned()
        case.other.say(OldBye(2.5, 1, 2, 1))
        await case.other.expect(wire.Released)
        assert await case.over() is Destination.STARTED
        assert case.heir.figures == wire.Bye(2.5, 1, 2, 1)
        assert (case.heir.figures.phases, case.heir.figures.stayed, case.heir.lost) == ({}, {}, 0)


def test_an_older_destination_understands_the_goodbye() -> None:
    new = wire.encode(wire.Bye(2.5, 1, 2, 1, {"copy": 2.5}, {"removed_listener": 3}))
    assert msgspec.msgpack.decode(new, type=OldBye) == OldBye(2.5, 1, 2, 1)
