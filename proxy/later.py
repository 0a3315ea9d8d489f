"""What was not needed for a start is imported right after it, a piece at a time: `proxy.ondemand`.

    cold     start --AFTER--> one module --PAUSE--> the next ... all there
    source   freeze: not now    thaw: go on
    taking over                 everything at once, before the first connection is restored

A generation that serves has imported everything within a moment, so that a reload or a connection of another generation
may ask for whatever there is, and so that the package it was started from may be replaced. A piece holds the loop up
for some milliseconds, the longest (OpenSSL) for 30: soon after a cold start, when nobody has been served for long.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from hotswap.log import fields

if TYPE_CHECKING:
    from collections.abc import Iterable

AFTER: Final = 0.1
"""Seconds from the start: clients that waited for it come first."""
PAUSE: Final = 0.02
"""Seconds between two pieces: longer than most of them take."""

log = logging.getLogger("proxy")


class Later:
    """The modules that are still to be imported."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._left = list(modules)
        self._next: asyncio.TimerHandle | None = None

    @property
    def left(self) -> int:
        """How many there are."""
        return len(self._left)

    def start(self) -> None:
        """Begin, or go on."""
        self._left = _unknown(self._left)
        if self._left and self._next is None:
            self._next = asyncio.get_running_loop().call_later(AFTER, self._piece)

    def _piece(self) -> None:
        self._import()
        self._next = asyncio.get_running_loop().call_later(PAUSE, self._piece) if self._left else None

    def stop(self) -> None:
        """Not now."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def finish(self) -> None:
        """All that is left, now."""
        self.stop()
        while self._left:
            self._import()

    def _import(self) -> None:
        name = self._left.pop(0)
        collecting = gc.isenabled()
        gc.disable()  # modules leave no garbage
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - what serves without it goes on
            text = "a module cannot be imported; what needs it will fail: install the package again, and upgrade"
            log.error(text, extra=fields(module=name, reason=repr(error)))  # noqa: TRY400 - all there is to know
        finally:
            self._left = _unknown(self._left)
            if not self._left:
                gc.freeze()  # modules stay: a collection need not look at them
            if collecting:
                gc.enable()


def _unknown(names: Iterable[str]) -> list[str]:
    """Those that nobody else imported meanwhile."""
    return [name for name in names if name not in sys.modules]
