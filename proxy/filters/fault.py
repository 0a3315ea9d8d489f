"""``fault``: delays and failures on purpose, for every so many requests by counting, so that a test can rely on it."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.filters.api import Abort, Answer, Delay, Filter, Request, Settings, Verdict


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

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        if any(request.get(name) != value for name, value in self.config.headers.items()):
            return None
        self._seen += 1
        if self._hit(self.config.abort_percent):
            return Answer(self.config.status) if self.config.status else Abort()
        return Delay(self.config.delay) if self.config.delay and self._hit(self.config.delay_percent) else None

    def _hit(self, percent: float) -> bool:
        """Whether the share of hits would fall behind without this one."""
        return int(self._seen * percent / 100) > int((self._seen - 1) * percent / 100)

    def save(self, now: float) -> Any:
        """The count goes on."""
        return self._seen

    def load(self, saved: Any, now: float) -> None:
        """See `Filter`."""
        self._seen = int(saved)
