"""Whatever several processes do, in whatever order: readers see what a dictionary would hold."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from shm_metrics import Registry, SegmentFull
from shm_metrics.layout import Geometry
from tests.shm_metrics.children import close, finish, read, slots

SLOTS = 4
LABELS = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.one_of(st.integers(0, 1000).map(float), st.floats(0, 1000, allow_nan=False))


class Process:
    """One that counts, and what it believes."""

    def __init__(self, fd: int) -> None:
        self.registry = Registry.join(fd)
        self.counters = self.registry.counter("events_total", "Events.", ("what",))
        self.sizes = self.registry.histogram("size", "Sizes.", ("what",), bounds=(10.0, 100.0))
        self.gauge = self.registry.gauge("now", "Now.")
        self.most = self.registry.maximum("most", "Most.")
        self.last = self.registry.last("last", "Last.")
        self.now = 0.0
        self.gauges = True


class Counting(RuleBasedStateMachine):
    """Processes come, count, fork and die; readers fold; members are hidden and come back."""

    processes: Bundle[Process] = Bundle("processes")

    @initialize(target=processes)
    def begin(self) -> Process:
        first = Registry.unnamed(Geometry(slots=SLOTS, cells=512, definitions=4096))
        self.fd = os.dup(first.fd)
        close(first)
        self.living: list[Process] = []
        self.counted: dict[str, float] = {}
        self.observed: dict[str, list[float]] = {}
        self.hidden: set[str] = set()
        self.most, self.last = 0.0, 0.0
        self.seen: dict[tuple[str, ...], float] = {}
        return self._born()

    def _born(self) -> Process:
        one = Process(self.fd)
        self.living.append(one)
        return one

    def teardown(self) -> None:
        for one in getattr(self, "living", []):
            close(one.registry)
        if hasattr(self, "fd"):
            os.close(self.fd)

    # ---- what processes do ----

    @rule(target=processes)
    def come(self) -> Any:
        if len(self.living) < SLOTS:
            return self._born()
        with pytest.raises(SegmentFull):
            Registry.join(self.fd)
        return self.living[0]

    @rule(one=consumes(processes))
    def die(self, one: Process) -> None:
        if one in self.living:
            self.living.remove(one)
            close(one.registry)

    @rule(one=processes, label=LABELS, amount=AMOUNTS)
    def count(self, one: Process, label: str, amount: float) -> None:
        if one in self.living:
            self._asked(one, label)
            one.counters.labels(label).inc(amount)
            self.counted[label] = self.counted.get(label, 0.0) + amount

    @rule(one=processes, label=LABELS, amount=AMOUNTS)
    def observe(self, one: Process, label: str, amount: float) -> None:
        if one in self.living:
            one.sizes.labels(label).observe(amount)
            cells = self.observed.setdefault(label, [0.0] * 4)
            cells[0] += amount
            cells[1 + (amount > 10) + (amount > 100)] += 1

    @rule(one=processes, value=st.floats(-100, 100))
    def set(self, one: Process, value: float) -> None:
        if one in self.living:
            one.gauge.set(value)
            one.now = value

    @rule(one=processes, value=AMOUNTS)
    def rise(self, one: Process, value: float) -> None:
        if one in self.living:
            one.most.set(value)
            self.most = max(self.most, value)

    @rule(one=processes, value=AMOUNTS)
    def state(self, one: Process, value: float) -> None:
        if one in self.living:
            one.last.set(value)
            self.last = value

    @rule(one=processes, label=LABELS, amount=AMOUNTS)
    def fork(self, one: Process, label: str, amount: float) -> None:
        """A child counts, with what it has of its parent, and dies. Without a slot that is lost with it."""
        if one not in self.living or len(self.living) * 2 > SLOTS:  # all registries of this process get one
            return
        self._asked(one, label)

        def work() -> None:
            one.counters.labels(label).inc(amount)
            one.gauge.set(1e6)
            assert one.registry.trouble == ""

        assert finish(work) == 0
        self.counted[label] = self.counted.get(label, 0.0) + amount

    def _asked(self, one: Process, label: str) -> None:
        """Who asks for a hidden member shows it, unless it never let go of it."""
        if (label,) not in dict(one.counters.members()):
            self.hidden.discard(label)

    @rule(one=processes, label=LABELS)
    def hide(self, one: Process, label: str) -> None:
        if one in self.living:
            one.counters.remove(label)
            self.hidden.add(label)

    @rule(one=processes)
    def fold(self, one: Process) -> None:
        if one in self.living:
            slots(one.registry).fold()

    @rule(one=processes)
    def reign(self, one: Process) -> None:
        if one in self.living:
            one.registry.reign()
            for other in self.living:
                other.gauges = other is one

    @rule(one=processes)
    def assist(self, one: Process) -> None:
        if one in self.living:
            one.registry.assist()
            one.gauges = True

    # ---- what readers see ----

    @invariant()
    def all_see_the_same_and_what_is_true(self) -> None:
        for one in getattr(self, "living", []):
            assert one.registry.trouble == ""
            values = read(one.registry)
            assert values.pop(("now",)) == pytest.approx(sum(other.now for other in self.living if other.gauges))
            assert (values.pop(("most",)), values.pop(("last",))) == (self.most, self.last)
            counted = {key[1]: value for key, value in values.items() if key[0] == "events_total"}
            assert counted == pytest.approx(
                {label: value for label, value in self.counted.items() if label not in self.hidden}, rel=1e-12
            )
            for family in one.registry.collect():
                if family.shape.name == "size":
                    assert {member.values[0]: member.cells for member in family.members} == {
                        label: [pytest.approx(cells[0], rel=1e-12), *cells[1:]]
                        for label, cells in self.observed.items()
                    }
            assert all(value >= self.seen.get(key, 0.0) for key, value in values.items())
            self.seen |= values


Counting.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestCounting = Counting.TestCase
