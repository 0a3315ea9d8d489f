"""The latency that a hop through a proxy adds, at half of the load that it could carry.

The load is an open loop: requests are due at a fixed rate, and one waits from the moment at which it was due, whatever
became of those before it (no coordinated omission). All proxies get the same rate, half of what the slower one of
hotswap and nginx sustains; a slower peer is left out of that and makes a second comparison at half of what it sustains.
What the clients wait without any proxy is measured in the same rounds and taken off.

The load generator spins on one core and the proxies have the other, so that no scheduler moves them about.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol
from tests.bench.machine import pin
from tests.bench.proxies import Hall, Proxy
from tests.kit.ports import free_port

CONNECTIONS = 64
WARM = 0.25  # seconds of load before a window begins
DIRECT = "none"
YARDSTICKS = ("hotswap", "nginx")  # the slower one of these decides on the rate
SHARE = 0.5  # of what that one sustains
ENOUGH = 0.9  # of what a proxy sustains may be asked of it
SUSTAINED_ROUNDS = 3
THEIR_CORE, OUR_CORE = 0, 1  # of the load generator, and of the proxies


class Plan(msgspec.Struct):
    """How long to measure."""

    rounds: int = 12
    seconds: float = 1.0
    protocols: tuple[Protocol, ...] = ("http", "echo")
    rate: float | None = None  # requests a second; as measured if there is none


class Row(msgspec.Struct):
    """One proxy, or none; in microseconds, a figure per round."""

    proxy: str
    version: str = ""
    p50: list[float] = []
    p99: list[float] = []
    rates: list[float] = []  # answers a second: what was asked for, unless it fell behind
    errors: int = 0


class Table(msgspec.Struct):
    """All that can bear it with the same load. The first row is without a proxy."""

    protocol: Protocol
    sustained: dict[str, float]  # requests a second by proxy
    rate: float
    rows: list[Row]

    def added(self, row: Row) -> tuple[float, float]:
        """What a row has more than the first one, p50 and p99: medians of the differences of each round."""
        direct = self.rows[0]
        return (
            statistics.median(mine - base for mine, base in zip(row.p50, direct.p50, strict=True)),
            statistics.median(mine - base for mine, base in zip(row.p99, direct.p99, strict=True)),
        )


class Result(msgspec.Struct):
    """Everything of one run."""

    tables: list[Table]
    missing: dict[str, str]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    with Hall() as hall:
        proxies = hall.everybody()
        for proxy in proxies:
            pin(proxy.pid, OUR_CORE)
        tables = [table for protocol in plan.protocols for table in _tables(protocol, proxies, plan, say)]
        return Result(tables, hall.missing)


def rates_of(sustained: dict[str, float], wanted: float | None) -> list[float]:
    """At which rates to compare: one that leaves the yardsticks half idle, and if that is too much for somebody, a
    second one that suits all. `wanted` replaces both."""
    if wanted is not None:
        return [wanted]
    first = SHARE * min(rate for name, rate in sustained.items() if name in YARDSTICKS)
    all_can = all(can_bear(rate, first) for rate in sustained.values())
    return [first] if all_can else [first, SHARE * min(sustained.values())]


def can_bear(sustained: float, rate: float) -> bool:
    """Whether this rate makes no queue that only grows."""
    return rate < ENOUGH * sustained


def _tables(protocol: Protocol, proxies: list[Proxy], plan: Plan, say: Callable[[str], None]) -> list[Table]:
    with ExitStack() as exits:

        def stand(upstream: int, port: int) -> LoadGenerator:
            load = LoadGenerator(protocol, upstream, port, CONNECTIONS)
            exits.callback(load.close)
            pin(load.pid, THEIR_CORE)
            return load

        alone = free_port()
        loads = {DIRECT: stand(alone, alone)}
        loads |= {proxy.name: stand(proxy.upstreams[protocol], proxy.ports[protocol]) for proxy in proxies}
        for load in loads.values():
            load.connect()
        sustained = _sustained({name: load for name, load in loads.items() if name != DIRECT}, plan.seconds)
        say(f"{protocol}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in sustained.items()) + " a second")
        tables = []
        for rate in rates_of(sustained, plan.rate):
            able = [Row(one.name, one.version) for one in proxies if can_bear(sustained[one.name], rate)]
            tables.append(Table(protocol, sustained, rate, [Row(DIRECT), *able]))
            _compare(tables[-1], loads, plan, say)
        return tables


def _compare(table: Table, loads: dict[str, LoadGenerator], plan: Plan, say: Callable[[str], None]) -> None:
    for number in range(plan.rounds):
        first = number % len(table.rows)  # nobody always comes after the same one
        for row in [*table.rows[first:], *table.rows[:first]]:
            _window(row, loads[row.proxy], table.rate, plan.seconds)
        figures = ", ".join(f"{row.proxy} {row.p50[-1]:.0f}/{row.p99[-1]:.0f}" for row in table.rows)
        say(f"{table.protocol}, {table.rate:.0f} a second, round {number + 1} of {plan.rounds}: {figures} us")


def _sustained(loads: dict[str, LoadGenerator], seconds: float) -> dict[str, float]:
    """Answers a second if each of the connections asks again at once; the median of some windows."""
    rates: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(SUSTAINED_ROUNDS):
        for name, load in loads.items():
            load.load(CONNECTIONS)
            time.sleep(WARM)
            load.reset()
            time.sleep(seconds)
            report = load.report()
            load.load(0)
            rates[name].append(report.answers / report.seconds)
    return {name: statistics.median(figures) for name, figures in rates.items()}


def _window(row: Row, load: LoadGenerator, rate: float, seconds: float) -> None:
    load.load_open(CONNECTIONS, rate)
    time.sleep(WARM)
    load.reset()
    time.sleep(seconds)
    report = load.report()
    load.load(0)
    row.p50.append(report.p50_us)
    row.p99.append(report.p99_us)
    row.rates.append(report.answers / report.seconds)
    row.errors += report.errors + report.closed
