"""Slots: who counts, who is dead, and what readers see of both at every moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import inf, isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm_metrics import memory
from shm_metrics.definitions import Definitions, Place
from shm_metrics.errors import SegmentCorrupt, SegmentFull
from shm_metrics.layout import FOLDING, FOLDS, LIFE, Geometry
from shm_metrics.segment import Segment
from shm_metrics.shape import Shape
from shm_metrics.slots import Process, Slots, total
from tests.shm_metrics.children import SMALL, Child, child, finish, killed_at, steps

COUNTER = Shape("events_total", "counter", "Events.")
NOW = Shape("now", "gauge", "Now.", combine="sum")


class Party:
    """A process as far as slots go. `die` is what the death of one is to all others."""

    def __init__(self, fd: int) -> None:
        self.segment = Segment.joined(memory.reopened(fd))
        self.definitions = Definitions(self.segment)
        self.definitions.follow()
        self.slots = Slots(self.segment, self.definitions)
        self.slots.claim(4711)

    def place(self, shape: Shape) -> Place:
        with self.segment.locked():
            return self.definitions.define(shape, ())

    def count(self, amount: float, shape: Shape = COUNTER) -> None:
        place = self.place(shape)
        self.segment.blocks()[place.block].cells(self.slots.own)[place.first] += amount

    def total(self) -> float:
        self.definitions.follow()
        place = self.definitions.places.get((COUNTER, ()))
        rows = self.slots.read().rows
        return total([row[place.first] for row in rows[place.block]]) if place else 0.0

    def gauge(self) -> float:
        self.definitions.follow()
        place = self.definitions.places.get((NOW, ()))
        gauging = self.slots.read().gauging
        return sum(row[place.first] for row in gauging[place.block]) if place else 0.0

    def die(self) -> None:
        self.segment.close()


@pytest.fixture
def segment() -> Iterator[Segment]:
    one = Segment.made(memory.unnamed(), SMALL, 1)
    yield one
    one.close()


@pytest.fixture
def come(segment: Segment) -> Iterator[Callable[[], Party]]:
    """Another process comes."""
    there: list[Party] = []

    def come() -> Party:
        there.append(Party(segment.fd))
        return there[-1]

    yield come
    for one in there:
        one.die()


def test_each_has_a_slot_of_its_own_until_there_is_none(come: Callable[[], Party]) -> None:
    assert [come().slots.own for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SegmentFull, match="all its 3 slots are taken by living processes"):
        come()


def test_what_the_dead_have_counted_stays_and_their_slots_are_free(come: Callable[[], Party]) -> None:
    one, other, reader = come(), come(), come()
    one.count(3)
    other.count(4)
    one.die()
    assert reader.slots.dead()
    assert reader.total() == 7
    assert reader.slots.fold() == 1
    assert not reader.slots.dead()
    assert reader.total() == 7
    late = come()
    assert late.slots.own == 0
    late.count(1)
    assert reader.total() == 8


def test_who_finds_no_slot_free_folds(come: Callable[[], Party]) -> None:
    for n in range(10):
        one = come()
        one.count(1)
        if n < 9:
            one.die()
    assert one.total() == 10


def test_a_living_process_is_never_folded(come: Callable[[], Party]) -> None:
    one, other = come(), come()
    one.count(1)
    assert other.slots.fold() == 0
    assert one.slots.fold() == 0
    one.count(1)
    assert other.total() == 2


def test_a_slot_without_memory_is_not_taken(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SegmentFull("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "back", full)
        with pytest.raises(SegmentFull, match="no memory"):
            Party(segment.fd)
    one = Party(segment.fd)
    assert one.slots.own == 0
    one.die()


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
        """The second fence of a look: it knows who lives, and has read no cell."""
        looks.append(1)
        if len(looks) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(slots, "fence", lambda: None)
                assert folder.slots.fold() == 1

    monkeypatch.setattr(slots, "fence", between)
    assert reader.total() == 6
    assert len(looks) == 6


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


# ---- gauges ----


def test_gauges_count_for_the_living_at_once_from_their_death(come: Callable[[], Party]) -> None:
    one, other = come(), come()
    one.count(3, NOW)
    other.count(4, NOW)
    assert other.gauge() == 7
    one.die()
    assert other.gauge() == 4
    other.slots.fold()
    assert other.gauge() == 4


def test_whose_gauges_count_changes_at_one_moment(come: Callable[[], Party]) -> None:
    source, destination = come(), come()
    source.slots.reign()
    source.count(3, NOW)
    assert (source.slots.reigns, destination.slots.reigns) == (True, False)
    destination.slots.reign()
    assert destination.gauge() == 0
    destination.count(4, NOW)
    assert source.gauge() == destination.gauge() == 4
    assert (source.slots.reigns, destination.slots.reigns) == (False, True)
    assert (source.slots.gauges, destination.slots.gauges) == (False, True)
    source.slots.join()
    assert (source.slots.reigns, source.slots.gauges) == (False, True)
    assert source.gauge() == destination.gauge() == 7
    source.slots.reign()
    assert destination.gauge() == 3


def test_who_comes_after_a_crash_counts_at_once(come: Callable[[], Party]) -> None:
    one = come()
    one.slots.reign()
    one.count(3, NOW)
    one.die()
    other = come()
    other.count(4, NOW)
    assert other.gauge() == 4
    other.slots.reign()
    assert other.gauge() == 4


@pytest.mark.parametrize("assist", [False, True])
def test_a_reader_sees_neither_both_nor_none_in_between(segment: Segment, *, assist: bool) -> None:
    """Two processes reign in turn, as fast as they can. Each may then assist the other."""

    def rule(me: Child) -> None:
        one = Party(segment.fd)
        one.count(5, NOW)
        one.slots.reign()
        me.tell("there")
        me.wait()
        for _ in range(3000):
            one.slots.reign()
            if assist:
                one.slots.join()
        me.tell("done")
        me.wait()

    with child(rule) as one, child(rule) as other:
        for ruler in (one, other):
            assert ruler.hear() == "there"
        reader = Party(segment.fd)
        one.go()
        other.go()
        seen = {reader.gauge() for _ in range(2000)}
        assert [ruler.hear() for ruler in (one, other)] == ["done"] * 2
        reader.die()
    assert 5.0 in seen
    assert seen <= ({5.0, 10.0} if assist else {5.0})


# ---- what processes say ----


def test_processes_are_there_as_long_as_they_live(come: Callable[[], Party]) -> None:
    one, other = come(), come()
    assert other.slots.processes() == []
    one.slots.tell(Process(3, 1e9, 1.5, 1e6, 12, 1024))
    other.slots.tell(Process(2, 2e9, 0.5, 2e6, 13, 2048))
    assert other.slots.processes() == [Process(2, 2e9, 0.5, 2e6, 13, 2048), Process(3, 1e9, 1.5, 1e6, 12, 1024)]
    one.die()
    assert [process.number for process in other.slots.processes()] == [2]
    again = come()
    assert [process.number for process in other.slots.processes()] == [2]
    again.die()


def test_coming_and_telling_are_signs_of_life(come: Callable[[], Party]) -> None:
    one = come()
    for sign in (come, lambda: one.slots.tell(Process(1))):
        os.utime(one.segment.fd, (1, 1))
        sign()
        assert os.fstat(one.segment.fd).st_mtime > 1e9


def test_who_was_cut_off_counts_on_and_folds_nobody(segment: Segment) -> None:
    def work(me: Child) -> None:
        one = Party(segment.fd)
        one.count(2)
        me.close_all()
        cells = one.segment.blocks()[0].cells(one.slots.own)
        cells[0] += 1
        one.slots.tell(Process(1))
        assert one.total() == 3
        me.tell("counted")
        me.wait()

    with child(work) as one:
        assert one.hear() == "counted"
        reader = Party(segment.fd)
        assert not reader.slots.dead()
        assert reader.total() == 3
        one.kill()
        assert reader.slots.fold() == 1
        assert reader.total() == 3
        reader.die()


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
