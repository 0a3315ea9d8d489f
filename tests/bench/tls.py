"""What TLS costs: every proxy terminates it with the same certificate and suite, and is plain towards its upstream.

Requests come over connections that live on, so they show the records alone; handshakes are connections of their own
without a request.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.bench import h2load, memory, reload, states, upgrade
from tests.bench.cpu import Comparison, Load, compare
from tests.bench.loadgen import KILOBYTE, Tls
from tests.bench.proxies import Hall

MEGABYTE = 1024 * KILOBYTE
BUSY_PERCENT = (1, 10)
BY_H2LOAD = h2load.Load("HTTP/1.1 keep-alive, 1 KB, TLS 1.3, asked by h2load")

LOADS = (
    Load("HTTP/1.1 keep-alive, 1 KB, TLS 1.3", "http", Tls("1.3")),
    Load("HTTP/1.1 keep-alive, 1 KB, TLS 1.2", "http", Tls("1.2")),
    Load("TCP relay, 1 KB echo, TLS 1.3", "echo", Tls("1.3")),
    Load("HTTP/1.1 keep-alive, 1 MB, TLS 1.3, 8 connections", "http", Tls("1.3"), size=MEGABYTE, connections=8),
    Load("full handshake, TLS 1.3", "http", Tls("1.3", "full")),
    Load("full handshake, TLS 1.2", "http", Tls("1.2", "full")),
    Load("resumed handshake, TLS 1.3", "http", Tls("1.3", "resumed")),
    Load("resumed handshake, TLS 1.2", "http", Tls("1.2", "resumed")),
)


class Plan(msgspec.Struct):
    """How long to measure, and with how many connections: idle ones for memory, live ones while upgrading."""

    rounds: int = 10
    seconds: float = 1.0
    requests: int = h2load.REQUESTS
    loads: tuple[Load, ...] = LOADS
    idle: int = 5000
    live: tuple[int, ...] = (1000, 4000)
    upgrades: int = 20


class Result(msgspec.Struct):
    """Everything of one run."""

    comparisons: list[Comparison]
    missing: dict[str, str]
    memory: memory.Result
    upgrade: upgrade.Result
    states: states.Result
    reload: reload.Result


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    with Hall(tls=True) as hall:
        proxies = {proxy.name: proxy for proxy in hall.everybody()}
        comparisons = [compare(load, proxies, plan.rounds, plan.seconds, say) for load in plan.loads]
        if h2load.installed():
            comparisons.append(h2load.compare(BY_H2LOAD, proxies, plan.rounds, plan.requests, say))
        else:
            hall.missing["h2load"] = h2load.REMEDY
    return Result(
        comparisons,
        hall.missing,
        memory.measure(memory.Plan(plan.idle, tls=Tls()), say),
        upgrade.measure(upgrade.Plan(plan.live, BUSY_PERCENT, plan.upgrades, tls=Tls()), say),
        states.measure(states.Plan(), say),
        reload.measure(reload.Plan(tls=Tls()), say),
    )
