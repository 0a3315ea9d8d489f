"""Couples the data plane to the control plane's event loop: while that loop has nothing to do, the data plane ticks.

An asyncio loop waits in its selector. Here the selector waits in the reactor, whose epoll holds the selector's own
among all the connections:

    Loop.run_forever --select(timeout)--> Waiting --serve(timeout)--> Reactor --epoll_wait--> connections, control plane
                                             `--the events of the control plane's own descriptors

So a tick costs one system call besides those of its connections, and no line of asyncio. The other way round, with the
reactor's epoll in the loop's, it cost two more and 12 us, and each packet that came woke one epoll inside another.

All else is synchronous. Taking the reactor out is a freeze. Whatever the control plane is to do from within a tick
(`call_soon`, `call_at`, a future that is done) ends the wait.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
from math import inf
from typing import TYPE_CHECKING, Final, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from proxy.reactor import Reactor

log = logging.getLogger("proxy")

PAUSE: Final = 0.1
"""Seconds until the next tick after one with a bug, which is likely to meet it again: it shall not fill the log."""

_Arguments = TypeVarTuple("_Arguments")


class Waiting(selectors.EpollSelector):
    """The selector of a `Loop`."""

    def __init__(self) -> None:
        super().__init__()
        self.reactor: Reactor | None = None
        """Who ticks meanwhile."""

    def called(self) -> None:
        """There is something to do for the loop."""
        if self.reactor is not None:
            self.reactor.called = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        if self.reactor is None:
            return super().select(timeout)
        if self.serve(self.reactor, inf if timeout is None else timeout):
            return super().select(0)
        return super().select(PAUSE if timeout is None else min(timeout, PAUSE))

    def serve(self, reactor: Reactor, seconds: float) -> bool:
        """Have it tick. A bug must not end the loop; it costs connections their turn, and is told of."""
        try:
            reactor.serve(seconds)
        except Exception:
            log.exception("a bug in a tick")
            return False
        return True


class Loop(asyncio.SelectorEventLoop):
    """The event loop of a process that has a data plane."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        super().__init__(self.waiting)

    def call_soon(
        self, callback: Callable[[*_Arguments], object], *args: *_Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio.loop.call_soon`."""
        self.waiting.called()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`."""
        self.waiting.called()
        return super().call_at(when, callback, *args, context=context)


class Ticker:
    """Has one reactor tick in the running loop, which must be a `Loop`."""

    __slots__ = ("_reactor", "_waiting")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiting: Waiting | None = None

    def attach(self) -> None:
        """Get to know the loop; no tick yet. Raises `RuntimeError` in a loop of another kind."""
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            if not isinstance(loop, Loop):
                raise RuntimeError("a data plane needs a loop that lets it tick: asyncio.Runner(loop_factory=Loop)")
            self._waiting = loop.waiting
            self._reactor.watch_control(loop.waiting.fileno())

    def renew(self) -> None:
        """The reactor has another epoll."""
        if self._waiting is not None:
            self._reactor.watch_control(self._waiting.fileno())

    def start(self) -> None:
        """Tick whenever there is something to do. The first tick is over on return: it waits for nothing else."""
        self.attach()
        if self._waiting is not None:
            self._waiting.reactor = self._reactor
            self._waiting.serve(self._reactor, 0.0)

    def stop(self) -> None:
        """Start no further tick."""
        if self._waiting is not None and self._waiting.reactor is self._reactor:
            self._waiting.reactor = None
