"""Couples the data plane to the control plane's event loop.

The loop watches the data plane's epoll as one descriptor, and one timer for its earliest alarm; all
else is synchronous (`Reactor.tick`). Taking both out is a freeze: an epoll that is watched and not
emptied would wake the loop without end.

Between the two stands a gate, an epoll that holds nothing but the data plane's: opening and closing it
is an EPOLL_CTL_MOD. Putting the data plane's epoll into the loop by EPOLL_CTL_ADD makes the kernel walk all it
holds in search of cycles (epoll_ctl(2), ELOOP): 6 ms at 18,000 descriptors, just when a destination
wants to tick. So the gate is put there while everything is still empty.
"""

from __future__ import annotations

import asyncio
import select
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.reactor import Reactor


class Ticker:
    """Runs the ticks of one reactor in the running event loop."""

    __slots__ = ("_at", "_gate", "_loop", "_open", "_reactor", "_timer")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate: select.epoll | None = None
        self._open = False
        self._timer: asyncio.TimerHandle | None = None
        self._at = inf

    def attach(self) -> None:
        """Put the gate into the running loop, closed. Best done before the reactor holds connections."""
        if self._gate is None:
            self._gate = select.epoll()
            self._gate.register(self._reactor.fileno(), 0)
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._gate.fileno(), self._tick)

    def renew(self) -> None:
        """The reactor has another epoll; the old one is closed, and so out of the gate."""
        if self._gate is not None:
            self._gate.register(self._reactor.fileno(), 0)

    def start(self) -> None:
        """Tick whenever there is something to do. The first tick comes at once: what is due is not late."""
        self.attach()
        if self._gate is not None and self._loop is not None and not self._open:
            self._open = True
            self._gate.modify(self._reactor.fileno(), select.EPOLLIN)
            self._plan(self._loop.time())

    def stop(self) -> None:
        """Start no further tick."""
        if self._gate is not None and self._open:
            self._open = False
            self._gate.modify(self._reactor.fileno(), 0)
            self._plan(inf)

    def replan(self) -> None:
        """The earliest alarm may have changed outside a tick."""
        if self._open:
            self._plan(self._reactor.next_alarm())

    def _tick(self) -> None:
        if not self._open:  # stopped in the very turn of the loop that had seen it ready
            return
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
