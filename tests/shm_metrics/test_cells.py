"""The metrics that a program counts with: in C and in Python the same."""

from __future__ import annotations

import gc
import math
import mmap
import os
import threading
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm_metrics import cells as chosen
from shm_metrics import twin
from shm_metrics.cells import Last, Maximum

BOUNDS = (0.5, 1.0, 2.0, 4.0)
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
    [(0.0, 0), (0.5, 0), (0.50001, 1), (1.0, 1), (3.0, 3), (4.0, 3), (4.1, 4), (math.inf, 4), (-1.0, 0)],
)
def test_histogram_counts_by_size(of: ModuleType, value: float, bucket: int) -> None:
    there = cells()
    histogram = of.Histogram(there, 2, BOUNDS)
    histogram.observe(value)
    assert there.tolist()[3:8] == [1.0 if n == bucket else 0.0 for n in range(5)]
    assert (histogram.count, histogram.sum) == (1, value)


@pytest.mark.parametrize("wrong", ["1", None, b"1", [1]])
def test_only_numbers_are_counted(of: ModuleType, wrong: Any) -> None:
    there = cells()
    for count in (of.Counter(there, 0).inc, of.Gauge(there, 0).set, of.Histogram(there, 0, BOUNDS).observe):
        with pytest.raises(TypeError):
            count(wrong)
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


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["counter", "gauge", "set", "observe"]),
            st.floats(0, 1e12) | st.integers(0, 1 << 40) | st.booleans(),
        ),
        max_size=60,
    )
)
def test_both_do_the_same(steps: list[tuple[str, float]]) -> None:
    rows = []
    for of in IMPLEMENTATIONS:
        there = cells()
        counter, gauge, histogram = of.Counter(there, 0), of.Gauge(there, 1), of.Histogram(there, 2, BOUNDS)
        ways = {"counter": counter.inc, "gauge": gauge.inc, "set": gauge.set, "observe": histogram.observe}
        for way, amount in steps:
            ways[way](amount)
        rows.append(there.tobytes())
    assert len({*rows}) == 1


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
    child = os.fork()
    if not child:
        while True:  # until it is killed
            gauge.set(both[1])
            gauge.set(both[0])
    try:
        seen = {there[0] for _ in range(200_000)}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert seen <= {*both}
    del gauge, there


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
