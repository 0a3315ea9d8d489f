"""A beat for generations that nobody asks any more.

The owner sets its gauges when somebody asks (`proxy.metrics.scrape`). One that gave everything away and drains what it
kept is never asked: it sets them once a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: Final = 1.0


class Beat:
    """Calls `work` at once and then every second, in the control plane."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        """From now on."""
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._beat)

    def _beat(self) -> None:
        self._next = asyncio.get_running_loop().call_later(SECONDS, self._beat)
        self._work()

    def stop(self) -> None:
        """No more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
