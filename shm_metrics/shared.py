"""The store of a registry in shared memory: a `Segment`, the definitions in it, and this process's slot.

What cannot be had there for now (the lock, room, memory) goes adrift: cells in the memory of this process, counted in
and read by it, moved into the segment once that is possible. A program never fails because its metrics cannot be kept.
"""

from __future__ import annotations

import contextlib
import os
from operator import add
from typing import TYPE_CHECKING

from shm_metrics.definitions import Definitions, Place
from shm_metrics.errors import MetricsError
from shm_metrics.segment import numbers
from shm_metrics.slots import Process, Slots, combined
from shm_metrics.store import Collected, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shm_metrics.cells import Metric
    from shm_metrics.segment import Segment
    from shm_metrics.shape import Shape
    from shm_metrics.slots import Sums
    from shm_metrics.twin import Cells

Key = tuple["Shape", tuple[str, ...]]


class Shared:
    """Implements `shm_metrics.registry.Store`."""

    def __init__(self, segment: Segment) -> None:
        """Takes a slot. Raises `MetricsError`."""
        self.segment = segment
        self.definitions = Definitions(segment)
        self.slots = Slots(segment, self.definitions)
        self.adrift: dict[Key, Cells] = {}
        self.trouble = ""
        """Why something went adrift, last; empty: nothing did."""
        self._found: dict[Key, tuple[Cells, int]] = {}
        self.definitions.follow()
        self.slots.claim(os.getpid())

    # ---- defining ----

    def place(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """See `Store`."""
        key = shape, values
        found = self._found.get(key)
        if found is None:
            try:
                found = self._located(key)
            except MetricsError as error:
                self.trouble = str(error)
                return self.adrift.setdefault(key, memoryview(bytearray(8 * shape.cells)).cast("d")), 0
            self._found[key] = found
        return found

    def _located(self, key: Key) -> tuple[Cells, int]:
        segment, definitions = self.segment, self.definitions
        place = definitions.places.get(key)
        if place is None:
            with segment.locked():
                place = definitions.define(*key)
        if self.slots.own < 0:
            self.slots.claim(os.getpid())
        if not definitions.shown(place):
            definitions.show(place, shown=True)
        return segment.blocks()[place.block].cells(self.slots.own), place.first

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Store`."""
        self._found.pop((shape, values), None)
        self.adrift.pop((shape, values), None)
        place = self.definitions.places.get((shape, values))
        if place is not None:
            self.definitions.show(place, shown=False)

    def known(self) -> list[Key]:
        """See `Store`."""
        with contextlib.suppress(MetricsError):
            self.definitions.follow()
        places = self.definitions.places.values()
        return [(one.shape, one.values) for one in places if self.definitions.shown(one)]

    def land(self, members: Mapping[Key, Metric]) -> None:
        """Move what is adrift into the segment, if that is possible now."""
        for key, cells in list(self.adrift.items()):
            try:
                found, at = self._located(key)
            except MetricsError as error:
                self.trouble = str(error)
                return
            self._found[key] = found, at
            del self.adrift[key]
            _move(key[0], members.get(key), cells, found, at)
        self.trouble = ""

    def take(self, key: Key, member: Metric, cells: Cells) -> None:
        """A member that was at home elsewhere: it goes on here."""
        _move(key[0], member, cells, *self.place(*key))

    # ---- reading ----

    def collect(self, own: Iterable[Shape]) -> list[Collected]:
        """See `Store`. First folds who is dead."""
        try:
            if self.slots.dead():
                self.slots.fold()
            self.definitions.follow()
        except MetricsError as error:  # somebody else holds the lock, or damaged it: what is known is still true
            self.trouble = str(error)
        sums = self.slots.read()
        meant = {shape.name: shape for shape in self.definitions.shapes} | {shape.name: shape for shape in own}
        found: dict[str, dict[tuple[str, ...], list[float]]] = {}
        for place in self.definitions.places.values():
            shape = place.shape
            if meant[shape.name] == shape and self.definitions.shown(place):
                found.setdefault(shape.name, {})[place.values] = _value(place, sums)
        for (shape, values), cells in self.adrift.items():
            there = found.setdefault(shape.name, {}).setdefault(values, [0.0] * shape.visible)
            mine = numbers(cells)
            there[:] = [max(there[0], mine[0])] if shape.combine else map(add, there, mine)
        return [
            Collected(meant[name], [Member(*one) for one in members.items()]) for name, members in sorted(found.items())
        ]

    def processes(self) -> list[Process]:
        """See `Slots.processes`."""
        return self.slots.processes()

    # ---- forks ----

    def forked(self) -> None:
        """This is a child: it counts in a slot of its own from here on."""
        self.segment.forked()
        self.slots.forked()
        self._found.clear()
        self.adrift = {}


def _move(shape: Shape, member: Metric | None, cells: Cells, found: Cells, at: int) -> None:
    """Let a member that counted in `cells` count in others, and add what it has counted."""
    if member is not None:
        member.bind(found, at)  # first: another thread may count meanwhile
    if shape.combine == "max":
        found[at] = max(found[at], cells[0])
    elif shape.combine:
        if any(cells):
            found[at : at + len(cells)] = cells
    else:
        for n in range(len(cells)):
            found[at + n] += cells[n]


def _value(place: Place, sums: Sums) -> list[float]:
    shape, first, block = place.shape, place.first, place.block
    end = first + shape.cells
    if shape.combine == "sum":
        return [sum(sums.slots[slot][block][first] for slot in sums.gauging if first < len(sums.slots[slot][block]))]
    rows = [sums.base[block], *(blocks[block] for blocks in sums.slots.values())]
    rows = [row for row in rows if end <= len(row)]
    if not rows:
        return [0.0] * shape.visible
    if shape.combine:
        return combined(shape.combine, first, rows)[:1]
    if shape.cells == 1:
        return [sum(row[first] for row in rows)]
    return [sum(column) for column in zip(*(row[first:end] for row in rows), strict=True)]
