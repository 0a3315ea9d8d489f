"""Which cluster serves a call: the first route, in the order of the configuration, that matches.

    service   the header `service`, or `sofa_head_target_service` where that is missing, as a pattern with * and ?
    headers   every one of them is there with exactly this value

A listener whose first route takes everything never looks into a header. Otherwise decisions are remembered by
the bytes of the header map, for clients repeat themselves; those with a trace id in every call are read each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.bolt.headers import read_headers
from proxy.multiplexed.routes import CallRoute, CallTable, Pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.model import RouteConfig
    from proxy.split import Split, Splits

MAX_MEMO: Final = 1024
MAX_MEMO_KEY: Final = 256


class Route(CallRoute):
    """One compiled route."""

    __slots__ = ("_headers", "_service")

    def __init__(self, config: RouteConfig, split: Split | None) -> None:
        super().__init__(config, split)
        match = config.match
        self._service = None if match.service is None else Pattern(match.service)
        self._headers = tuple((name.lower().encode(), value.encode()) for name, value in match.headers)

    @property
    def takes_all(self) -> bool:
        """It has no condition."""
        return self._service is None and not self._headers

    def matches(self, headers: Mapping[bytes, bytes]) -> bool:
        """True if every condition holds."""
        if self._service is not None:
            service = headers.get(b"service") or headers.get(b"sofa_head_target_service") or b""
            if not self._service.fits(service):
                return False
        return all(headers.get(name) == value for name, value in self._headers)


class ServiceTable(CallTable[Route]):
    """The routes of one bolt listener."""

    __slots__ = ("_memo",)

    def __init__(self, routes: Sequence[RouteConfig], splits: Splits) -> None:
        super().__init__(routes, splits, Route)
        self._memo: dict[bytes, Route] = {}

    def route(self, text: bytes) -> Route | None:
        """The route of a call with this header map. Raises `ValueError`."""
        found = self._memo.get(text)
        if found is not None:
            return found
        headers = read_headers(text)
        for route in self.routes:
            if route.matches(headers):
                if len(text) <= MAX_MEMO_KEY:
                    if len(self._memo) >= MAX_MEMO:
                        self._memo.clear()
                    self._memo[text] = route
                return route
        return None
