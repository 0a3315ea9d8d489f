"""Look at a segment from outside: by name, without a slot, a lock or a mapping, for reading alone.

    found = reading.collect("shop")         # None: nobody counts under that name
    for shape, members in found or []: ...

For whoever watches a program and is no part of it. A registry would take a slot, fold the dead, and make the segment
if there is none; this changes nothing, and nobody waits for it. What it needs it takes by pread(2) from a descriptor
that cannot write. A segment that shrinks meanwhile is an error then, and not the reader's death by SIGBUS: a process of
root may look at one of a user whom it does not trust.

Readers see what only grows: counters and histograms. Of gauges the owner is asked, since which of them count depends on
who lives. All members are told, hidden ones too, and all shapes that a name ever had: their sum never falls.

Folds are noticed as in `shm_metrics.slots`, so nothing is counted twice or not at all. The kernel copies a cell whole,
since it is an aligned word.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, cast

from shm_metrics import layout, memory, names
from shm_metrics.cells import fence
from shm_metrics.definitions import Definitions
from shm_metrics.errors import SegmentBusy, SegmentCorrupt, SegmentForeign, SegmentRefused, SegmentTruncated
from shm_metrics.layout import BLOCKS, CLAIM, FOLDING, FOLDS, LIFE, MOST_BLOCKS, MOST_SLOTS, SLOT, Geometry
from shm_metrics.locks import is_locked
from shm_metrics.segment import numbers
from shm_metrics.slots import LOOKS, total
from shm_metrics.store import Collected, Member

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shm_metrics.segment import Segment
    from shm_metrics.shape import Shape
    from shm_metrics.twin import Cells

WORD: Final = 8


def collect(name: str) -> list[Collected] | None:
    """What the processes that live and those that are dead have counted under that name; None if none lives.

    Raises ValueError for an impossible name, `SegmentRefused` if what is there cannot be read, `SegmentBusy` if it is
    folded again and again.
    """
    fd = _opened(name)
    if fd < 0:
        return None
    try:
        return Glance(fd).collect() if is_locked(fd, LIFE, MOST_SLOTS) else None
    finally:
        os.close(fd)


def _opened(name: str) -> int:
    """The segment that a process would find that comes now; -1: there is none. Raises `SegmentRefused`."""
    refused = []
    for number in sorted(names.numbers(names.checked(name)), reverse=True):
        file = names.FOLDER / f"{names.PREFIX}{name}.{number}"
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue  # an orderly end, just now
        except OSError as error:
            refused.append(f"{file.name}: it cannot be opened: {error.strerror}")
            continue
        try:
            memory.check_owner(fd, of_others=True, by_group=True)
        except SegmentForeign as error:
            refused.append(f"{file.name}: {error}")
            continue
        try:
            Glance(fd)
        except SegmentRefused as error:
            os.close(fd)
            refused.append(f"{file.name}: {error}")
            continue
        return fd
    if refused:
        raise SegmentRefused("; ".join(refused))
    return -1


class _Text:
    """The definitions of a block, copied."""

    __slots__ = ("text", "words")

    def __init__(self, copy: bytes) -> None:
        self.text = memoryview(copy)
        self.words = self.text.cast("Q")


class Glance:
    """One look at a segment. The descriptor stays the caller's."""

    def __init__(self, fd: int) -> None:
        """Raises `SegmentRefused`."""
        self._fd = fd
        self.geometry: Geometry = layout.checked(os.pread(fd, 48, 0), os.fstat(fd).st_size)
        blocks = self._word(BLOCKS * WORD)
        if not 1 <= blocks <= MOST_BLOCKS:
            raise SegmentCorrupt(f"it is said to have {blocks} blocks")
        fence()
        self._texts = [self._text(number) for number in range(blocks)]
        self._definitions = Definitions(cast("Segment", self))  # which asks for its geometry and blocks alone
        self._definitions.follow()

    def blocks(self) -> list[_Text]:
        """Those that there were."""
        return self._texts

    def collect(self) -> list[Collected]:
        """Counters and histograms by name, and of one name in the order of their definition. Raises `SegmentBusy`."""
        found: dict[Shape, list[Member]] = {shape: [] for shape in self._definitions.shapes if not shape.combine}
        for places, rows in zip(self._definitions.blocks, self._rows(), strict=True):
            totals = [total(cells) for cells in zip(*rows, strict=True)]
            for shape, values, _, first, _ in places:
                if not shape.combine:
                    found[shape].append(Member(values, totals[first : first + shape.cells]))
        return [Collected(*one) for one in sorted(found.items(), key=lambda one: one[0].name) if one[1]]

    def _rows(self) -> list[list[list[float]]]:
        """For each block the cells of the base and of each process that is not in it, as of one moment."""
        for _ in range(LOOKS):
            folds = self._word(FOLDS * WORD)
            fence()
            slots = self._living(folds)
            rows = [self._block(number, folds, slots) for number in range(len(self._texts))]
            fence()
            if self._word(FOLDS * WORD) == folds:
                return rows
        raise SegmentBusy("it is folded again and again")

    def _living(self, folds: int) -> list[int]:
        """Slots that somebody has, or had and that are not in the base."""
        count = self.geometry.slots
        table = memoryview(self._read(layout.PAGE, count * SLOT)).cast("Q")
        step = SLOT // WORD
        return [n for n in range(count) if table[n * step + CLAIM] and not 0 < table[n * step + FOLDING] <= folds]

    def _block(self, number: int, folds: int, slots: Iterable[int]) -> list[list[float]]:
        begin, taken = self.geometry.size(number), self._definitions.taken[number]
        places = [self.geometry.base_at(folds & 1), *map(self.geometry.cells_at, slots)]
        return [numbers(self._cells(begin + at, taken)) for at in places]

    def _cells(self, at: int, count: int) -> Cells:
        return memoryview(self._read(at, count * WORD)).cast("d")

    def _text(self, number: int) -> _Text:
        """The definitions as far as they count: how far is read before they are."""
        begin = self.geometry.size(number)
        used = self._word(begin)
        if used > self.geometry.definitions:
            raise SegmentCorrupt(f"block {number} is said to have {used} bytes of definitions")
        fence()
        copy = self._read(begin, -(-max(used, layout.DEFINITIONS) // WORD) * WORD)
        return _Text(used.to_bytes(WORD, sys.byteorder) + copy[WORD:])

    def _word(self, at: int) -> int:
        return int.from_bytes(self._read(at, WORD), sys.byteorder)

    def _read(self, at: int, size: int) -> bytes:
        copy = os.pread(self._fd, size, at)
        if len(copy) < size:
            raise SegmentTruncated(f"it ends at byte {at + len(copy)} instead of {at + size} or later")
        return copy
