"""A worker gives its connections to the crew, which passes them on: the `Copier` of a handover, from inside.

Round follows round while the worker serves, so what the crew has is never older than a few milliseconds; the last one
runs frozen. When an attempt ends is not decided here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from hotswap.handover import wire
from hotswap.handover.channel import to_memfd
from hotswap.handover.rounds import Copier
from hotswap.swappable import OTHER, Reason
from proxy.workers import words

if TYPE_CHECKING:
    from proxy.server import ProxyServer
    from proxy.workers.line import Line

PAUSE = 0.005
"""Seconds between two rounds at least, and ten times as long as a look at all connections takes."""
SLICE = 0.001
"""Of a tick, for copying."""
FLUSH = 1.0
"""Seconds; a crew that does not read for so long in a freeze has failed."""
LOOK = 0.01
"""Seconds between two looks at stragglers."""

log = logging.getLogger("proxy")


class Giving:
    """One attempt. Begins with its first round."""

    def __init__(self, server: ProxyServer, line: Line, attempt: int) -> None:
        self._server, self._line = server, line
        self._loop = asyncio.get_running_loop()
        self._copier = Copier(server)
        self._began = self._cost = 0.0
        self._next: asyncio.Handle | None = None
        self._stragglers: set[int] = set()
        self._line.say(words.Began(attempt))
        self._round()

    def _round(self) -> None:
        self._open()
        self._cost = time.monotonic() - self._began
        self._slice()

    def _open(self) -> None:
        self._began = time.monotonic()
        self._copier.begin()
        for closed in self._copier.closed_messages():
            self._line.say(closed)

    def _slice(self) -> None:
        try:
            self._some()
        except OSError as error:  # no descriptor is free for a long value
            self._line.say(words.Failed(str(error)))

    def _some(self) -> None:
        until = time.monotonic() + SLICE
        wait = 0.0
        while not self._line.sending:
            batch = self._copier.next_batch(self._began)
            if batch is None:
                self._line.say(words.RoundOver(*self._left()))
                self._next = self._loop.call_later(max(PAUSE, 10 * self._cost), self._round)
                return
            self._line.say(batch.message, batch.fds, batch.spent)
            if time.monotonic() >= until:
                break
        else:
            wait = SLICE  # it has not read what it got
        self._next = self._loop.call_later(wait, self._slice)

    def _left(self) -> tuple[dict[int, tuple[str, str]], list[int]]:
        """What does not move, and why; and what follows."""
        staying = {
            serial: (str(reason), reason.word if isinstance(reason, Reason) else OTHER)
            for serial, reason in self._copier.staying.items()
        }
        return staying, sorted(set(self._server.stragglers()).difference(staying))

    def freeze(self) -> None:
        """The server ticks no more: give the rest, all at once."""
        try:
            self._all()
        except OSError as error:
            self._line.say(words.Failed(str(error)))

    def _all(self) -> None:
        self.stop()
        self._open()
        until = time.monotonic() + FLUSH
        while (batch := self._copier.next_batch(self._began)) is not None:
            self._line.say(batch.message, batch.fds, batch.spent)
            if not self._line.flush(until):
                return  # the crew gives up by itself
        staying, stragglers = self._left()
        self._stragglers = set(stragglers)
        self._line.say(words.Frozen(staying, stragglers))

    def thaw(self) -> None:
        """The attempt goes on being one until it is said to be over; the next freeze gives what changed since."""

    def stop(self) -> None:
        """No further round."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def follow(self) -> None:
        """The destination owns: send stragglers on as they become values."""
        try:
            waiting = self._sent_on()
        except OSError:  # no descriptor is free for a long value: soon
            self._next = self._loop.call_later(LOOK, self.follow)
            return
        if waiting != self._stragglers:
            self._stragglers = waiting
            self._line.say(words.Waiting(sorted(waiting)))
        if waiting:
            self._next = self._loop.call_later(LOOK, self.follow)

    def _sent_on(self) -> set[int]:
        """Those that are still no values."""
        server = self._server
        waiting = self._stragglers.intersection(server.stragglers())
        values, staying = server.live(), server.staying()
        for serial in sorted(self._stragglers - waiting):
            value = values.get(serial)
            if value is not None and serial not in staying:
                state = value.save(time.monotonic())
                large = len(state) > wire.INLINE_VALUE
                memfd = (to_memfd(state),) if large else ()
                item = wire.Item(value.kind, serial, value.changes, b"" if large else state, True, large)
                self._line.say(words.Follow(item), (value.fd, *memfd), memfd)
                server.forget(serial)
        return waiting
