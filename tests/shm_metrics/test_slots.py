"""Slots: who counts, who is dead, and what readers see of both at every moment."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from shm_metrics.errors import SegmentFull
from shm_metrics.segment import Segment
from shm_metrics.slots import Process
from tests.shm_metrics.children import Child, child
from tests.shm_metrics.party import NOW, Party


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
