"""How soon a sidecar that died is started anew: at once, unless it does nothing but die."""

from __future__ import annotations

from dataclasses import dataclass, field

FREE = 3
"""Deaths within `WITHIN` that are followed by a start at once."""
WITHIN = 10.0
FIRST = 0.2
LONGEST = 10.0
CALM = 30.0
"""Seconds without a death after which all is forgotten; longer than `LONGEST`, or it would be forgotten meanwhile."""


@dataclass
class Backoff:
    """The deaths of one sidecar. It never gives up: who cannot start may be able to in an hour."""

    _deaths: list[float] = field(default_factory=list)
    _delay: float = 0.0

    def died(self, now: float) -> float:
        """Seconds to wait before the next start."""
        if self._deaths and now - self._deaths[-1] > CALM:
            self._deaths.clear()
            self._delay = 0.0
        self._deaths = [*(then for then in self._deaths if now - then < WITHIN), now]
        if self._delay or len(self._deaths) > FREE:
            self._delay = min(LONGEST, self._delay * 2 or FIRST)
        return self._delay
