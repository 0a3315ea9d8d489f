"""Kill -9, at every step of everything that takes steps: nothing that was counted is lost or doubled."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from shm_metrics import Registry, memory, names
from shm_metrics.layout import FOLDING, FOLDS, Geometry
from tests.shm_metrics.children import SMALL, close, finish, joined, killed_at, read, slots, steps

SHAPE = ("events_total", "Events.", ("what",))
BOUNDS = (1.0, 2.0)


def empty(geometry: Geometry = SMALL) -> int:
    """The descriptor of a segment that nobody counts in. To be closed."""
    registry = Registry.unnamed(geometry)
    fd = os.dup(registry.fd)
    close(registry)
    return fd


def copied(fd: int) -> int:
    """The descriptor of a copy of a segment that nobody counts in. To be closed."""
    size = os.fstat(fd).st_size
    copy = memory.unnamed()
    assert os.pwrite(copy, os.pread(fd, size, 0), 0) == size
    return copy


@pytest.fixture
def fd() -> Iterator[int]:
    one = empty()
    yield one
    os.close(one)


class Ledger:
    """What was counted, written down before and after each count by whoever counts. Outlives its writers."""

    def __init__(self, total: int = 0) -> None:
        fd = memory.unnamed()
        os.ftruncate(fd, 4096)
        self._cells = memory.mapped(fd, 0, 4096).cast("q")
        self._cells[0] = total
        os.close(fd)

    def count(self, member: Callable[[], None], amount: int = 1) -> None:
        member()
        self._cells[0] += amount

    @property
    def total(self) -> int:
        return self._cells[0]


def life(fd: int, ledger: Ledger, label: str) -> None:
    """All that a process does with metrics: comes, defines, counts, needs more room, reads, and folds who is dead."""
    registry = Registry.join(fd)
    events = registry.counter(*SHAPE)
    first = events.labels(label)
    ledger.count(first.inc)
    sizes = registry.histogram("size", "Sizes.", ("what",), bounds=BOUNDS)
    sizes.labels(label).observe(1.5)
    registry.maximum("most", "Most.").set(3)
    filler = tuple(float(n) for n in range(198))
    for n in range(3):  # 200 cells each: the third needs another block
        registry.histogram(f"filler_{n}", "Takes room.", bounds=filler)
    registry.collect()
    ledger.count(lambda: events.labels("late").inc(5), 5)
    registry.collect()


def check(fd: int, ledger: Ledger, *, before: float = 0.0) -> None:
    """Everything is as if whoever was killed had been killed before or after whatever it was doing."""
    with joined(fd) as registry:
        values = read(registry)
        counted = sum(value for key, value in values.items() if key[0] == "events_total")
        assert counted == ledger.total + before
        sizes = [one for one in registry.collect() if one.shape.name == "size"]
        assert all(member.cells[0] == 1.5 * member.cells[2] for one in sizes for member in one.members)
        most = {value for key, value in values.items() if key[0] == "most"}
        assert most <= {0.0, 3.0}
        # No slot is lost: all of them can be had.
        others = [Registry.join(fd) for _ in range(SMALL.slots - 1)]
        for other in others:
            other.counter(*SHAPE).labels("late").inc()
        assert sum(value for key, value in read(registry).items() if key[0] == "events_total") == counted + len(others)
        words = slots(registry)._segment
        assert all(words.word(n, FOLDING) == 0 for n in words.used())
        for other in others:
            close(other)


def test_a_life_takes_all_the_steps_there_are(fd: int) -> None:
    ledger = Ledger()
    assert finish(lambda: life(fd, ledger, "a")) == 0
    assert finish(lambda: life(fd, ledger, "b")) == 0
    taken = steps(lambda: life(fd, ledger, "c"))
    once = ["locked", "numbered", "claimed", "written", "defined", "base", "mark", "marked", "committed"]
    assert [step for step in once if step not in taken] == []
    assert [step for step in ["clear", "cleared", "freed"] if step not in taken] == []
    fresh = empty()
    taken = steps(lambda: life(fresh, ledger, "d"))
    assert [step for step in ["grow", "backed", "grown"] if step not in taken] == []
    os.close(fresh)


def test_killed_at_every_step_of_a_first_life(fd: int) -> None:
    killed = 0
    for number in itertools.count():
        one, ledger = empty(), Ledger()
        died = killed_at(number, partial(life, one, ledger, "a"))
        check(one, ledger)
        os.close(one)
        if not died:
            break
        killed += 1
    assert killed > 20


@pytest.fixture
def dead() -> Iterator[tuple[int, int]]:
    """The descriptor of a segment in which two dead ones wait to be folded, and what they have counted."""
    one, ledger = empty(), Ledger()
    with joined(one):  # keeps the second from folding the first: there is a slot for each
        for label in ("a", "b"):
            assert finish(partial(life, one, ledger, label)) == 0
    yield one, ledger.total
    os.close(one)


def deaths_in_a_row(dead: tuple[int, int], *lives: tuple[int, Callable[[int, Ledger], None]]) -> bool:
    """Processes killed one after the other, each at its step. False if the last one ended before."""
    one, ledger = copied(dead[0]), Ledger(dead[1])
    died = False
    for number, work in lives:
        died = killed_at(number, partial(work, one, ledger))
    check(one, ledger)
    os.close(one)
    return died


def whole(fd: int, ledger: Ledger) -> None:
    life(fd, ledger, "c")


def fold(fd: int, ledger: Ledger) -> None:
    with joined(fd) as registry:
        registry.collect()


def test_killed_at_every_step_with_dead_to_fold(dead: tuple[int, int]) -> None:
    number = 0
    while deaths_in_a_row(dead, (number, whole)):
        number += 1
    assert number > 15


@pytest.mark.parametrize(
    ("work", "stride"),
    [
        pytest.param(fold, 4, id="some of a fold"),
        pytest.param(fold, 1, id="fold", marks=pytest.mark.all),
        pytest.param(whole, 1, id="life", marks=pytest.mark.all),
    ],
)
def test_two_deaths_in_a_row(dead: tuple[int, int], work: Callable[[int, Ledger], None], stride: int) -> None:
    """The second one finds what the first has left, at any step. All pairs, or some spread evenly."""
    first = 0
    while deaths_in_a_row(dead, (first, work)):
        second = first % stride
        while deaths_in_a_row(dead, (first, work), (second, work)):
            second += stride
        first += 1
    assert first > 10


def test_killed_at_every_step_of_making_one_by_name() -> None:
    name = f"test-{uuid.uuid4().hex}"
    for number in itertools.count():
        died = killed_at(number, lambda: close(Registry.open(name, SMALL)))
        registry = Registry()
        assert registry.move_to(name, SMALL) == []
        registry.counter("a_total", "A.").inc()
        assert read(registry) == {("a_total",): 1.0}
        registry.unlink()
        close(registry)
        assert [one.name for one in names.found() if name in one.name] == []
        if not died:
            break
    assert number >= 6


def test_a_fold_killed_after_its_commit_is_in_the_base_once(fd: int) -> None:
    ledger = Ledger()
    assert finish(lambda: life(fd, ledger, "a")) == 0
    taken = steps(lambda: None)
    assert taken == []
    with joined(fd) as registry:
        folds = slots(registry)._segment.header[FOLDS]
    with joined(fd) as registry:
        assert slots(registry)._segment.header[FOLDS] == folds
        read(registry)
        assert slots(registry)._segment.header[FOLDS] == folds + 1
    check(fd, ledger)
