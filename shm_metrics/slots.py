"""Slots: one for each process that counts. Who is dead is folded into the base, so that nothing counted is lost.

How a fold is safe against its own death. A segment has two bases; the parity of `folds` says which one counts. A fold

    1  undoes what an earlier one had marked and not committed; clears what one had committed and not cleared
    2  makes the other base: the one that counts, and the cells of all that are proven dead
    3  marks these slots with the number that `folds` will have
    4  adds one to `folds`                          <- the commit: a single store
    5  clears their cells and gives the slots free

A slot whose mark is not above `folds` is in the base; a reader leaves it out. Killed before 4, nothing has happened;
killed after it, everything has. A reader that finds `folds` changed meanwhile reads again.

Death is proven by the lock on the byte of a slot: the kernel releases it when the process cannot write any more. A
process that was forked and not given a segment of its own holds the lock of its parent, so that slot waits for both.
"""

from __future__ import annotations

from array import array
from operator import add
from typing import TYPE_CHECKING, Final, NamedTuple

from shm_metrics import layout, memory
from shm_metrics.cells import fence
from shm_metrics.definitions import CELLS, Definitions
from shm_metrics.errors import SegmentBusy, SegmentFull
from shm_metrics.layout import CLAIM, CLAIMS, FIGURES, FOLDING, FOLDS, LIFE, NUMBER, PID, REIGN, SLOT_REIGN
from shm_metrics.segment import numbers

if TYPE_CHECKING:
    from shm_metrics.segment import Segment

LOOKS: Final = 1000
"""How often a reader begins anew because of a fold before it gives up; a fold takes longer than a look."""


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


class Sums(NamedTuple):
    """All cells of a segment at one moment. Lists by block and cell."""

    base: list[list[float]]
    slots: dict[int, list[list[float]]]
    """Of processes that are not in the base."""
    gauging: frozenset[int]
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
                for number in range(len(segment.blocks())):
                    segment.back(number, free)
            except SegmentFull:
                memory.unlock(segment.fd, LIFE + free)
                raise
            segment.write(free, FOLDING, 0)
            segment.write(free, NUMBER, 0)
            segment.write(free, PID, pid)
            segment.write(free, SLOT_REIGN, segment.header[REIGN])
            segment.step("locked")
            segment.header[CLAIMS] += 1
            segment.step("numbered")
            segment.write(free, CLAIM, segment.header[CLAIMS])
            segment.step("claimed")
            self.own = free

    def _free(self) -> int:
        """A slot that nobody has, with its lock; -1: there is none."""
        segment = self._segment
        used = {*segment.used()}
        for slot in range(segment.geometry.slots):
            if slot not in used and memory.try_lock(segment.fd, LIFE + slot):
                return slot
        return -1

    def forked(self) -> None:
        """This is a child: its parent's slot is not its own."""
        self.own = -1

    # ---- going ----

    def dead(self) -> bool:
        """Some slot waits to be folded."""
        segment = self._segment
        return any(n != self.own and not memory.is_locked(segment.fd, LIFE + n) for n in segment.used())

    def fold(self) -> int:
        """Take all that are dead into the base. Returns how many. Raises `SegmentBusy`."""
        segment = self._segment
        with segment.locked():
            self._settle()
            dead = [n for n in segment.used() if n != self.own and memory.try_lock(segment.fd, LIFE + n)]
            if dead:
                self._definitions.follow()
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
            return len(dead)

    def _settle(self) -> None:
        """End what a fold that was killed has begun."""
        segment = self._segment
        folds = segment.header[FOLDS]
        for slot in segment.used():
            mark = segment.word(slot, FOLDING)
            if mark > folds:
                segment.write(slot, FOLDING, 0)
            elif mark and memory.try_lock(segment.fd, LIFE + slot):
                self._clear(slot)

    def _clear(self, slot: int) -> None:
        segment = self._segment
        nothing = memoryview(bytes(segment.geometry.area)).cast("d")
        for block in segment.blocks():
            segment.step("clear")
            block.cells(slot)[:] = nothing
        segment.step("cleared")
        segment.write(slot, CLAIM, 0)
        segment.step("freed")
        memory.unlock(segment.fd, LIFE + slot)

    def _make_base(self, dead: list[int]) -> None:
        segment = self._segment
        counts = segment.header[FOLDS] & 1
        for number, block in enumerate(segment.blocks()):
            size = min(block.words[CELLS], segment.geometry.cells)
            before = numbers(block.base(counts)[:size])
            theirs = [numbers(block.cells(slot)[:size]) for slot in dead]
            after = before
            for cells in theirs:
                after = list(map(add, after, cells))
            self._correct(number, before, theirs, after)
            segment.step("base")
            block.base(1 - counts)[:size] = array("d", after)

    def _correct(self, number: int, before: list[float], theirs: list[list[float]], after: list[float]) -> None:
        """Gauges are not summed up."""
        for place in self._definitions.places.values():
            if place.block == number and place.shape.combine:
                first = place.first
                after[first : first + place.shape.cells] = combined(place.shape.combine, first, [before, *theirs])

    # ---- whose gauges count ----

    def reign(self) -> None:
        """From now on gauges count for this process, and for no other until it joins."""
        segment = self._segment
        if self.own < 0:
            return
        claim = segment.word(self.own, CLAIM)
        segment.write(self.own, SLOT_REIGN, claim)
        fence()
        segment.header[REIGN] = claim

    @property
    def reigns(self) -> bool:
        """Gauges count for this process and those that assist it."""
        segment = self._segment
        return self.own >= 0 and segment.header[REIGN] == segment.word(self.own, CLAIM)

    def join(self) -> None:
        """Gauges count for this process, too."""
        if self.own >= 0:
            self._segment.write(self.own, SLOT_REIGN, self._segment.header[REIGN])

    # ---- reading ----

    def read(self) -> Sums:
        """All cells at one moment. Raises `SegmentBusy`."""
        segment = self._segment
        for _ in range(LOOKS):
            folds = segment.header[FOLDS]
            fence()
            living = [n for n in segment.used() if not 0 < segment.word(n, FOLDING) <= folds]
            reign = segment.header[REIGN]
            gauging = [n for n in living if segment.word(n, SLOT_REIGN) == reign and self._lives(n)]
            base, slots = [], dict[int, list[list[float]]]((n, []) for n in living)
            for block in segment.blocks():
                size = min(block.words[CELLS], segment.geometry.cells)
                base.append(numbers(block.base(folds & 1)[:size]))
                for slot in living:
                    slots[slot].append(numbers(block.cells(slot)[:size]))
            fence()
            if segment.header[FOLDS] == folds:
                return Sums(base, slots, frozenset(gauging))
        raise SegmentBusy("the segment is folded again and again")

    def _lives(self, slot: int) -> bool:
        return slot == self.own or memory.is_locked(self._segment.fd, LIFE + slot)

    # ---- what processes say of themselves ----

    def tell(self, process: Process) -> None:
        """Say so."""
        segment = self._segment
        if self.own < 0:
            return
        segment.write(self.own, NUMBER, process.number)
        at = self.own * (layout.SLOT // 8) + FIGURES
        segment.figures[at : at + 5] = array("d", process[1:])

    def processes(self) -> list[Process]:
        """What the living say that say anything."""
        segment, found = self._segment, []
        for slot in segment.used():
            number = segment.word(slot, NUMBER)
            if number and self._lives(slot):
                at = slot * (layout.SLOT // 8) + FIGURES
                found.append(Process(number, *numbers(segment.figures[at : at + 5])))
        return sorted(found)


def combined(combine: str, first: int, rows: list[list[float]]) -> list[float]:
    """The cells of a gauge for several processes, as a base keeps them: that of the living alone is nothing there."""
    if combine == "max":
        return [max(row[first] for row in rows)]
    if combine == "last":
        newest = max(rows, key=lambda row: row[first + 1])
        return newest[first : first + 2]
    return [0.0]
