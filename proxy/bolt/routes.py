"""Which cluster serves a call: the first route, in the order of the configuration, that matches.

    service   the header `service`, or `sofa_head_target_service` where that is missing, as a pattern with * and ?
    headers   every one of them is there with exactly this value

A listener whose first route takes everything never looks into a header. Otherwise decisions are remembered by
the bytes of the header map, for clients repeat themselves; those with a trace id in every call are read each time.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from proxy.bolt.headers import read_headers
from proxy.route import Terms
from proxy.split import label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.model import ClusterConfig, RouteConfig
    from proxy.split import Split, Splits

MAX_MEMO: Final = 1024
MAX_MEMO_KEY: Final = 256


class Route:
    """One compiled route."""

    __slots__ = ("_cluster", "_config", "_exact", "_headers", "_pattern", "label", "plain", "split")

    def __init__(self, config: RouteConfig, split: Split | None) -> None:
        self.label = label(config)
        """What metrics call it."""
        self._cluster = config.cluster
        self._config = config
        self.split = split
        self.plain = not config.subset and config.request_timeout is None and config.retries is None
        """It has no terms of its own."""
        match = config.match
        service = match.service
        globbed = service is not None and ("*" in service or "?" in service)
        self._exact = service.encode() if service is not None and not globbed else None
        plain = "" if service is None else service.replace("[", "[[]")
        self._pattern = re.compile(translate(plain).encode()) if globbed else None
        self._headers = tuple((name.lower().encode(), value.encode()) for name, value in match.headers)

    def cluster(self) -> str:
        """The name of the cluster for the next call."""
        return self._cluster if self.split is None else self.split.next()

    def terms(self, cluster: ClusterConfig) -> Terms | None:
        """What holds for a call to that cluster, None if that is what the cluster says."""
        one = self._config
        if self.plain:
            return None
        return Terms(
            cluster.request_timeout if one.request_timeout is None else one.request_timeout,
            cluster.idle_timeout,
            cluster.retries if one.retries is None else one.retries,
            one.subset,
        )

    @property
    def takes_all(self) -> bool:
        """It has no condition."""
        return self._exact is None and self._pattern is None and not self._headers

    def matches(self, headers: Mapping[bytes, bytes]) -> bool:
        """True if every condition holds."""
        service = headers.get(b"service") or headers.get(b"sofa_head_target_service") or b""
        if self._exact is not None and service != self._exact:
            return False
        if self._pattern is not None and self._pattern.match(service) is None:
            return False
        return all(headers.get(name) == value for name, value in self._headers)


class ServiceTable:
    """The routes of one bolt listener."""

    __slots__ = ("_memo", "label", "only", "plain", "routes")

    def __init__(self, routes: Sequence[RouteConfig], splits: Splits) -> None:
        self.routes = tuple(Route(route, splits.of(route)) for route in routes)
        first = self.routes[0] if self.routes else None
        self.only = first.cluster() if first is not None and first.takes_all and first.split is None else None
        """The cluster of every call, where there is no choice."""
        self.label = first.label if first is not None and self.only is not None else ""
        """And what metrics call the route of every call."""
        self.plain = all(route.plain for route in self.routes)
        """No route has terms of its own."""
        self._memo: dict[bytes, Route] = {}

    def route(self, header: bytes) -> Route | None:
        """The route of a call with this header map. Raises `ValueError`."""
        found = self._memo.get(header)
        if found is not None:
            return found
        headers = read_headers(header)
        for route in self.routes:
            if route.matches(headers):
                if len(header) <= MAX_MEMO_KEY:
                    if len(self._memo) >= MAX_MEMO:
                        self._memo.clear()
                    self._memo[header] = route
                return route
        return None
