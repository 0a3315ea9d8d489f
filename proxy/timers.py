"""When to look at which connection again.

A deadline is a field of its connection (`Connection.due`); this only remembers moments at which to
look. Moving a deadline later costs nothing: the look comes too early, finds it, and is planned again.
So a busy connection, whose idle deadline moves with every byte, costs one look per idle timeout.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.connection import Connection
    from proxy.reactor import Reactor


class Alarms:
    """A heap of (moment, serial). Entries of ended or replanned connections go when their moment comes."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def plan(self, when: float, serial: int) -> None:
        """Have `serial` come out of `past` once `when` has passed."""
        heappush(self._heap, (when, serial))

    def next(self) -> float:
        """The earliest planned moment, monotonic seconds; inf if none."""
        return self._heap[0][0] if self._heap else inf

    def past(self, now: float) -> list[tuple[float, int]]:
        """Take out all whose moment has come, earliest first."""
        heap = self._heap
        gone = []
        while heap and heap[0][0] <= now:
            gone.append(heappop(heap))
        return gone

    def ring(self, reactor: Reactor, now: float) -> None:
        """Have the connections whose moment has come look at what is due."""
        for when, serial in self.past(now):
            connection = reactor.connections.get(serial) or reactor.hosted.get(serial)
            if connection is None or connection.alarm != when:  # ended, or planned anew
                continue
            connection.alarm = inf
            try:
                if connection.due() <= now:
                    connection.changes += 1
                    connection.expired(now)
                if connection.fd >= 0:
                    connection.wake(connection.due())
            except Exception as bug:  # noqa: BLE001 - see `Reactor.broken`
                reactor.broken(connection, bug)

    def rebuild(self, living: Iterable[Connection]) -> None:
        """Drop everything but the plans of these: short connections must not leave entries for minutes."""
        self._heap = [(one.alarm, one.serial) for one in living if one.alarm != inf]
        heapify(self._heap)


def remaining(deadline: float, now: float) -> float | None:
    """A deadline as it travels: the time left (negative if it passed meanwhile), None for none."""
    return None if deadline == inf else deadline - now


def deadline(left: float | None, now: float) -> float:
    """The counterpart of `remaining`."""
    return inf if left is None else now + left
