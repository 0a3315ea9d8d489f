"""``fault``: delays and failures on purpose, for every so many requests by counting, so that a test can rely on it.

Where filters see no requests, it is connections that are delayed, before an upstream is dialled, or reset.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.filters.api import REQUESTS, Abort, Answer, Client, Delay, Filter, Request, Settings, Verdict


class FaultConfig(Settings, frozen=True):
    """See `Fault`."""

    delay: float = 0.0
    """Seconds."""
    delay_percent: float = 100.0
    status: int = 503
    """What an aborted request is answered; 0: a reset."""
    abort_percent: float = 0.0
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Only requests with exactly these fields."""


class Fault(Filter):
    """A request is aborted or delayed, not both."""

    Config = FaultConfig

    def __init__(self, config: FaultConfig) -> None:
        """Raises `ValueError`."""
        super().__init__(config)
        if not (0 <= config.delay_percent <= 100 and 0 <= config.abort_percent <= 100 and config.delay >= 0):
            raise ValueError("percentages are from 0 to 100, the delay is not negative")
        if config.status and not 200 <= config.status <= 599:
            raise ValueError("status is from 200 to 599, or 0 for a reset")
        self._seen = 0

    def accepted(self, client: Client, now: float) -> Abort | Delay | None:
        """Conditions on headers fit no connection."""
        if client.protocol in REQUESTS or self.config.headers:
            return None
        self._seen += 1
        return Abort() if falls_on(self._seen, self.config.abort_percent) else self._delay()

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        if any(request.get(name) != value for name, value in self.config.headers.items()):
            return None
        self._seen += 1
        if falls_on(self._seen, self.config.abort_percent):
            return Answer(self.config.status) if self.config.status else Abort()
        return self._delay()

    def _delay(self) -> Delay | None:
        hit = self.config.delay and falls_on(self._seen, self.config.delay_percent)
        return Delay(self.config.delay) if hit else None

    def save(self, now: float) -> Any:
        """The count goes on."""
        return self._seen

    def load(self, saved: Any, now: float) -> None:
        """See `Filter`."""
        self._seen = int(saved)


def falls_on(number: int, percent: float) -> bool:
    """Whether that share of all, counted from 1 and evenly spread, falls on this one."""
    return int(number * percent / 100) > int((number - 1) * percent / 100)
