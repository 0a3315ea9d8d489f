"""A drain: how a serving generation ends on purpose.

    announced ---delay---> closed ---everything finished, or the deadline---> ended
    /ready fails,          listeners closed,
    clients are told       idle connections ended

Load balancers stop sending once /ready fails; the delay lets them notice while the listeners still accept. The
deadline counts from the order, so it bounds the whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from hotswap.errors import DeadlinePassed
from hotswap.http import EventStream
from hotswap.log import fields
from hotswap.swappable import Swappable

log = logging.getLogger("hotswap")

_LOOK_SECONDS = 0.05
_REPORT_SECONDS = 0.2


class DrainOrder(msgspec.Struct, frozen=True):
    """The body of POST /drain. None: as configured."""

    deadline: float | None = None  # seconds from now
    delay: float | None = None  # seconds until the listeners close
    watch: bool = False  # answer by a stream of events, the last one when it is over


class Draining:
    """One drain under way. `closing` is called before the listeners close, `finished` once, with the exit code.

    As long as the listeners are open a successor may come after all, and take everything: while one is at it (`held`)
    they stay open, and once it owns the drain is `superseded`. If it still does not at the deadline: `late`.
    """

    def __init__(
        self,
        server: Swappable,
        deadline: float,
        delay: float,
        closing: Callable[[], None],
        finished: Callable[[int], None],
        held: Callable[[], bool] = bool,
        late: Callable[[], None] = lambda: None,
    ) -> None:
        self._server = server
        self._closing = closing
        self._finished = finished
        self._held = held
        self._late = late
        self._superseded = False
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._until = self._began + deadline
        self._reported = 0.0
        self._left = server.count()
        self._watchers: list[EventStream] = []
        self._result: dict[str, Any] | None = None  # there at once if there was nothing to finish
        self.closed = False
        """The listeners are closed."""
        delay = min(delay, deadline)
        log.info("draining", extra=fields(deadline=f"{deadline:g}s", delay=f"{delay:g}s", in_flight=server.in_flight()))
        server.announce_drain()
        if delay > 0:
            self._loop.call_later(delay, self._close)
        else:
            self._close()

    def watch(self) -> EventStream:
        """What happens from now on, as events; the last one is the result."""
        stream = EventStream()
        stream.send(self._figures())
        if self._result is None:
            self._watchers.append(stream)
        else:
            stream.send(self._result)
            stream.end()
        return stream

    def superseded(self) -> None:
        """Another one owns: there is nothing left to drain here."""
        if not self._superseded and not self.closed:
            self._superseded = True
            self._tell({"ok": True, "exit_code": 0, "message": "a new generation took everything over", "cut": 0})

    def resumed(self) -> None:
        """Who owned died at once, and the listeners are back: close them."""
        self._superseded = False
        self._close()

    def _close(self) -> None:
        if self._superseded or self.closed:
            return
        if self._held():
            if time.monotonic() >= self._until:
                self._late()
            self._loop.call_later(_LOOK_SECONDS, self._close)
            return
        self.closed = True
        self._closing()
        self._server.drain(self._until)
        self._report()
        self._look()

    def _look(self) -> None:
        before, self._left = self._left, self._server.count()
        now = time.monotonic()
        if self._server.idle():
            # The server ends what is left at the deadline by itself, perhaps just before this look.
            self._end(before if now >= self._until else 0)
        elif now >= self._until:
            self._end(self._left or before)
        else:
            if now - self._reported >= _REPORT_SECONDS:
                self._report()
            self._loop.call_later(_LOOK_SECONDS, self._look)

    def _figures(self) -> dict[str, Any]:
        return {
            "event": "draining",
            "listeners": "closed" if self.closed else "open",
            "connections": self._server.count(),
            "in_flight": self._server.in_flight(),
            "left_s": max(self._until - time.monotonic(), 0.0),
        }

    def _report(self) -> None:
        self._reported = time.monotonic()
        if self._watchers:
            figures = self._figures()
            for stream in self._watchers:
                stream.send(figures)

    def _end(self, cut: int) -> None:
        took = time.monotonic() - self._began
        log.info("drained", extra=fields(took=f"{took:.2f}s", cut=cut))
        words = f"{cut} connections were ended at the deadline" if cut else "everything was finished"
        self._tell({"ok": not cut, "exit_code": DeadlinePassed.exit_code if cut else 0, "message": words, "cut": cut})
        self._finished(0)

    def _tell(self, result: dict[str, Any]) -> None:
        self._result = {"event": "result", **result, "took_s": time.monotonic() - self._began}
        for stream in self._watchers:
            stream.send(self._result)
            stream.end()
