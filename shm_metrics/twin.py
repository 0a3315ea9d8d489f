"""The metrics that a program counts with, in Python: the twin of ``shm_metrics._cells``.

Each is a view of a few cells: doubles in a buffer that nobody else writes to. A store of one aligned double is one
instruction, so a reader in another process sees the value before or after it, and never something in between.

Threads of one process may share them. CPython 3.11 switches threads between byte codes only where a call or a loop
ends, so reading a cell, adding and writing it back here goes undisturbed.
"""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import Final, TypeAlias

FORMAT: Final = 1

Cells: TypeAlias = "memoryview[float]"


class Single:
    """A metric whose value is its first cell."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: Cells, at: int) -> None:
        self._cells = cells
        self._at = at

    @property
    def value(self) -> float:
        """What this process has counted or set."""
        return float(self._cells[self._at])

    def bind(self, cells: Cells, at: int) -> None:
        """Use other cells from now on."""
        self._cells, self._at = cells, at


class Counter(Single):
    """Counts up and never down."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """One more, or `amount` more. Raises ValueError for a negative one and for NaN."""
        if not amount >= 0.0:
            raise ValueError("a counter never goes down")
        self._cells[self._at] += amount


class Gauge(Single):
    """Goes up and down. Readers see the sum over living processes."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is this now."""
        self._cells[self._at] = value

    def inc(self, amount: float = 1.0) -> None:
        """So much more."""
        self._cells[self._at] += amount

    def dec(self, amount: float = 1.0) -> None:
        """So much less."""
        self._cells[self._at] -= amount


class Histogram:
    """Counts values by size. The cells are their sum, a count a bucket, and one for all above the last bound."""

    __slots__ = ("_at", "_bounds", "_cells")

    def __init__(self, cells: Cells, at: int, bounds: tuple[float, ...]) -> None:
        self._cells = cells
        self._at = at
        self._bounds = bounds

    def observe(self, value: float, count: float = 1.0, /) -> None:
        """One more of this size, or `count` more. A bucket's bound belongs to it (``le``, less or equal).

        NaN is in the first bucket. Raises ValueError for a negative count and for one that is NaN.
        """
        value += 0.0  # a double, as in C, or an error before anything was counted
        if not count >= 0.0:
            raise ValueError("a histogram never goes down")
        cells, at = self._cells, self._at
        cells[at + 1 + bisect_left(self._bounds, value)] += count
        cells[at] += value * count

    @property
    def count(self) -> float:
        """How many this process has observed."""
        return sum(self._cells[self._at + 1 : self._at + 2 + len(self._bounds)])

    @property
    def sum(self) -> float:
        """Of all that this process has observed."""
        return float(self._cells[self._at])

    def bind(self, cells: Cells, at: int) -> None:
        """Use other cells from now on."""
        self._cells, self._at = cells, at


_gate: Final = Lock()


def fence() -> None:
    """All stores before it are seen before those after it.

    CPython has no such thing. A lock that is taken and let go of is one in practice, and on x86-64 stores are seen in
    their order anyway.
    """
    with _gate:
        pass
