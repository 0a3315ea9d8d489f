"""What becomes of the handshakes of a listener or a cluster."""

from __future__ import annotations

import logging
from math import inf
from typing import Any, Final

from hotswap.log import fields

log = logging.getLogger("proxy")

QUIET: Final = 60.0
"""Seconds between two lines of one listener's or cluster's log; the next one tells how many were left out."""


class Handshakes:
    """Counts since this generation owns."""

    __slots__ = ("_log_at", "_untold", "done", "ended", "failed", "late")

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        """Refused by either side, or what came was no handshake."""
        self.ended = 0
        """The peer went away in the middle."""
        self.late = 0
        """They took too long."""
        self._untold = 0
        self._log_at = -inf

    def fail(self, now: float, why: str, **about: Any) -> None:
        """One more that failed."""
        self.failed += 1
        self._untold += 1
        if now >= self._log_at:
            self._log_at = now + QUIET
            log.warning("a TLS handshake failed", extra=fields(**about, why=why, failures=self._untold))
            self._untold = 0

    def describe(self) -> dict[str, int]:
        """For people."""
        return {"done": self.done, "failed": self.failed, "ended": self.ended, "late": self.late}
