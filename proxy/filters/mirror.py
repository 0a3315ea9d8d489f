"""``mirror``: a copy of every so many requests to another cluster, by counting. `proxy.http1.mirror` sends it."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from proxy.filters.api import Filter, Request, Settings, Verdict
from proxy.filters.fault import falls_on


class MirrorConfig(Settings, frozen=True):
    """See `Mirror`."""

    cluster: str
    percent: float = 100.0
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Only requests with exactly these fields."""


class Mirror(Filter):
    """Filters behind it may still refuse the request: then there is no copy."""

    Config = MirrorConfig
    protocols: ClassVar[frozenset[str]] = frozenset({"http1"})

    def __init__(self, config: MirrorConfig) -> None:
        """Raises `ValueError`."""
        super().__init__(config)
        if not 0 <= config.percent <= 100:
            raise ValueError("percent is from 0 to 100")
        self._seen = 0

    def clusters(self) -> tuple[str, ...]:
        """See `Filter`."""
        return (self.config.cluster,)

    def request(self, request: Request, now: float) -> Verdict:
        """See `Filter`."""
        if all(request.get(name) == value for name, value in self.config.headers.items()):
            self._seen += 1
            if falls_on(self._seen, self.config.percent):
                request.mirror(self.config.cluster)
        return None

    def save(self, now: float) -> Any:
        """The count goes on."""
        return self._seen

    def load(self, saved: Any, now: float) -> None:
        """See `Filter`."""
        self._seen = int(saved)
