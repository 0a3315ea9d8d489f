"""Folding: what readers see at every moment of it, and that not a bit is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from math import inf, isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm_metrics import memory
from shm_metrics.definitions import Definitions
from shm_metrics.errors import SegmentCorrupt
from shm_metrics.layout import FOLDING, FOLDS, LIFE, Geometry
from shm_metrics.segment import Segment
from shm_metrics.slots import Slots
from tests.shm_metrics.children import SMALL, finish, killed_at, steps
from tests.shm_metrics.party import COUNTER, NOW, Party


def test_a_fold_that_fails_keeps_nobody_else_from_folding(come: Callable[[], Party]) -> None:
    one, failing, other = come(), come(), come()
    one.count(5)
    one.die()

    def broken(step: str) -> None:
        if step == "marked":
            raise ZeroDivisionError

    failing.segment.step = broken
    with pytest.raises(ZeroDivisionError):
        failing.slots.fold()
    assert other.slots.fold() == 1
    assert other.total() == failing.total() == 5


def test_nothing_is_folded_by_whoever_cannot_tell_gauges_from_counters(
    come: Callable[[], Party], segment: Segment
) -> None:
    one = come()
    one.count(5)
    one.count(5, NOW)
    one.die()
    words = segment.blocks()[0].words
    words[0] += 8
    slots = Slots(segment, Definitions(segment))
    with pytest.raises(SegmentCorrupt):
        slots.fold()
    words[0] -= 8
    assert slots.fold() == 1


def test_a_fold_says_with_each_step_what_it_did(come: Callable[[], Party], segment: Segment) -> None:
    dead, _ = come(), come()
    dead.count(1)
    dead.die()

    def fold() -> None:
        one = Segment.joined(memory.reopened(segment.fd))
        assert Slots(one, Definitions(one)).fold() == 1

    assert steps(fold) == ["base", "mark", "marked", "committed", "clear", "cleared", "freed"]


@pytest.mark.parametrize("number", range(7))
def test_a_reader_sees_the_same_at_each_step_of_a_fold(segment: Segment, number: int) -> None:
    """Also while whoever folds is stopped there, or dead, and somebody else has folded after it."""

    def fold() -> None:
        one = Segment.joined(memory.reopened(segment.fd))
        Slots(one, Definitions(one)).fold()

    dead, reader = Party(segment.fd), Party(segment.fd)
    dead.count(5)
    reader.count(2)
    dead.die()

    stopped = -1

    def step(_: str) -> None:
        nonlocal stopped
        stopped += 1
        assert reader.total() == 7

    folding = Segment.joined(memory.reopened(segment.fd))
    folding.step = step
    copy = Segment.made(memory.unnamed(), SMALL, 1)
    copy.close()
    assert killed_at(number, fold)
    assert reader.total() == 7
    Slots(folding, Definitions(folding)).fold()
    assert reader.total() == 7
    assert not reader.slots.dead()
    folding.close()
    reader.die()


def test_a_reader_begins_anew_when_a_fold_came_between(
    come: Callable[[], Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, reader, folder = come(), come(), come()
    dead.count(5)
    reader.count(1)
    dead.die()
    from shm_metrics import slots

    looks: list[int] = []

    def between() -> None:
        """Six in a look; after the fourth it knows who lives, and has read no cell."""
        looks.append(1)
        if len(looks) == 4:
            with monkeypatch.context() as patch:
                patch.setattr(slots, "fence", lambda: None)
                assert folder.slots.fold() == 1

    monkeypatch.setattr(slots, "fence", between)
    assert reader.total() == 6
    assert len(looks) == 12


def test_a_reader_that_is_disturbed_for_ever_takes_the_lock(
    come: Callable[[], Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = come()
    one.count(1)
    disturbed = 0
    look = Slots._look

    def _look(slots: Slots) -> object:
        nonlocal disturbed
        if not one.segment._depth:
            disturbed += 1
            return None
        return look(slots)

    monkeypatch.setattr(Slots, "_look", _look)
    assert one.total() == 1
    assert disturbed == 10


# ---- sums of fractions ----

amounts = st.one_of(
    st.floats(0, 1e6, allow_nan=False),
    st.integers(0, 1 << 54).map(float),
    st.sampled_from([0.1, 0.2, 0.3, 1e-300, 1e300]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), amounts, st.booleans()), max_size=30))
def test_no_counter_falls_by_a_bit_when_somebody_is_folded(actions: list[tuple[int, float, bool]]) -> None:
    """A scraper takes the smallest fall for a restart, and adds the whole value once more."""
    segment = Segment.made(memory.unnamed(), Geometry(slots=5, cells=512, definitions=4096), 1)
    reader = Party(segment.fd)
    reader.place(COUNTER)
    others = [Party(segment.fd) for _ in range(4)]
    before, exact = 0.0, Fraction(0)
    for number, amount, dies in actions:
        one = others[number]
        held = one.segment.blocks()[0].cells(one.slots.own)[0]
        one.count(amount)
        exact += Fraction(one.segment.blocks()[0].cells(one.slots.own)[0]) - Fraction(held)
        if dies:
            one.die()
            others[number] = Party(segment.fd)
            reader.slots.fold()
        now = reader.total()
        assert now >= before
        assert exact == 0 or abs(Fraction(now) / exact - 1) < Fraction(len(actions) + 1, 1 << 52)
        before = now
    for party in (reader, *others):
        party.die()
    segment.close()


def test_no_counter_of_seconds_falls_by_a_bit_in_a_long_time(come: Callable[[], Party]) -> None:
    """The same often enough that the order of additions would show, and that rounding to the nearest would."""
    chance = random.Random(3)
    reader = come()
    before, fallen = 0.0, 0
    for _ in range(400):
        one, other = come(), come()
        for each in (one, other, reader):
            each.count(chance.expovariate(20))
        now = reader.total()
        fallen += now < before
        chance.choice([one, other]).die()
        reader.slots.fold()
        before, now = now, reader.total()
        fallen += now < before
        one.die()
        other.die()
        reader.slots.fold()
        before, now = now, reader.total()
        fallen += now < before
    assert fallen == 0


def test_whole_numbers_stay_exact(come: Callable[[], Party]) -> None:
    reader = come()
    for n in range(20):
        one = come()
        one.count(float(2**40 + n))
        one.die()
        reader.slots.fold()
    assert reader.total() == 20 * 2**40 + 190


@pytest.mark.parametrize(
    ("amounts", "seen"), [([inf, 1], inf), ([nan, 1], nan), ([inf, -inf], nan), ([1e308] * 2, inf)]
)
def test_what_is_no_number_stops_nobody(come: Callable[[], Party], amounts: list[float], seen: float) -> None:
    reader = come()
    for amount in amounts:
        one = come()
        one.count(amount)
        one.die()
    for _ in "ab":
        value = reader.total()
        assert value == seen or (isnan(value) and isnan(seen))
        reader.slots.fold()


def test_a_living_slot_is_not_counted_twice_whoever_dies_in_a_fold(segment: Segment) -> None:
    for number in range(7):
        one = Party(segment.fd)
        one.count(1)
        one.die()

        def fold() -> None:
            folding = Segment.joined(memory.reopened(segment.fd))
            Slots(folding, Definitions(folding)).fold()

        killed_at(number, fold)
    assert finish(fold) == 0
    reader = Party(segment.fd)
    assert reader.total() == 7
    assert all(segment.word(slot, FOLDING) == 0 or slot == reader.slots.own for slot in segment.used())
    assert segment.header[FOLDS] >= 7 - 4
    assert reader.segment.locks.held(LIFE) is (reader.slots.own != 0)
    reader.die()
