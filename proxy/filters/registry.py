"""Filters by name. Those of other distributions are imported here, before anything is served, never later."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hotswap.log import fields
from hotswap.points import entry_points
from proxy.filters.access import Rbac
from proxy.filters.api import REQUESTS, Filter
from proxy.filters.fault import Fault
from proxy.filters.fields import Headers
from proxy.filters.limit import RateLimit
from proxy.filters.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger("proxy")

GROUP: Final = "hotswap.filters"

BUILT_IN: Final[dict[str, type[Filter]]] = {
    "fault": Fault,
    "headers": Headers,
    "mirror": Mirror,
    "rate_limit": RateLimit,
    "rbac": Rbac,
}


def _installed() -> dict[str, type[Filter]]:
    found: dict[str, type[Filter]] = {}
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
        except Exception as error:  # noqa: BLE001 - one that nobody configured must harm nobody
            log.warning("a filter cannot be imported", extra=fields(name=point.name, reason=repr(error)))
            continue
        if isinstance(loaded, type) and issubclass(loaded, Filter):
            found[point.name] = loaded
        else:
            log.warning("not a subclass of proxy.filters.Filter", extra=fields(name=point.name))
    return found


FILTERS: Final[dict[str, type[Filter]]] = {**_installed(), **BUILT_IN}


def build(name: str, config: Mapping[str, Any]) -> Filter:
    """A configured filter. Raises `KeyError` for an unknown name, `ValueError` for a config that does not fit."""
    kind = FILTERS[name]
    return kind(msgspec.convert(dict(config), kind.Config))


def looks_at_bytes(names: Iterable[str]) -> bool:
    """Whether any of these filters sees the bytes of tcp connections."""
    return any(FILTERS[name].has("received") or FILTERS[name].has("sent") for name in names)


def looks_at(kind: type[Filter], protocol: str) -> bool:
    """Whether a filter has anything to look at where that is spoken."""
    if protocol not in kind.protocols:
        return False
    if kind.has("accepted"):
        return True
    if protocol == "tcp":
        return kind.has("received") or kind.has("sent")
    return protocol in REQUESTS and (kind.has("request") or kind.has("response"))
