"""What each feature adds per request: the proxy with that feature alone, against the bare one of the same minutes.

As in `cpu`, all stand ready and are loaded in turn. What acts on connections (a tcp client's address,
marks) is paid once for each, and here a connection carries requests for as long as it lives: such rows show that
nothing is left to pay afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tests.bench.configurations import HOST, Change
from tests.bench.cpu import Load, Row, compare
from tests.bench.loadgen import Protocol
from tests.bench.proxies import Hall

BARE = "bare"
PROTOCOLS: tuple[Protocol, ...] = ("http", "bolt16", "echo")


class Plan(msgspec.Struct):
    """How long to measure."""

    rounds: int = 8
    seconds: float = 0.5
    only: tuple[str, ...] = ()
    """Features by their names; all if there is none."""


class Cost(msgspec.Struct):
    """One feature with one protocol; `bare` is measured in the same rounds."""

    protocol: Protocol
    feature: str
    row: Row
    bare: Row

    @property
    def added(self) -> float:
        """Microseconds of CPU per request, best fifth against best fifth."""
        return self.row.best - self.bare.best


class Result(msgspec.Struct):
    """Everything of one run."""

    costs: list[Cost]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    costs = []
    for protocol in PROTOCOLS:
        chosen = {name: change for name, change in FEATURES[protocol].items() if not plan.only or name in plan.only}
        with Hall() as hall:
            proxies = {BARE: hall.hotswap()}
            proxies |= {name: hall.hotswap(change, protocol) for name, change in chosen.items()}
            bare, *rows = compare(Load(protocol, protocol), proxies, plan.rounds, plan.seconds, say).rows
        costs += [Cost(protocol, row.proxy, row, bare) for row in rows]
    return Result(costs)


def _listener(**keys: Any) -> Change:
    def change(listener: dict[str, Any], _: dict[str, Any]) -> None:
        listener |= keys

    return change


def _cluster(**keys: Any) -> Change:
    def change(_: dict[str, Any], cluster: dict[str, Any]) -> None:
        cluster |= keys

    return change


def _route(**keys: Any) -> Change:
    def change(listener: dict[str, Any], cluster: dict[str, Any]) -> None:
        routes = listener.setdefault("routes", [{"match": {}, "cluster": cluster["name"]}])
        listener.pop("cluster", None)
        routes[-1] |= keys

    return change


def _split(listener: dict[str, Any], cluster: dict[str, Any]) -> None:
    _route(clusters=[{"name": cluster["name"], "weight": 95}, {"name": cluster["name"] + "-next", "weight": 5}])(
        listener, cluster
    )
    del listener["routes"][-1]["cluster"]


def _subset(listener: dict[str, Any], cluster: dict[str, Any]) -> None:
    _route(subset={"version": "v2"})(listener, cluster)
    cluster["endpoints"] = [{"address": address, "labels": {"version": "v2"}} for address in cluster["endpoints"]]


def _mirror(listener: dict[str, Any], cluster: dict[str, Any]) -> None:
    listener["filters"] = [_filter("mirror", cluster=cluster["name"] + "-next", percent=1)]


def _more_routes(listener: dict[str, Any], _: dict[str, Any]) -> None:
    others = [
        {"match": {"host": HOST, "prefix": f"/other{number}", "headers": {"x-version": "2"}}, "cluster": "echo"}
        for number in range(10)
    ]
    listener["routes"] = [*others, *listener["routes"]]


def _filter(name: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "config": config}


_BY_SOURCE = _filter("rbac", rules=[{"action": "allow", "source": ["127.0.0.0/8"]}])
_BY_HEADER = _filter("rbac", otherwise="allow", rules=[{"action": "deny", "headers": {"x-tenant": "none"}}])
_PLENTY = _filter("rate_limit", rate=1e9, burst=1_000_000)
_EDIT = _filter("headers", request={"set": {"x-edge": "1"}})
_FAULT = _filter("fault", delay=1, headers={"x-test": "slow"})
_LIMITS = {"max_connections": 100_000, "max_pending": 100_000, "max_requests": 100_000}
_TEXT, _JSON = {"format": "text"}, {"format": "json"}  # to a file in its directory

_EVERYWHERE: dict[str, Change] = {
    "access log, text": _listener(access_log=_TEXT),
    "access log, JSON": _listener(access_log=_JSON),
    "outlier ejection": _cluster(outlier={}),
    "active health checks": _cluster(health_check={}),
    "limits": _cluster(limits=_LIMITS),
    "SO_MARK": _cluster(mark=7),
}
_CALLS: dict[str, Change] = {
    "filter rbac by source": _listener(filters=[_BY_SOURCE]),
    "filter rbac by header": _listener(filters=[_BY_HEADER]),
    "filter rate_limit": _listener(filters=[_PLENTY]),
    "filter headers": _listener(filters=[_EDIT]),
    "filter fault, not hit": _listener(filters=[_FAULT]),
    "timeouts and retries of a route": _route(request_timeout="20s", retries=1),
    "split 95 to 5": _split,
    "subset by label": _subset,
}
FEATURES: dict[Protocol, dict[str, Change]] = {
    "http": {
        **_EVERYWHERE,
        **_CALLS,
        "filter headers of a route": _route(filters=[_EDIT]),
        "mirror of 1 percent": _mirror,
        "retry budget": _cluster(retry_budget={}),
        "ten routes before": _more_routes,
    },
    "bolt16": {  # the upstream there compares calls byte by byte: none may be edited
        **_EVERYWHERE,
        **{name: change for name, change in _CALLS.items() if name != "filter headers"},
    },
    "echo": {
        **_EVERYWHERE,
        "filter rbac by source": _listener(filters=[_BY_SOURCE]),
    },
}
