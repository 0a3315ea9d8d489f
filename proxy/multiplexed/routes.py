"""Which cluster serves a call: the first route, in the order of the configuration, that matches.

What a route asks of a call each protocol knows for itself. A listener whose first route takes everything never looks.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Generic, TypeVar

from proxy.route import Terms
from proxy.split import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.model import ClusterConfig, RouteConfig
    from proxy.split import Split, Splits


class CallRoute:
    """One compiled route, without its conditions."""

    __slots__ = ("_cluster", "_config", "label", "plain", "split")

    def __init__(self, config: RouteConfig, split: Split | None) -> None:
        self.label = label(config)
        """What metrics call it."""
        self._cluster = config.cluster
        self._config = config
        self.split = split
        self.plain = not config.subset and config.request_timeout is None and config.retries is None
        """It has no terms of its own."""

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
        raise NotImplementedError


R = TypeVar("R", bound=CallRoute)


class CallTable(Generic[R]):
    """The routes of one listener."""

    __slots__ = ("label", "only", "plain", "reach", "routes")

    def __init__(self, routes: Sequence[RouteConfig], splits: Splits, make: type[R]) -> None:
        self.routes: tuple[R, ...] = tuple(make(route, splits.of(route)) for route in routes)
        first = self.routes[0] if self.routes else None
        self.only = first.cluster() if first is not None and first.takes_all and first.split is None else None
        """The cluster of every call, where there is no choice."""
        self.label = first.label if first is not None and self.only is not None else ""
        """And what metrics call the route of every call."""
        self.plain = all(route.plain for route in self.routes)
        """No route has terms of its own."""
        self.reach: int | None = None
        """So many bytes of what `Wire.text` tells are enough; None: it takes all of it."""

    @property
    def same(self) -> int:
        """Of a protocol whose texts have no length of their own: so many bytes of the one before told the route."""
        return 0

    def route(self, text: bytes) -> R | None:
        """The route of a call, by the part of its frame that `Wire.text` tells. Raises `ValueError`."""
        raise NotImplementedError


class Pattern:
    """A text in which * stands for any characters, and ? for one."""

    __slots__ = ("_compiled", "_exact")

    def __init__(self, text: str) -> None:
        self._exact = text.encode()
        globbed = "*" in text or "?" in text
        self._compiled = re.compile(translate(text.replace("[", "[[]")).encode()) if globbed else None

    def fits(self, text: bytes) -> bool:
        """It is the whole text."""
        if self._compiled is None:
            return text == self._exact
        return self._compiled.match(text) is not None
