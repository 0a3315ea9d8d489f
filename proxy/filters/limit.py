"""``rate_limit``: a token bucket for one listener. It moves: an upgrade gives nobody a fresh one."""

from __future__ import annotations

from math import ceil
from typing import Any

from proxy.filters.api import REQUESTS, Abort, Answer, Client, Filter, Request, Settings, Verdict


class RateLimitConfig(Settings, frozen=True):
    """See `RateLimit`."""

    rate: float
    """Requests, or connections, a second."""
    burst: int = 1
    """As many at once after a pause."""
    status: int = 429


class RateLimit(Filter):
    """Counts requests of http1, calls of bolt, connections of tcp; what is too much is answered, or reset."""

    Config = RateLimitConfig

    def __init__(self, config: RateLimitConfig) -> None:
        """Raises `ValueError`."""
        super().__init__(config)
        if config.rate <= 0 or config.burst < 1 or not 400 <= config.status <= 599:
            raise ValueError("rate is above 0, burst at least 1, status from 400 to 599")
        self._tokens = float(config.burst)
        self._at: float | None = None

    def accepted(self, client: Client, now: float) -> Abort | None:
        """See `Filter`."""
        return None if client.protocol in REQUESTS or self._take(now) else Abort()

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        if self._take(now):
            return None
        wait = ceil((1 - self._tokens) / self.config.rate)
        return Answer(self.config.status, headers=(("Retry-After", str(wait)),))

    def _take(self, now: float) -> bool:
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        passed = 0.0 if self._at is None else now - self._at
        self._tokens = min(float(self.config.burst), self._tokens + passed * self.config.rate)
        self._at = now

    def save(self, now: float) -> Any:
        """Tokens, and the seconds since they were counted."""
        return [self._tokens, 0.0 if self._at is None else now - self._at]

    def load(self, saved: Any, now: float) -> None:
        """See `Filter`."""
        tokens, age = saved
        self._tokens, self._at = min(float(tokens), float(self.config.burst)), now - float(age)
