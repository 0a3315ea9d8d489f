"""Slots: one for each process that counts. Who is dead is folded into the base, so that nothing counted is lost.

How a fold is safe against its own death. A segment has two bases; the parity of `folds` says which one counts. A fold

    1  undoes what an earlier one had marked and not committed; clears what one had committed and not cleared
    2  makes the other base: the one that counts, and the cells of all that are proven dead
    3  marks these slots with the number that `folds` will have
    4  adds one to `folds`                          <- the commit: a single store
    5  clears their cells and gives the slots free

A slot whose mark is not above `folds` is in the base; a reader leaves it out. Killed before 4, nothing has happened;
killed after it, everything has. A reader that finds `folds` changed meanwhile reads again.

No reader may see a counter fall by that, not by the last bit of a sum of fractions: a scraper would take it for a
restart. So readers round the exact sum of all cells once, and a base that cannot be exact is a bit above it.

Death is proven by the lock on the byte of a slot: the kernel releases it when the process cannot write any more. A
child that was forked behind Python's back holds the locks of its parent, so that slot waits for both.
"""

from __future__ import annotations

import os
from array import array
from math import fsum, inf, nextafter
from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

from shm_metrics import layout
from shm_metrics.cells import fence
from shm_metrics.errors import MetricsError, SegmentBusy, SegmentFull
from shm_metrics.layout import CLAIM, CLAIMS, FIGURES, FOLDING, FOLDS, LIFE, NUMBER, PID, REIGN, SLOT_REIGN
from shm_metrics.segment import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shm_metrics.definitions import Definitions, Place
    from shm_metrics.segment import Segment

LOOKS: Final = 10
"""How often a reader looks again because of a fold before it takes the lock, so that there is none."""
CLAIM_OF: Final = 0xFFFFFFFF
"""The part of a reign that is the claim of who reigns."""
GLANCES: Final = 1000
"""How often it looks again because somebody began to reign; that takes microseconds and happens in handovers."""


EXACT: Final = 2.0**53
"""Below it sums of whole numbers are."""


class Process(NamedTuple):
    """What a process says of itself."""

    number: int = 0
    """Its generation; 0: it does not say."""
    started: float = 0.0
    """Seconds since the epoch."""
    cpu: float = 0.0
    """Seconds, user and system."""
    resident: float = 0.0
    """Bytes."""
    descriptors: float = 0.0
    most_descriptors: float = 0.0


class Look(NamedTuple):
    """All cells of a segment at one moment. For each block: a row of cells for the base and for each process."""

    rows: list[list[list[float]]]
    """The base, then the processes that are not in it."""
    gauging: list[list[list[float]]]
    """Those of them whose gauges count."""


class Slots:
    """Who counts in a segment."""

    def __init__(self, segment: Segment, definitions: Definitions) -> None:
        self._segment = segment
        self._definitions = definitions
        self.own = -1
        """The slot of this process; -1: none."""

    # ---- coming ----

    def claim(self, pid: int) -> None:
        """Take a free slot, or that of one who is dead. Raises `SegmentFull` and `SegmentBusy`."""
        segment = self._segment
        with segment.locked():
            free = self._free()
            if free < 0:
                self.fold()
                free = self._free()
            if free < 0:
                raise SegmentFull(f"all its {segment.geometry.slots} slots are taken by living processes")
            try:
                self._enter(free, pid)
            except BaseException:
                segment.locks.release(LIFE + free)
                raise
            self.own = free

    def _enter(self, slot: int, pid: int) -> None:
        segment = self._segment
        for number in range(len(segment.blocks())):
            segment.back(number, slot)
        segment.write(slot, FOLDING, 0)
        segment.write(slot, NUMBER, 0)
        segment.write(slot, PID, pid)
        segment.write(slot, SLOT_REIGN, segment.header[REIGN])
        segment.step("locked")
        segment.header[CLAIMS] += 1
        segment.step("numbered")
        fence()
        segment.write(slot, CLAIM, segment.header[CLAIMS])
        segment.step("claimed")
        self.touch()

    def _free(self) -> int:
        """A slot that nobody has, with its lock; -1: there is none."""
        segment = self._segment
        used = {*segment.used()}
        for slot in range(segment.geometry.slots):
            if slot not in used and segment.locks.take(LIFE + slot):
                return slot
        return -1

    def touch(self) -> None:
        """A sign of life, for people who find the segment later: the moment of its last change."""
        os.utime(self._segment.fd)

    def forked(self) -> None:
        """This is a child: its parent's slot is not its own."""
        self.own = -1

    # ---- going ----

    def dead(self) -> bool:
        """Some slot waits to be folded. Raises `SegmentForeign`."""
        segment = self._segment
        segment.check()
        return any(n != self.own and not segment.locks.held(LIFE + n) for n in segment.used())

    def fold(self) -> int:
        """Take all that are dead into the base. Returns how many. Raises `SegmentBusy`, `SegmentCorrupt`."""
        segment = self._segment
        with segment.locked():
            self._settle()
            self._definitions.follow()
            dead: list[int] = []
            try:
                dead += (n for n in segment.used() if n != self.own and segment.locks.take(LIFE + n))
                if dead:
                    self._fold(dead)
            finally:
                for slot in dead:
                    segment.locks.release(LIFE + slot)
            return len(dead)

    def _fold(self, dead: list[int]) -> None:
        segment = self._segment
        self._make_base(dead)
        folds = segment.header[FOLDS] + 1
        for slot in dead:
            segment.step("mark")
            segment.write(slot, FOLDING, folds)
        segment.step("marked")
        fence()
        segment.header[FOLDS] = folds
        fence()
        segment.step("committed")
        for slot in dead:
            self._clear(slot)

    def _settle(self) -> None:
        """End what a fold that was killed has begun."""
        segment = self._segment
        folds = segment.header[FOLDS]
        for slot in segment.used():
            mark = segment.word(slot, FOLDING)
            if mark > folds:
                segment.write(slot, FOLDING, 0)
            elif mark and segment.locks.take(LIFE + slot):
                self._clear(slot)
                segment.locks.release(LIFE + slot)

    def _clear(self, slot: int) -> None:
        segment = self._segment
        nothing = memoryview(bytes(segment.geometry.area)).cast("d")
        for block in segment.blocks():
            segment.step("clear")
            block.cells(slot)[:] = nothing
        segment.step("cleared")
        fence()
        segment.write(slot, CLAIM, 0)
        segment.step("freed")

    def _make_base(self, dead: list[int]) -> None:
        segment, definitions = self._segment, self._definitions
        counts = segment.header[FOLDS] & 1
        for block, taken, places in zip(segment.blocks(), definitions.taken, definitions.blocks, strict=True):
            rows = [numbers(cells[:taken]) for cells in (block.base(counts), *map(block.cells, dead))]
            segment.step("base")
            block.base(1 - counts)[:taken] = array("d", _together(rows, places))

    # ---- whose gauges count ----

    def reign(self) -> None:
        """From now on gauges count for this process, and for no other until it joins."""
        segment = self._segment
        if self.own < 0:
            return
        number = (segment.header[REIGN] >> 32) + 1
        segment.header[REIGN] = number << 32 | segment.word(self.own, CLAIM)

    @property
    def reigns(self) -> bool:
        """Gauges count for this process and those that assist it."""
        segment = self._segment
        return self.own >= 0 and segment.header[REIGN] & CLAIM_OF == segment.word(self.own, CLAIM)

    def join(self) -> None:
        """Gauges count for this process, too."""
        if self.own >= 0:
            self._segment.write(self.own, SLOT_REIGN, self._segment.header[REIGN])

    # ---- reading ----

    def read(self) -> Look:
        """All cells at one moment, as far as their definitions are known. Raises `SegmentBusy`."""
        segment = self._segment
        for _ in range(LOOKS):
            look = self._look()
            if look is not None:
                return look
        try:
            with segment.locked():
                look = self._look()
        except MetricsError:  # who folded so often is stopped, so it does not any more
            look = self._look()
        if look is None:
            raise SegmentBusy("it is folded again and again")
        return look

    def _look(self) -> Look | None:
        """None if there was a fold meanwhile, so that not all of it may be of one moment."""
        segment = self._segment
        folds = segment.header[FOLDS]
        fence()
        living = [n for n in segment.used() if not 0 < segment.word(n, FOLDING) <= folds]
        gauging = self._gauging(living)
        fence()
        rows, gauges = [], []
        known = self._definitions
        for block, taken, places in zip(segment.mapped(), known.taken, known.blocks, strict=False):
            cells = {slot: numbers(block.cells(slot)[:taken]) for slot in living}
            fence()
            # Value and moment of such a gauge are two stores, in this order. Who sees the moment must see its value.
            lasts = [place.first for place in places if place.shape.combine == "last" and place.first < taken]
            for slot, row in cells.items():
                for first in lasts:
                    row[first] = block.cells(slot)[first]
            rows.append([numbers(block.base(folds & 1)[:taken]), *cells.values()])
            gauges.append([cells[slot] for slot in gauging])
        fence()
        return Look(rows, gauges) if segment.header[FOLDS] == folds else None

    def _gauging(self, slots: list[int]) -> list[int]:
        """Those whose gauges count, at one moment: neither both of two that follow each other, nor none of them."""
        segment, found = self._segment, list[int]()
        for _ in range(GLANCES):
            reign = segment.header[REIGN]
            fence()
            found = [n for n in slots if self._counts(n, reign)]
            fence()
            if segment.header[REIGN] == reign:
                break
        return [n for n in found if self.lives(n)]

    def lives(self, slot: int) -> bool:
        """The process that has it lives. One that was cut off from the segment cannot tell, and believes it."""
        segment = self._segment
        return slot == self.own or not segment.usable or segment.locks.held(LIFE + slot)

    @property
    def gauges(self) -> bool:
        """Gauges of this process count."""
        segment = self._segment
        return self.own < 0 or self._counts(self.own, segment.header[REIGN])

    def _counts(self, slot: int, reign: int) -> bool:
        """Gauges of that process do in this reign: it is its own, or it has joined it."""
        segment = self._segment
        return segment.word(slot, SLOT_REIGN) == reign or segment.word(slot, CLAIM) == reign & CLAIM_OF

    # ---- what processes say of themselves ----

    def tell(self, process: Process) -> None:
        """Say so."""
        segment = self._segment
        if self.own < 0:
            return
        at = self.own * (layout.SLOT // 8) + FIGURES
        for n, figure in enumerate(process[1:]):
            segment.figures[at + n] = figure
        fence()
        segment.write(self.own, NUMBER, process.number)
        if segment.usable:
            self.touch()

    @property
    def others(self) -> int:
        """How many other living processes have a slot."""
        return sum(slot != self.own and self.lives(slot) for slot in self._segment.used())

    def processes(self) -> list[Process]:
        """What the living say that say anything."""
        segment, found = self._segment, []
        for slot in segment.used():
            number = segment.word(slot, NUMBER)
            if number and self.lives(slot):
                at = slot * (layout.SLOT // 8) + FIGURES
                found.append(Process(number, *numbers(segment.figures[at : at + 5])))
        return sorted(found)


def total(cells: Sequence[float]) -> float:
    """Their sum, rounded once: so it is the same in whatever order they come, and grows with each of them."""
    try:
        return fsum(cells)
    except (OverflowError, ValueError):  # more than there are numbers for, or infinities of both signs
        return sum(cells)


def combined(combine: str, rows: Sequence[Sequence[float]]) -> list[float]:
    """The cells of a gauge for several processes, as a base keeps them: that of the living alone is nothing there."""
    if combine == "max":
        return [max(row[0] for row in rows)]
    if combine == "last":
        return [*max(rows, key=lambda row: row[1])]
    return [0.0]


def _together(rows: list[list[float]], places: list[Place]) -> list[float]:
    """The cells of a block for several processes, as a base keeps them."""
    cells = rows[0]
    for row in rows[1:]:
        cells = list(map(add, cells, row))  # counts of buckets
    for shape, _, _, first, _ in places:
        if shape.combine:
            end = first + shape.cells
            cells[first:end] = combined(shape.combine, [row[first:end] for row in rows])
        elif not (cells[first] < EXACT and all(row[first].is_integer() for row in rows)):
            cells[first] = _upwards([row[first] for row in rows])
    return cells


def _upwards(cells: list[float]) -> float:
    """Their sum, or the next number above it."""
    near = total(cells)
    return nextafter(near, inf) if total([*cells, -near]) > 0.0 else near
