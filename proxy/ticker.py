"""Couples the data plane to the control plane's event loop.

The loop watches the data plane's epoll as one descriptor, and one timer for its earliest alarm; all
else is synchronous (`Reactor.tick`). Taking both out is a freeze: an epoll that is watched and not
emptied would wake the loop without end.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.reactor import Reactor


class Ticker:
    """Runs the ticks of one reactor in the running event loop."""

    __slots__ = ("_at", "_loop", "_reactor", "_timer", "_watched")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = -1
        self._timer: asyncio.TimerHandle | None = None
        self._at = inf

    def start(self) -> None:
        """Tick whenever there is something to do. The first tick comes at once: what is due is not late."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._watched = self._reactor.fileno()
            self._loop.add_reader(self._watched, self._tick)
            self._plan(self._loop.time())

    def stop(self) -> None:
        """Start no further tick."""
        if self._loop is not None:
            self._loop.remove_reader(self._watched)
            self._plan(inf)
            self._loop = None

    def replan(self) -> None:
        """The earliest alarm may have changed outside a tick."""
        self._plan(self._reactor.next_alarm())

    def _tick(self) -> None:
        self._reactor.tick()
        at = self._reactor.next_alarm()
        if at != self._at:
            self._plan(at)

    def _plan(self, at: float) -> None:
        loop = self._loop
        if loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = at
        if at != inf:
            self._timer = loop.call_at(at, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self._at = inf
        self._tick()
