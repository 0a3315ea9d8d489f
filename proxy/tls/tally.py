"""What becomes of the handshakes of a listener or a cluster, and of the connections behind them."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any, Final

from hotswap.log import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shm_metrics import Counter

log = logging.getLogger("proxy")

QUIET: Final = 60.0
"""Seconds between two lines of one kind in the log; the next one tells how many were left out."""


class _Seldom:
    """A line of the log that a peer could fill it with."""

    __slots__ = ("_at", "_level", "_text", "_untold")

    def __init__(self, level: int, text: str) -> None:
        self._level = level
        self._text = text
        self._untold = 0
        self._at = -inf

    def tell(self, now: float, about: Mapping[str, Any]) -> None:
        """It happened once more."""
        self._untold += 1
        if now >= self._at:
            self._at = now + QUIET
            log.log(self._level, self._text, extra=fields(**about, failures=self._untold))
            self._untold = 0


class Handshakes:
    """Counts since this generation owns."""

    __slots__ = ("_broken", "_failed", "counters")

    def __init__(self, counters: Mapping[str, Counter]) -> None:
        """`counters`: one for each of `proxy.metrics.meters.OUTCOMES`."""
        self.counters = counters
        self._failed = _Seldom(logging.WARNING, "a TLS handshake failed")
        self._broken = _Seldom(logging.INFO, "an encrypted connection broke")

    def succeed(self) -> None:
        """One more that is done."""
        self.counters["done"].inc()

    def end(self) -> None:
        """One more whose peer went away."""
        self.counters["ended"].inc()

    def delay(self) -> None:
        """One more that took too long."""
        self.counters["late"].inc()

    def fail(self, now: float, why: str, **about: Any) -> None:
        """One more that failed."""
        self.counters["failed"].inc()
        self._failed.tell(now, {**about, "why": why})

    def break_off(self, now: float, why: str, **about: Any) -> None:
        """A connection cannot go on."""
        self.counters["broken"].inc()
        self._broken.tell(now, {**about, "why": why})

    def describe(self) -> dict[str, int]:
        """For people."""
        return {outcome: int(counter.value) for outcome, counter in self.counters.items()}
