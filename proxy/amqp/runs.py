"""Numbers that are outstanding: delivery tags without an ack, publishes without a confirm.

They are given in ascending order and mostly come back so, hence runs of neighbours: two numbers each, whatever there is
between them.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

MAX_EDGES: Final = 2048
"""Above this the oldest are no longer known one by one."""


class Runs(msgspec.Struct, array_like=True):
    """A set of numbers, as its first and last ones in ascending order."""

    edges: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.edges)

    def __len__(self) -> int:
        edges = self.edges
        return sum(edges[1::2]) - sum(edges[::2]) + len(edges) // 2

    def add(self, number: int) -> None:
        """One more, above all others; one that is not is ignored."""
        edges = self.edges
        if edges:
            last = edges[-1]
            if number == last + 1:
                edges[-1] = number
                return
            if number <= last:
                return
            if len(edges) >= MAX_EDGES:
                del edges[1:3]  # the gap counts as outstanding: who waits for it waits a while longer
        edges += (number, number)

    def remove(self, number: int) -> None:
        """It came back."""
        edges = self.edges
        if not edges:
            return
        first = edges[0]
        if number == first:
            if first == edges[1]:
                del edges[:2]
            else:
                edges[0] = first + 1
            return
        at = bisect_left(edges, number)
        if at == len(edges):
            return
        if at % 2:  # within a run, or at its end
            if edges[at] != number:
                edges[at:at] = (number - 1, number + 1)
            elif edges[at - 1] == number:
                del edges[at - 1 : at + 1]
            else:
                edges[at] = number - 1
        elif edges[at] == number:  # the first of a run
            if edges[at + 1] == number:
                del edges[at : at + 2]
            else:
                edges[at] = number + 1

    def remove_to(self, number: int) -> None:
        """All up to this one came back."""
        edges = self.edges
        while edges and edges[1] <= number:
            del edges[:2]
        if edges and edges[0] <= number:
            edges[0] = number + 1

    def clear(self) -> None:
        """None is outstanding."""
        self.edges = []
