"""Signs of life that are due: ``WATCHDOG=1``, sd_notify(3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watchdog:
    """One process's. It barks once, if no sign of life comes for `seconds`; 0: never."""

    def __init__(self, seconds: float, bark: Callable[[], None]) -> None:
        self.seconds = seconds
        self._bark = bark
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._alive_at = 0.0

    def begin(self) -> None:
        """From now on, and anew."""
        self.end()
        self.alive()
        if self.seconds:
            self._timer = self._loop.call_later(self.seconds, self._look)

    def end(self) -> None:
        """Nothing is due any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def alive(self) -> None:
        """A sign of life."""
        self._alive_at = self._loop.time()

    def _look(self) -> None:
        # One timer for many signs: it looks when the last one that it knows of is too old.
        self._timer = None
        due = self._alive_at + self.seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._bark()
