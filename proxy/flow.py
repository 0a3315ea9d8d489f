"""Bytes one way, of all connections of a listener or an endpoint: collected for a batch of events, then counted.

A sum is a field that compiled code adds to without a call; the counters of `shm_metrics` are told once a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Flow:
    """What was not told to the counter yet. Whoever adds to an empty one puts it on the plane's list."""

    __slots__ = ("_count", "owed")

    def __init__(self, count: Callable[[float], object]) -> None:
        self._count = count
        self.owed = 0

    def settle(self) -> None:
        """Tell it."""
        owed, self.owed = self.owed, 0
        self._count(owed)


def _uncounted(size: float, /) -> None:
    """Bytes that nobody counts."""


NOWHERE = Flow(_uncounted)
