"""HTTP/2 to clients, HTTP/1.1 to the endpoint: CPU per request beside the others, and where ours goes.

Asked by h2load, in plaintext with prior knowledge and over TLS 1.3 by ALPN. 1 KB, few connections with many streams.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from tests.bench import h2load, layers
from tests.bench.cpu import Comparison
from tests.bench.proxies import Hall

CONNECTIONS = 8
STREAMS = 20  # on each
REQUESTS = 250 * CONNECTIONS * STREAMS  # a window; once in each are connections made

PATHS = 1000  # so that no memory of the last requests helps

_PLAIN = h2load.Load("HTTP/2, 1 KB, plaintext", tls=False, http2=True, connections=CONNECTIONS, streams=STREAMS)
LOADS = (
    _PLAIN,
    replace(_PLAIN, what=f"HTTP/2, 1 KB, plaintext, {PATHS} paths in turn", paths=PATHS),
    replace(_PLAIN, what="HTTP/2, 1 KB, TLS 1.3", tls=True),
)


class Plan(msgspec.Struct):
    """How long to measure."""

    rounds: int = 12
    requests: int = REQUESTS
    looked_at: int = 8 * REQUESTS  # in a profile
    loads: tuple[h2load.Load, ...] = LOADS


class Result(msgspec.Struct):
    """Everything of one run."""

    comparisons: list[Comparison]
    missing: dict[str, str]
    splits: list[layers.Split]
    """Of the first load."""
    profile: layers.Result | None
    """The same."""


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    if not h2load.installed():
        return Result([], {"h2load": h2load.REMEDY}, [], None)
    comparisons: list[Comparison] = []
    splits: list[layers.Split] = []
    missing: dict[str, str] = {}
    for load in plan.loads:
        with Hall(tls=load.tls, http2=load.http2) as hall:
            proxies = {proxy.name: proxy for proxy in hall.everybody()}
            comparisons.append(h2load.compare(load, proxies, plan.rounds, plan.requests, say))
            missing |= hall.missing
            splits = splits or [layers.split(load, proxy, plan.looked_at) for proxy in proxies.values()]
    say("a profile")
    return Result(comparisons, missing, splits, layers.profile(plan.loads[0], plan.looked_at))
