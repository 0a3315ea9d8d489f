"""The metrics that a program counts with: in C and in Python the same."""

from __future__ import annotations

import gc
import math
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from importlib import import_module
from time import monotonic
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm_metrics import cells as chosen
from shm_metrics import twin
from shm_metrics.cells import Last, Maximum

BOUNDS = (0.5, 1.0, 2.0, 4.0)
TOO_LARGE = (OverflowError, ValueError)
"""The second where Python's memoryview says so."""
IMPLEMENTATIONS = [twin]
if not chosen.WHY_PYTHON or chosen.VARIABLE in chosen.WHY_PYTHON:
    IMPLEMENTATIONS.append(import_module("shm_metrics._cells"))


def cells(count: int = 16) -> Any:
    return memoryview(bytearray(8 * count)).cast("d")


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda one: one.__name__.rpartition(".")[2])
def of(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


def test_c_was_built() -> None:
    """Where it is not, all others here say nothing of it."""
    assert len(IMPLEMENTATIONS) == 2, chosen.WHY_PYTHON


def test_counter_counts(of: ModuleType) -> None:
    there = cells()
    counter = of.Counter(there, 3)
    counter.inc()
    counter.inc(41)
    counter.inc(amount=0.5)
    assert counter.value == there[3] == 42.5
    assert sum(there) == 42.5


@pytest.mark.parametrize("amount", [-1, -0.1, math.nan, -math.inf])
def test_counter_never_goes_down(of: ModuleType, amount: float) -> None:
    counter = of.Counter(cells(), 0)
    counter.inc(7)
    with pytest.raises(ValueError, match="never goes down"):
        counter.inc(amount)
    assert counter.value == 7


def test_gauge_goes_up_and_down(of: ModuleType) -> None:
    gauge = of.Gauge(cells(), 0)
    gauge.set(10)
    gauge.inc()
    gauge.dec(4)
    gauge.dec()
    assert gauge.value == 6
    gauge.set(-2.5)
    assert gauge.value == -2.5


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, 0), (0.5, 0), (0.50001, 1), (1.0, 1), (3, 3), (4.0, 3), (4.1, 4), (math.inf, 4), (-1.0, 0), (True, 1)],
)
def test_histogram_counts_by_size(of: ModuleType, value: float, bucket: int) -> None:
    there = cells()
    histogram = of.Histogram(there, 2, BOUNDS)
    histogram.observe(value)
    assert there.tolist()[3:8] == [1.0 if n == bucket else 0.0 for n in range(5)]
    assert (histogram.count, histogram.sum) == (1, value)


def test_histogram_counts_several_of_a_size(of: ModuleType) -> None:
    there = cells()
    histogram = of.Histogram(there, 2, BOUNDS)
    histogram.observe(0.5, 3)
    assert there.tolist()[3:8] == [3, 0, 0, 0, 0]
    assert (histogram.count, histogram.sum) == (3, 1.5)
    for count in (-1, math.nan):
        with pytest.raises(ValueError, match="never goes down"):
            histogram.observe(0.5, count)
    for wrong in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            histogram.observe(*wrong)
    with pytest.raises(TypeError):
        histogram.observe(0.5, "1")
    assert (histogram.count, histogram.sum) == (3, 1.5)


def test_not_a_number_is_in_the_first_bucket(of: ModuleType) -> None:
    there = cells()
    histogram = of.Histogram(there, 0, BOUNDS)
    histogram.observe(math.nan)
    assert there.tolist()[1:6] == [1, 0, 0, 0, 0]
    assert math.isnan(histogram.sum)


def test_integers_between_two_doubles_are_the_nearer_one(of: ModuleType) -> None:
    there = cells()
    of.Histogram(there, 0, (float(1 << 53),)).observe((1 << 53) + 1)
    assert there.tolist()[:3] == [1 << 53, 1, 0]


@pytest.mark.parametrize("bounds", [BOUNDS, ()], ids=["bounds", "none"])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [("1", TypeError), (None, TypeError), (b"1", TypeError), ([1], TypeError), (10**400, TOO_LARGE)],
    ids=["str", "None", "bytes", "list", "too large"],
)
def test_only_numbers_are_counted(
    of: ModuleType, wrong: Any, error: type[Exception] | tuple[type[Exception], ...], bounds: tuple[float, ...]
) -> None:
    there = cells()
    counter, gauge, histogram = of.Counter(there, 0), of.Gauge(there, 0), of.Histogram(there, 0, bounds)
    for count in (counter.inc, gauge.set, gauge.inc, gauge.dec, histogram.observe):
        with pytest.raises(error):
            count(wrong)
        assert not any(there), count


def test_calls_of_another_form_are_refused(of: ModuleType) -> None:
    there = cells()
    counter, gauge, histogram = of.Counter(there, 0), of.Gauge(there, 0), of.Histogram(there, 0, BOUNDS)
    for count in (counter.inc, gauge.inc, gauge.dec):
        for args, names in (((1, 2), {}), ((1,), {"amount": 2}), ((), {"other": 1})):
            with pytest.raises(TypeError):
                count(*args, **names)
    for wrong in (gauge.set, histogram.observe, counter.bind, histogram.bind, of.Counter, of.Gauge, of.Histogram):
        with pytest.raises(TypeError):
            wrong()
    assert not any(there)


def test_bind_moves_on_to_other_cells(of: ModuleType) -> None:
    before, after = cells(), cells()
    for one, count in (
        (of.Counter(before, 1), "inc"),
        (of.Gauge(before, 1), "inc"),
    ):
        getattr(one, count)()
        one.bind(after, 2)
        getattr(one, count)()
    histogram = of.Histogram(before, 5, BOUNDS)
    histogram.bind(after, 5)
    histogram.observe(1.0)
    assert (sum(before), after[2], after[5], after[7]) == (2, 2, 1, 1)


def test_bind_is_done_before_the_former_cells_go(of: ModuleType) -> None:
    """Their going runs code of others, and that may count."""
    before, after = cells(), cells()
    counter, histogram = of.Counter(before, 1), of.Histogram(before, 2, BOUNDS)

    def gone(_: object) -> None:
        counter.inc()
        histogram.observe(1.0)

    last = weakref.ref(before, gone)
    del before
    counter.bind(after, 1)
    histogram.bind(after, 2)
    assert last() is None
    assert (counter.value, histogram.count, after.tolist()[1:5]) == (1, 1, [1, 1, 0, 1])


def test_an_argument_may_bind_what_it_is_given_to(of: ModuleType) -> None:
    before, after = cells(), cells()
    gauge = of.Gauge(before, 0)

    class Awkward:
        def __float__(self) -> float:
            gauge.bind(after, 0)
            return 5.0

    gauge.set(Awkward())
    assert sum(before) + sum(after) == 5


ANY = st.floats() | st.integers(-(1 << 70), 1 << 70) | st.booleans() | st.sampled_from([10**400, None, "1"])
STEPS = ["counter", "gauge", "down", "set", "observe", "bind"]


@given(st.lists(st.tuples(st.sampled_from(STEPS), ANY), max_size=60))
def test_both_do_the_same(steps: list[tuple[str, Any]]) -> None:
    rows = []
    for of in IMPLEMENTATIONS:
        there = cells()
        counter, gauge, histogram = of.Counter(there, 0), of.Gauge(there, 1), of.Histogram(there, 2, BOUNDS)

        def bind(
            amount: Any, there: Any = there, counter: Any = counter, gauge: Any = gauge, histogram: Any = histogram
        ) -> None:
            counter.bind(there, 8 if amount else 0)
            gauge.bind(there, 9 if amount else 1)
            histogram.bind(there, 10 if amount else 2)

        ways = {
            "counter": counter.inc,
            "gauge": gauge.inc,
            "down": gauge.dec,
            "set": gauge.set,
            "observe": histogram.observe,
            "bind": bind,
        }
        row: list[Any] = []
        for way, amount in steps:
            try:
                row.append(ways[way](amount))
            except TypeError:
                row.append("no number")
            except TOO_LARGE:
                row.append("no value for it")
            row.append(repr((there.tolist(), counter.value, gauge.value, histogram.count, histogram.sum)))
        rows.append(row)
    assert all(row == rows[0] for row in rows)


@pytest.mark.parametrize("at", [-1, 16, 1 << 60])
def test_c_stays_inside_its_buffer(at: int) -> None:
    for of in IMPLEMENTATIONS[1:]:
        with pytest.raises(ValueError, match="not so many cells"):
            of.Counter(cells(), at)
        with pytest.raises(ValueError, match="not so many cells"):
            of.Histogram(cells(), 11, BOUNDS)
        counter = of.Counter(cells(), 15)
        with pytest.raises(ValueError, match="not so many cells"):
            counter.bind(cells(), at)
        counter.inc()
        assert counter.value == 1


def test_c_takes_nothing_but_cells() -> None:
    for of in IMPLEMENTATIONS[1:]:
        for wrong in (bytes(64), memoryview(bytearray(64)), memoryview(bytearray(65))[1:].cast("d")):
            with pytest.raises((BufferError, ValueError)):
                of.Counter(wrong, 0)


def test_c_keeps_the_memory_that_it_points_into() -> None:
    for of in IMPLEMENTATIONS[1:]:
        memory = mmap.mmap(-1, 4096)
        view = memoryview(memory)
        counter = of.Counter(view.cast("d"), 0)
        del view
        with pytest.raises(BufferError):
            memory.close()
        counter.inc()
        del counter
        memory.close()


def test_cells_in_garbage_harm_nobody(of: ModuleType) -> None:
    """A memoryview that the collector clears while somebody has its buffer ends the process: CPython 3.11.

    So a cell must not let the collector see the view that it holds; what keeps it alive is no part of any cycle then.
    """

    class Holder:
        pass

    for view_first in (True, False) * 20:
        made = [cells(), Holder()] if view_first else [Holder(), cells()]
        view, holder = made if view_first else made[::-1]
        holder.counter, holder.view, holder.itself = of.Counter(view, 0), view, holder
        del made, view, holder
        gc.collect()


def test_c_types_are_as_they_are() -> None:
    for of in IMPLEMENTATIONS[1:]:
        for kind in (of.Counter, of.Gauge, of.Histogram):
            with pytest.raises(TypeError, match="not an acceptable base type"):
                type("Mine", (kind,), {})
            with pytest.raises(TypeError, match="immutable type"):
                kind.bind = None
            with pytest.raises(TypeError):
                object.__new__(kind)


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    """As many switches between threads as there can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_eager_threads")
def test_threads_may_share_a_counter(of: ModuleType) -> None:
    counter, histogram = of.Counter(cells(), 0), of.Histogram(cells(), 0, BOUNDS)

    def count() -> None:
        for _ in range(20_000):
            counter.inc()
            histogram.observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counter.value, histogram.count, histogram.sum) == (80_000, 80_000, 80_000)


def test_a_reader_in_another_process_never_sees_half_a_value(of: ModuleType) -> None:
    """Two values that differ in every byte, set in turn."""
    memory = mmap.mmap(-1, 4096)
    there = memoryview(memory).cast("d")
    both = memoryview(bytes([0x11] * 8 + [0x66] * 8)).cast("d").tolist()
    gauge = of.Gauge(there, 0)
    gauge.set(both[0])
    parent = os.getpid()
    child = os.fork()
    if not child:
        while os.getppid() == parent:  # until it is killed
            for _ in range(1000):
                gauge.set(both[1])
                gauge.set(both[0])
        os._exit(0)
    seen: set[float] = set()
    changes, reads = 0, 0
    deadline = monotonic() + 20
    try:
        value = there[0]
        while (changes < 100 or reads < 200_000) and monotonic() < deadline:
            for _ in range(10_000):
                former, value = value, there[0]
                changes += value != former
                seen.add(value)
            reads += 10_000
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert seen == {*both}
    assert changes >= 100
    del gauge, there


def test_what_comes_after_a_fence_is_seen_after_what_comes_before(of: ModuleType) -> None:
    """One process stores a number and, past the fence, the same as news of it; another looks at the news first."""
    memory = mmap.mmap(-1, 4096)
    there = memoryview(memory).cast("d")
    number, news = of.Gauge(there, 0), of.Gauge(there, 8)  # of different cache lines
    parent = os.getpid()
    child = os.fork()
    if not child:
        while os.getppid() == parent:  # until it is killed
            for _ in range(1000):
                number.inc()
                of.fence()
                news.inc()
        os._exit(0)
    looks, early, deadline = 0, 0, monotonic() + 20
    try:
        while (looks < 50_000 or not there[8]) and monotonic() < deadline:
            told = there[8]
            of.fence()
            early += there[0] < told
            looks += 1
        told = there[8]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert told > 0
    assert early == 0
    del number, news, there


def test_maximum_and_last() -> None:
    there = cells()
    maximum, last = Maximum(there, 0), Last(there, 1)
    for value in (3, 9, 4):
        maximum.set(value)
        last.set(value)
    assert (maximum.value, last.value) == (9, 4)
    assert there[2] > 0
    moved = cells()
    maximum.bind(moved, 0)
    last.bind(moved, 1)
    last.set(1)
    assert (maximum.value, last.value) == (0, 1)
