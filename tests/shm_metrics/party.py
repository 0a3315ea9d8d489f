"""A process as far as slots go, for tests that have several in one."""

from __future__ import annotations

from shm_metrics import memory
from shm_metrics.definitions import Definitions, Place
from shm_metrics.segment import Segment
from shm_metrics.shape import Shape
from shm_metrics.slots import Slots, total

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
