"""Where the cells of a registry are: in shared memory (`shm_metrics.shared`), or in that of one process."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, Protocol

from shm_metrics.segment import numbers
from shm_metrics.shape import Shape
from shm_metrics.twin import Cells


class Member(NamedTuple):
    """The value of one member of a family."""

    values: tuple[str, ...]
    """Of its labels."""
    cells: list[float]
    """A counter's or gauge's value; of a histogram the sum, then the count of each bucket, not cumulative."""


class Collected(NamedTuple):
    """A family as a reader sees it."""

    shape: Shape
    members: list[Member]


class Store(Protocol):
    """What a registry asks of it."""

    def place(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """The cells of that member: a buffer, and where in it. The same again for the same member."""

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """Readers see that member no more, until it is placed again."""

    def known(self) -> list[tuple[Shape, tuple[str, ...]]]:
        """All members that readers see, whoever placed them."""

    def collecting(self, own: Iterable[Shape]) -> Generator[None, None, list[Collected]]:
        """All that can be read. Of families that have one name and differ otherwise, `own` says which are meant."""


class Private:
    """Cells in the memory of this process."""

    def __init__(self) -> None:
        self.placed: dict[tuple[Shape, tuple[str, ...]], Cells] = {}
        self.hidden: set[tuple[Shape, tuple[str, ...]]] = set()

    def place(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """See `Store`."""
        self.hidden.discard((shape, values))
        cells = self.placed.setdefault((shape, values), memoryview(bytearray(8 * shape.cells)).cast("d"))
        return cells, 0

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Store`."""
        self.hidden.add((shape, values))

    def known(self) -> list[tuple[Shape, tuple[str, ...]]]:
        """See `Store`."""
        return [key for key in self.placed if key not in self.hidden]

    def collecting(self, own: Iterable[Shape]) -> Generator[None, None, list[Collected]]:
        """See `Store`."""
        yield
        found: dict[Shape, list[Member]] = {}
        for shape, values in self.known():
            cells = self.placed[shape, values]
            found.setdefault(shape, []).append(Member(values, numbers(cells)[: shape.visible]))
        return [Collected(*one) for one in sorted(found.items(), key=lambda one: one[0].name)]
