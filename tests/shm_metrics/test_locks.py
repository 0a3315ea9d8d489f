"""Locks: they end with the process, and not sooner; and never belong to its children."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from time import monotonic

import pytest

from shm_metrics import locks, memory
from shm_metrics.errors import SegmentBusy, SegmentForeign
from shm_metrics.locks import Locks, is_locked, lock, try_lock, unlock
from tests.kit.waiting import eventually
from tests.shm_metrics.children import PATIENCE, Child, child


@pytest.fixture
def fd() -> Iterator[int]:
    one = memory.unnamed()
    yield one
    os.close(one)


@pytest.fixture
def mine(fd: int) -> Iterator[Locks]:
    one = Locks(fd)
    yield one
    one.close()


def test_one_at_a_time(fd: int, mine: Locks) -> None:
    other = Locks(fd)
    assert mine.take(5)
    assert mine.take(5)
    assert not other.take(5)
    assert (mine.held(5), other.held(5), other.held(6)) == (False, True, False)
    assert is_locked(fd, 0, 6)
    assert not is_locked(fd, 0, 5)
    mine.release(5)
    assert other.take(5)
    other.close()
    assert mine.take(5)


def test_who_waits_gets_it_or_is_told(fd: int, mine: Locks) -> None:
    other = Locks(fd)
    assert other.take(0)
    with pytest.raises(SegmentBusy, match="does not go on"):
        mine.wait(0)
    other.release(0)
    mine.wait(0)
    assert not other.take(0)
    other.close()


def test_nobody_waits_twice_for_one_who_is_stopped(fd: int, mine: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    whole = locks.lock

    def noted(fd: int, byte: int, patience: float) -> None:
        waited.append(patience)
        whole(fd, byte, patience)

    monkeypatch.setattr(locks, "lock", noted)
    assert try_lock(fd, 0)
    for _ in range(2):
        with pytest.raises(SegmentBusy):
            mine.wait(0)
    unlock(fd, 0)
    mine.wait(0)
    mine.wait(0)
    assert waited == [locks.PATIENCE, 0.0, 0.0, locks.PATIENCE]


def test_waiting_ends(fd: int, mine: Locks) -> None:
    assert mine.take(0)
    before = monotonic()
    with pytest.raises(SegmentBusy):
        lock(fd, 0, 0.05)
    assert 0.05 <= monotonic() - before < PATIENCE


def test_they_are_let_go_of_at_death(fd: int, mine: Locks) -> None:
    def work(me: Child) -> None:
        assert Locks(fd).take(7)
        me.tell("taken")
        me.wait()

    with child(work) as one:
        one.hear()
        assert mine.held(7)
        one.kill()
        assert not mine.held(7)


def test_a_child_has_none_of_its_parent(fd: int, mine: Locks) -> None:
    """Whoever was forked goes on, and still the death of its parent is seen."""

    def grandchild(me: Child, inherited: Locks) -> None:
        inherited.abandon()
        own = Locks(fd)
        assert own.held(7)
        me.tell(str(os.getpid()))
        signal.pause()

    def work(me: Child) -> None:
        inherited = Locks(fd)
        assert inherited.take(7)
        if not os.fork():
            grandchild(me, inherited)
        me.wait()

    with child(work) as one:
        heir = int(one.hear())
        try:
            assert mine.held(7)
            one.kill()
            assert not mine.held(7)
        finally:
            os.kill(heir, signal.SIGKILL)


def test_a_child_that_nobody_told_keeps_them(fd: int, mine: Locks) -> None:
    def work(me: Child) -> None:
        inherited = Locks(fd)
        assert inherited.take(7)
        heir = os.fork()
        if not heir:
            signal.pause()
        me.tell(str(heir))
        me.wait()

    with child(work) as one:
        heir = int(one.hear())
        one.kill()
        assert mine.held(7)
        os.kill(heir, signal.SIGKILL)
        eventually(lambda: not mine.held(7), within=PATIENCE, what="the lock goes with the last who has it")


def test_closing_all_descriptors_lets_go_of_none(fd: int, mine: Locks) -> None:
    def work(me: Child) -> None:
        own = Locks(fd)
        assert own.take(7)
        me.close_all()
        assert not own.usable
        me.tell("closed")
        me.wait()

    with child(work) as one:
        assert one.hear() == "closed"
        assert mine.held(7)
        one.kill()
        assert not mine.held(7)


def test_a_number_that_is_now_another_file_is_left_alone(fd: int) -> None:
    one = Locks(fd)
    another = os.open("/dev/null", os.O_RDWR)
    try:
        os.dup2(another, one._fd)
        assert not one.usable
        number = one._fd
        one.close()
        assert memory.identity(number) == memory.identity(another)
        os.close(number)
    finally:
        os.close(another)


def test_closing_lets_go(fd: int, mine: Locks) -> None:
    one = Locks(fd)
    assert one.take(7)
    one.close()
    assert mine.take(7)


def test_of_what_is_no_memory_there_are_none() -> None:
    for what in ("/dev/null", "/"):
        fd = os.open(what, os.O_RDONLY)
        with pytest.raises(SegmentForeign):
            Locks(fd)
        os.close(fd)
    with pytest.raises(SegmentForeign, match="opened anew"):
        Locks(1 << 20)
