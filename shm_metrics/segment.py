"""A segment: the header and the blocks of one shared memory, mapped piece by piece, and its lock.

`Segment` knows where things are and grows; what they mean is for others: definitions (`shm_metrics.definitions`), slots
and the folding of dead ones (`shm_metrics.slots`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from threading import RLock
from typing import TYPE_CHECKING

from shm_metrics import layout, memory
from shm_metrics.cells import fence
from shm_metrics.errors import SegmentCorrupt, SegmentForeign, SegmentFull, SegmentTruncated
from shm_metrics.layout import BLOCKS, Geometry
from shm_metrics.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shm_metrics.twin import Cells

    Words = memoryview[int]


class Block:
    """One block, mapped."""

    __slots__ = ("_bases", "_geometry", "_view", "text", "used", "words")

    def __init__(self, view: memoryview[int], geometry: Geometry) -> None:
        self._view = view
        self._geometry = geometry
        self.text = view[: geometry.definitions]
        self.words: Words = self.text.cast("Q")
        """The definitions as words; the first: how many bytes are used."""

    def base(self, which: int) -> Cells:
        """The cells of one of the two bases."""
        at = self._geometry.base_at(which)
        return self._view[at : at + self._geometry.area].cast("d")

    def cells(self, slot: int) -> Cells:
        """The cells of a slot."""
        at = self._geometry.cells_at(slot)
        return self._view[at : at + self._geometry.area].cast("d")


class Segment:
    """Shared memory with a checked header."""

    def __init__(self, fd: int, geometry: Geometry) -> None:
        """`fd` becomes its own once this has returned. Raises `MetricsError`."""
        self.fd = fd
        """May be passed on: nothing is locked by it."""
        self.geometry = geometry
        self._file = memory.identity(fd)
        self._map()
        self._mutex = RLock()
        self._depth = 0
        self.locks = Locks(fd)
        self.step: Callable[[str], None] = _nothing
        """Called between any two stores that others could see apart; tests end the process in it."""

    def _map(self) -> None:
        view = memory.mapped(self.fd, 0, self.geometry.blocks_at)
        self.header: Words = view[: layout.PAGE].cast("Q")
        table = view[layout.PAGE : layout.PAGE + layout.SLOT * self.geometry.slots]
        self.slots: Words = table.cast("Q")
        self.figures: Cells = table.cast("d")
        self._blocks: list[Block] = []

    # ---- making and joining ----

    @classmethod
    def made(cls, fd: int, geometry: Geometry, now: int) -> Segment:
        """A fresh one on memory that has nothing in it, made under the lock. `now`: nanoseconds since the epoch."""
        memory.resize(fd, geometry.size(1))
        memory.back(fd, 0, geometry.blocks_at)
        random = int.from_bytes(os.urandom(8), "little")
        segment = cls(fd, geometry)
        try:
            segment._append(0)
        except BaseException:
            segment.locks.close()
            raise
        head = memory.mapped(fd, 0, layout.PAGE)
        head[8:48] = layout.header(geometry, now, random)[8:]
        segment.step("headed")
        fence()
        head[:8] = layout.MAGIC
        return segment

    @classmethod
    def joined(cls, fd: int) -> Segment:
        """One that is there. Raises `SegmentRefused`."""
        size = os.fstat(fd).st_size
        geometry = layout.checked(os.pread(fd, 48, 0), size)
        blocks = int.from_bytes(os.pread(fd, 8, 8 * BLOCKS), sys.byteorder)
        if not 1 <= blocks <= layout.MOST_BLOCKS:
            raise SegmentCorrupt(f"it is said to have {blocks} blocks")
        if size < geometry.size(blocks):
            raise SegmentTruncated(f"it has {size} bytes instead of {geometry.size(blocks)}")
        return cls(fd, geometry)

    # ---- the lock ----

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else defines, claims or folds meanwhile. May be nested. Raises `SegmentBusy`, `SegmentForeign`."""
        mutex = self._mutex
        with mutex:
            before = self._depth
            if not before:
                self.check()
                self.locks.wait(layout.LOCK)
            self._depth = before + 1
            try:
                yield
            finally:
                if mutex is self._mutex:  # else this is a child that was forked meanwhile: the lock is its parent's
                    self._depth = before
                    if not before:
                        self.locks.release(layout.LOCK)

    @property
    def usable(self) -> bool:
        """Its descriptors are still its own: somebody who closes all may have closed them, and got others by now."""
        return memory.identity(self.fd) == self._file and self.locks.usable

    def check(self) -> None:
        """Raises `SegmentForeign` unless it is `usable`."""
        if not self.usable:
            raise SegmentForeign("somebody in this process closed its descriptor")

    def forked(self) -> None:
        """This is a child: it needs locks of its own. Raises `SegmentForeign`; it is not usable then."""
        self._mutex, self._depth = RLock(), 0
        self.locks.abandon()
        if memory.identity(self.fd) == self._file:
            self.locks = Locks(self.fd)
        self.check()

    def close(self) -> None:
        """Close the descriptor, and let go of all locks. What is mapped stays so as long as somebody looks at it."""
        self.locks.close()
        if memory.identity(self.fd) == self._file:
            os.close(self.fd)
        self.fd = -1

    # ---- blocks ----

    def blocks(self) -> list[Block]:
        """All that there are now. Raises `SegmentTruncated`."""
        there = min(self.header[BLOCKS], layout.MOST_BLOCKS)
        while len(self._blocks) < there:
            self._blocks.append(self._block(len(self._blocks)))
        return self._blocks

    def mapped(self) -> list[Block]:
        """Those that there were when `blocks` was last called."""
        return self._blocks

    def _block(self, number: int) -> Block:
        geometry = self.geometry
        if os.fstat(self.fd).st_size < geometry.size(number + 1):
            raise SegmentTruncated(f"its block {number} is missing")
        return Block(memory.mapped(self.fd, geometry.size(number), geometry.block), geometry)

    def grow(self) -> Block:
        """One block more, at the end; under the lock. Raises `SegmentFull`."""
        number = self.header[BLOCKS]
        if number >= layout.MOST_BLOCKS:
            raise SegmentFull(f"it has {number} blocks, and cannot have more")
        self.step("grow")
        memory.resize(self.fd, max(os.fstat(self.fd).st_size, self.geometry.size(number + 1)))
        self._append(number)
        return self.blocks()[number]

    def _append(self, number: int) -> None:
        at = self.geometry.size(number)
        memory.back(self.fd, at, self.geometry.base_at(2))
        for slot in self.used():
            self.back(number, slot)
        self.step("backed")
        fence()
        self.header[BLOCKS] = number + 1
        self.step("grown")

    def back(self, number: int, slot: int) -> None:
        """Have memory for the cells of a slot in a block. Raises `SegmentFull`."""
        memory.back(self.fd, self.geometry.size(number) + self.geometry.cells_at(slot), self.geometry.area)

    # ---- slots, as far as the layout goes ----

    def used(self) -> list[int]:
        """The slots that somebody has, or had and that are not cleared yet."""
        step = layout.SLOT // 8
        return [n for n in range(self.geometry.slots) if self.slots[n * step + layout.CLAIM]]

    def word(self, slot: int, number: int) -> int:
        """A word of a slot."""
        return self.slots[slot * (layout.SLOT // 8) + number]

    def write(self, slot: int, number: int, value: int) -> None:
        """Change it."""
        self.slots[slot * (layout.SLOT // 8) + number] = value


def _nothing(step: str) -> None:
    pass


def numbers(cells: Cells) -> list[float]:
    """Their values now."""
    return cells.tolist()  # type: ignore[return-value]  # typeshed takes every view for one of integers
