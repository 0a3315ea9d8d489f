"""Probation: what condemns a generation, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hotswap import bake as module
from hotswap.bake import Baking, described, verdict
from hotswap.chain import Bake, Chain, Intent, Record
from hotswap.errors import Busy, NobodyStandsBy
from hotswap.swappable import Tally
from tests.hotswap.toy import PATIENCE, Toy, play

BAKE = Bake(0.2, 0.1, 1, 10)


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(), ""),
        (Tally(9, 9), ""),
        (Tally(10, 1), ""),
        (Tally(10, 2), "error_rate 20.00% (2 of 10 requests), allowed is 10.00%"),
        (Tally(1000, 100), ""),
        (Tally(1000, 101), "error_rate 10.10% (101 of 1000 requests), allowed is 10.00%"),
        (Tally(0, 0, 1), "crashes 1, allowed are fewer than 1"),
    ],
)
def test_verdict(tally: Tally, words: str) -> None:
    assert verdict(BAKE, tally) == words


def test_a_condition_that_is_not_set_condemns_nobody() -> None:
    assert verdict(Bake(1.0, None, None), Tally(100, 100, 100)) == ""
    assert described(BAKE) == "error_rate=10%, crashes=1"


class Counting(Toy):
    """Counts what a test says."""

    told = Tally()

    def tally(self) -> Tally:
        return self.told


def bake(tally: Tally, take_back: Callable[[str], None]) -> list[str]:
    """How a bake with these figures ends."""
    passed: list[str] = []

    async def scenario() -> None:
        server = Counting()
        server.told = tally
        over = asyncio.Event()

        def end(words: str) -> None:
            passed.append(words)
            over.set()

        def back(why: str) -> None:
            try:
                take_back(why)
            finally:
                if not passed and len(reasons) >= 3:
                    over.set()

        baking = Baking(BAKE, server, back, end)
        assert baking.status()["abort_if"] == "error_rate=10%, crashes=1"
        await asyncio.wait_for(over.wait(), PATIENCE)
        baking.stop()

    reasons: list[str] = []
    play(scenario())
    return passed


def test_it_passes_when_the_time_is_over() -> None:
    assert bake(Tally(100, 3), pytest.fail) == ["passed: 3.00% of 100 requests failed, 0 crashes"]


def test_too_few_requests_are_told() -> None:
    assert "fewer requests than the 10 it takes" in bake(Tally(3, 3), pytest.fail)[0]


def test_a_way_back_that_is_blocked_is_tried_again_then_it_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    reasons: list[str] = []

    def take_back(why: str) -> None:
        reasons.append(why)
        raise Busy("not now")

    (words,) = bake(Tally(10, 5), take_back)
    assert words.startswith("failed (error_rate 50.00%")
    assert words.endswith("and could not be taken back: not now")
    assert len(reasons) == 3


def test_who_has_yet_to_stand_by_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod the one before first finishes what could not move."""
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "_PATIENT_ATTEMPTS", 20)
    reasons: list[str] = []

    def take_back(why: str) -> None:
        reasons.append(why)
        raise NobodyStandsBy("not yet")

    (words,) = bake(Tally(10, 5), take_back)
    assert words.endswith("and could not be taken back: not yet")
    assert len(reasons) == 20


def test_an_upgrade_during_the_probation_is_busy() -> None:
    async def scenario() -> None:
        baking = Baking(BAKE, Toy(), pytest.fail, pytest.fail)
        with pytest.raises(Busy, match=r"bakes for another 0 s: .* `hotswap rollback edge`"):
            baking.refuse("edge")
        baking.stop()

    play(scenario())


# -- the history ------------------------------------------------------------------------------------


def own(chain: Chain, number: int, intent: Intent | None = None) -> None:
    """What a destination does with the chain."""
    chain.intent = intent
    chain.supersede(number)
    chain.intent = None
    how = intent.how if intent else ""
    restores = intent.restores if intent else 0
    chain.add(Record(number, "1", str(number), "c", ["run"], "/", 1, 0.0, how or "upgrade", restores=restores))


def test_after_a_rollback_before_means_before_the_generation_that_came_back() -> None:
    chain = Chain()
    for number in (1, 2, 3):
        own(chain, number)
    back = chain.previous()
    assert back.generation == 2
    own(chain, 4, Intent("rollback", "error_rate 12%", back.generation))
    assert [record.outcome for record in chain.records][2] == "rolled back by generation 4: error_rate 12%"
    assert chain.previous().generation == 1
    own(chain, 5)
    assert chain.previous().generation == 4


def test_the_intent_travels() -> None:
    chain = Chain(intent=Intent(bake=BAKE))
    assert Chain.decode(chain.encode()).intent == chain.intent
