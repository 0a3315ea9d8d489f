"""The shares of several clusters in the traffic of one route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.config.model import meaning
from proxy.metrics.meters import LONGEST_ROUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.config.model import RouteConfig, ShareConfig
    from proxy.listener import Listener


class Split:
    """Chooses in turn by weight, as `proxy.balance.smooth_weighted` does: 95 to 5 is one in twenty, evenly spread."""

    __slots__ = ("_weights", "current")

    def __init__(self, shares: Sequence[ShareConfig]) -> None:
        self._weights = {share.name: share.weight for share in shares}
        self.current = dict.fromkeys(self._weights, 0)
        """Each one's number, see there."""

    def next(self) -> str:
        """The cluster of the next request."""
        current = self.current
        for name, weight in self._weights.items():
            current[name] += weight
        best = max(current, key=current.__getitem__)
        current[best] -= sum(self._weights.values())
        return best


class Splits:
    """Those of one listener, by the conditions of their routes."""

    __slots__ = ("_splits",)

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        self._splits = {identity(route): Split(route.clusters) for route in routes if route.clusters}

    def of(self, route: RouteConfig) -> Split | None:
        """That of a route; None if it has one cluster only."""
        return self._splits[identity(route)] if route.clusters else None

    def save(self) -> dict[str, dict[str, int]]:
        """As it travels."""
        return {key: split.current for key, split in self._splits.items()}

    def load(self, saved: Mapping[str, Mapping[str, int]]) -> None:
        """The counterpart of `save`; a split that is not the same any more begins anew."""
        for key, split in self._splits.items():
            numbers = saved.get(key, {})
            if numbers.keys() == split.current.keys():
                split.current = dict(numbers)


def identity(route: RouteConfig) -> str:
    """What a route matches: what tells it from others, also of another configuration."""
    return msgspec.json.encode(meaning(route.match), order="sorted").decode()


def label(route: RouteConfig) -> str:
    """What metrics call it: its name, or else its conditions."""
    if route.name is not None:
        return route.name
    conditions = meaning(route.match)
    parts = (
        f"{key}={value}" if isinstance(value, str) else f"{key}={msgspec.json.encode(value).decode()}"
        for key, value in conditions.items()
    )
    return " ".join(parts)[:LONGEST_ROUTE] or "*"


def save_splits(listeners: Iterable[Listener]) -> dict[str, dict[str, dict[str, int]]]:
    """Those of all listeners, by address."""
    return {listener.address: listener.splits.save() for listener in listeners}


def load_splits(listeners: Iterable[Listener], saved: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
    """The counterpart."""
    for listener in listeners:
        listener.splits.load(saved.get(listener.address, {}))
