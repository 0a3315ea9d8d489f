"""Baking: a new generation serves on probation, and is taken back if it does worse than agreed.

The generation that bakes judges itself, on what it counted since it owns. So the judge is there as long as there is
something to judge: the command that ordered it may die, and the source has ended long ago. The order travels in the
chain, and the way back is an ordinary handover in reverse: the command of the generation before is spawned and
receives everything. A generation that dies while it bakes takes its judge along; that is a crash of a serving
process, and its supervisor's business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from hotswap.chain import Bake
from hotswap.errors import Busy, HotswapError, NobodyStandsBy
from hotswap.log import fields
from hotswap.swappable import Swappable, Tally

log = logging.getLogger("hotswap")

_LOOK_SECONDS = 0.25
_ATTEMPTS = 3
_PATIENT_ATTEMPTS = 300
_RETRY_SECONDS = 2.0


class Baking:
    """The probation of one generation. `take_back` starts a rollback, given the reason, or raises."""

    def __init__(
        self,
        bake: Bake,
        server: Swappable,
        take_back: Callable[[str], None],
        passed: Callable[[str], None],
    ) -> None:
        self.bake = bake
        self.condemned = ""
        """Why it is being taken back; empty as long as it is not."""
        self._server = server
        self._take_back = take_back
        self._passed = passed
        self._attempts = 0
        self._loop = asyncio.get_running_loop()
        self._until = time.monotonic() + bake.seconds
        self._timer = self._loop.call_later(min(_LOOK_SECONDS, bake.seconds), self._look)
        self.over = False
        log.info("baking", extra=fields(seconds=f"{bake.seconds:g}", abort_if=described(bake)))

    def stop(self) -> None:
        """No further judgement: it drains, or gave everything away."""
        self.over = True
        self._timer.cancel()

    def refuse(self, name: str) -> None:
        """An upgrade during the probation would leave its end open. Raises `Busy`."""
        left = max(self._until - time.monotonic(), 0.0)
        raise Busy(
            f"the generation that serves bakes for another {left:.0f} s: wait for it, or take it back at once by "
            f"`hotswap rollback {name}`"
        )

    def status(self) -> dict[str, Any]:
        """For people and ``--json``."""
        tally = self._server.tally()
        return {
            "left_s": max(self._until - time.monotonic(), 0.0),
            "abort_if": described(self.bake),
            "requests": tally.requests,
            "failed": tally.failed,
            "error_rate": rate(tally),
            "crashes": tally.crashes,
            "condemned": self.condemned or None,
        }

    def rollback_failed(self, why: str, *, soon: bool = False) -> None:
        """The way back is blocked. Try again, a few times; then it serves on: a bad generation is better than none.

        `soon`: it opens by itself. The one before stands by when it has finished what it kept.
        """
        if self.over:
            return
        if self._attempts < (_PATIENT_ATTEMPTS if soon else _ATTEMPTS):
            self._timer = self._loop.call_later(_RETRY_SECONDS, self._condemn)
            return
        self.stop()
        log.error("could not be taken back, serving on", extra=fields(reason=why))
        self._passed(f"failed ({self.condemned}), and could not be taken back: {why}")

    def _look(self) -> None:
        tally = self._server.tally()
        self.condemned = verdict(self.bake, tally)
        if self.condemned:
            self._condemn()
        elif time.monotonic() < self._until:
            left = self._until - time.monotonic()
            self._timer = self._loop.call_later(min(_LOOK_SECONDS, max(left, 0.0)), self._look)
        else:
            self.stop()
            words = f"passed: {rate(tally):.2%} of {tally.requests} requests failed, {tally.crashes} crashes"
            if tally.requests < self.bake.min_requests:
                words += f"; fewer requests than the {self.bake.min_requests} it takes to judge the rate"
            log.info("baked", extra=fields(verdict=words))
            self._passed(words)

    def _condemn(self) -> None:
        if self.over:
            return
        self._attempts += 1
        log.error("taking this generation back", extra=fields(reason=self.condemned))
        try:
            self._take_back(self.condemned)
        except HotswapError as error:
            self.rollback_failed(str(error), soon=isinstance(error, NobodyStandsBy))


def rate(tally: Tally) -> float:
    """The share of failed requests."""
    return tally.failed / tally.requests if tally.requests else 0.0


def verdict(bake: Bake, tally: Tally) -> str:
    """What is wrong, with the figures; empty if nothing is."""
    if bake.crashes is not None and tally.crashes >= bake.crashes:
        return f"crashes {tally.crashes}, allowed are fewer than {bake.crashes}"
    if bake.error_rate is not None and tally.requests >= bake.min_requests and rate(tally) > bake.error_rate:
        return (
            f"error_rate {rate(tally):.2%} ({tally.failed} of {tally.requests} requests), "
            f"allowed is {bake.error_rate:.2%}"
        )
    return ""


def described(bake: Bake) -> str:
    """The conditions, as they are written."""
    words = []
    if bake.error_rate is not None:
        words.append(f"error_rate={bake.error_rate * 100:g}%")
    if bake.crashes is not None:
        words.append(f"crashes={bake.crashes}")
    return ", ".join(words)
