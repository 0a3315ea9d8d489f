"""CPU per request of the proxy process, measured against its peers in the same minutes.

All proxies stand ready with their clients connected. In every round each is loaded in turn for a moment, so that
whatever else the machine does, it does to all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec

from tests.bench.loadgen import PROTOCOLS, LoadGenerator, Protocol
from tests.bench.machine import cpu_us
from tests.bench.proxies import Hall, Proxy

CONNECTIONS = 64
WARM = 0.25  # seconds of load before a window begins
BASE = "nginx"  # what ratios refer to


class Plan(msgspec.Struct):
    """How long to measure."""

    rounds: int = 20
    seconds: float = 1.0
    protocols: tuple[Protocol, ...] = PROTOCOLS


class Row(msgspec.Struct):
    """One proxy with one protocol; times in microseconds of CPU per request, a figure per round."""

    proxy: str
    version: str
    protocol: Protocol
    rounds: list[float]
    rates: list[float]
    errors: int = 0

    @property
    def best(self) -> float:
        """Mean of the best fifth of the rounds."""
        best = sorted(self.rounds)[: max(1, len(self.rounds) // 5)]
        return statistics.fmean(best)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def rate(self) -> float:
        """Requests a second, median."""
        return statistics.median(self.rates)


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]
    missing: dict[str, str]

    def ratio(self, row: Row) -> float | None:
        """Best fifth, as a multiple of nginx's in this run."""
        for other in self.rows:
            if other.proxy == BASE and other.protocol == row.protocol:
                return row.best / other.best
        return None


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    rows = []
    with Hall() as hall:
        proxies = hall.everybody()
        for protocol in plan.protocols:
            rows += _compare(proxies, protocol, plan, say)
        return Result(rows, hall.missing)


def _compare(proxies: list[Proxy], protocol: Protocol, plan: Plan, say: Callable[[str], None]) -> list[Row]:
    rows = [Row(proxy.name, proxy.version, protocol, [], []) for proxy in proxies]
    loads = [
        LoadGenerator(protocol, proxy.upstreams[protocol], proxy.ports[protocol], CONNECTIONS) for proxy in proxies
    ]
    try:
        for load in loads:
            load.connect()
        for number in range(plan.rounds):
            for index in range(len(proxies)):
                turn = (index + number) % len(proxies)  # nobody always comes after the same one
                window(proxies[turn], loads[turn], rows[turn], plan.seconds)
            figures = ", ".join(f"{row.proxy} {row.rounds[-1]:.1f}" for row in rows)
            say(f"{protocol} round {number + 1} of {plan.rounds}: {figures} us/request")
    finally:
        for load in loads:
            load.close()
    return rows


def window(proxy: Proxy, load: LoadGenerator, row: Row, seconds: float) -> None:
    """Load this one for a moment and add its figures."""
    load.load(CONNECTIONS)
    time.sleep(WARM)
    load.reset()
    before = cpu_us(proxy.pid)
    time.sleep(seconds)
    report = load.report()
    spent = cpu_us(proxy.pid) - before
    load.load(0)
    row.rounds.append(spent / report.answers)
    row.rates.append(report.answers / report.seconds)
    row.errors += report.errors + report.closed
