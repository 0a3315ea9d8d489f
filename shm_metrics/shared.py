"""The store of a registry in shared memory: a `Segment`, the definitions in it, and this process's slot.

What cannot be had there for now (the lock, room, memory) goes adrift: cells in the memory of this process, counted in
and read by it, moved into the segment once that is possible. A program never fails because its metrics cannot be kept.
"""

from __future__ import annotations

import contextlib
import os
from math import fsum
from typing import TYPE_CHECKING, Final

from shm_metrics.definitions import Definitions
from shm_metrics.errors import MetricsError, SegmentFull
from shm_metrics.segment import numbers
from shm_metrics.slots import Look, Process, Slots, combined, total
from shm_metrics.store import Collected, Member

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from shm_metrics.cells import Metric
    from shm_metrics.segment import Segment
    from shm_metrics.shape import Shape
    from shm_metrics.twin import Cells

TROUBLE: Final = (MetricsError, OSError)
"""What may be in the way of keeping something in the segment."""

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
        self._outside = ""
        """Why this process has no slot, if it has none."""
        self._found: dict[Key, tuple[Cells, int]] = {}
        self._hidden: set[Key] = set()
        """Of those adrift."""
        self._areas: list[Cells] = []
        """This process's cells of each block."""
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
            except TROUBLE as error:
                self.trouble = str(error)
                self._hidden.discard(key)
                return self.adrift.setdefault(key, memoryview(bytearray(8 * shape.cells)).cast("d")), 0
            self._found[key] = found
        return found

    def place_again(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """The same for a member that was placed before a fork: nobody has asked for it anew, so hidden it stays."""
        place = self.definitions.places.get((shape, values))
        if place is None or self.slots.own < 0:
            return self.place(shape, values)
        found = self._found[shape, values] = self._area(place.block), place.first
        return found

    def _located(self, key: Key) -> tuple[Cells, int]:
        definitions = self.definitions
        place = definitions.places.get(key)
        if place is None:
            with self.segment.locked():
                place = definitions.define(*key)
        if self.slots.own < 0:
            raise SegmentFull(self._outside)
        if not definitions.shown(place):
            definitions.show(place, shown=True)
        return self._area(place.block), place.first

    def _area(self, number: int) -> Cells:
        while len(self._areas) <= number:
            self._areas.append(self.segment.mapped()[len(self._areas)].cells(self.slots.own))
        return self._areas[number]

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Store`."""
        key = shape, values
        self._found.pop(key, None)
        if key in self.adrift:
            self._hidden.add(key)
        place = self.definitions.places.get(key)
        if place is not None:
            self.definitions.show(place, shown=False)

    def known(self) -> list[Key]:
        """See `Store`."""
        with contextlib.suppress(*TROUBLE):
            self.definitions.follow()
        places = self.definitions.places.values()
        here = [(one.shape, one.values) for one in places if self.definitions.shown(one)]
        return [*here, *(key for key in self.adrift if key not in self._hidden and key not in self.definitions.places)]

    def land(self, members: Mapping[Key, Metric]) -> None:
        """Move what is adrift into the segment, if that is possible now."""
        try:
            if self.slots.own < 0:
                self.slots.claim(os.getpid())
            for key, cells in list(self.adrift.items()):
                found, at = self._located(key)
                self._found[key] = found, at
                del self.adrift[key]
                _move(key[0], members.get(key), cells, found, at)
                if key in self._hidden:
                    self.hide(*key)
        except TROUBLE as error:
            self.trouble = str(error)
        else:
            self.trouble = ""
            self._hidden.clear()

    def take(self, key: Key, member: Metric | None, cells: Cells) -> None:
        """A member that was at home elsewhere: it goes on here."""
        _move(key[0], member, cells, *self.place(*key))

    # ---- reading ----

    def collecting(self, own: Iterable[Shape]) -> Generator[None, None, list[Collected]]:
        """See `Store`. First folds who is dead; the look at all cells comes before the first pause."""
        definitions = self.definitions
        try:
            definitions.follow()
            if self.slots.dead():
                self.slots.fold()
        except TROUBLE as error:  # somebody holds the lock, or damaged something: what is known is still true
            self.trouble = str(error)
        look = self.slots.read()
        meant = {shape.name: shape for shape in definitions.shapes} | {shape.name: shape for shape in own}
        found: dict[Shape, list[Member]] = {shape: [] for shape in meant.values()}
        by_identity = {id(shape): found[shape] for shape in definitions.shapes if shape in found}  # to hash one is slow
        there = [places[:] for places in definitions.blocks]  # more may be defined in a pause, and adrift ones land
        adrift = {key: self._adrift_value(*key, numbers(cells), look) for key, cells in self.adrift.items()}
        hidden = {*self._hidden}
        for places, block, rows, gauging in zip(there, self.segment.mapped(), look.rows, look.gauging, strict=False):
            yield
            words = block.words
            totals = _totals(rows)
            for place in places:
                shape, values, _, first, record = place
                members = by_identity.get(id(shape))
                if members is None or words[record // 8 + 2] != 1 or (adrift and (shape, values) in adrift):
                    continue
                if not shape.combine:
                    members.append(Member(values, totals[first : first + shape.cells]))
                elif shape.combine == "sum":
                    members.append(Member(values, [total([row[first] for row in gauging])]))
                else:
                    cells = [row[first : first + shape.cells] for row in rows]
                    members.append(Member(values, combined(shape.combine, cells)[:1]))
        yield
        for (shape, values), mine in adrift.items():
            if shape in found and (shape, values) not in hidden:
                found[shape].append(Member(values, mine))
        return [Collected(meant[name], found[meant[name]]) for name in sorted(meant) if found[meant[name]]]

    def _adrift_value(self, shape: Shape, values: tuple[str, ...], mine: list[float], look: Look) -> list[float]:
        """Of a member of which this process's part is elsewhere."""
        rows, gauging = [mine], [mine] if self.slots.gauges else []
        place = self.definitions.places.get((shape, values))
        if place is not None and place.block < len(look.rows):
            own = slice(place.first, place.first + shape.cells)
            rows += (row[own] for row in look.rows[place.block])
            gauging += (row[own] for row in look.gauging[place.block])
        if shape.combine == "sum":
            return [total([row[0] for row in gauging])]
        return combined(shape.combine, rows)[:1] if shape.combine else _totals(rows)

    def processes(self) -> list[Process]:
        """See `Slots.processes`."""
        return self.slots.processes()

    # ---- forks ----

    def forked(self) -> None:
        """This is a child: it counts in a slot of its own from here on.

        What another thread was in the middle of is not to be trusted, so definitions are read anew.
        """
        self.definitions = Definitions(self.segment)
        self.slots = Slots(self.segment, self.definitions)
        self._found, self._areas, self.adrift, self._hidden = {}, [], {}, set()
        self.trouble = ""
        try:
            self.segment.forked()
            self.definitions.follow()
            self.slots.claim(os.getpid())
        except TROUBLE as error:  # its parent's slot is not its own in any case
            self.trouble = self._outside = str(error)


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


def _totals(rows: list[list[float]]) -> list[float]:
    """Of each cell."""
    try:
        return list(map(fsum, zip(*rows, strict=True)))
    except (OverflowError, ValueError):
        return list(map(total, zip(*rows, strict=True)))
