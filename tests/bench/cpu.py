"""CPU per request of the proxy process, measured against its peers in the same minutes.

All proxies stand ready with their clients connected. In every round each is loaded in turn for a moment, so that
whatever else the machine does, it does to all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import msgspec

from tests.bench.loadgen import KILOBYTE, PROTOCOLS, LoadGenerator, Protocol, Tls
from tests.bench.machine import cpu_us
from tests.bench.proxies import Hall, Proxy
from tests.kit.waiting import eventually

CONNECTIONS = 64
WARM = 0.25  # seconds of load before a window begins
BASE = "nginx"  # what ratios refer to
PATIENCE = 10.0  # seconds for the first answer of a window, where a moment is too short for one
SHOWN = 4  # rows whose progress is told


class Plan(msgspec.Struct):
    """How long to measure."""

    rounds: int = 20
    seconds: float = 1.0
    protocols: tuple[Protocol, ...] = PROTOCOLS


class Load(msgspec.Struct, frozen=True):
    """What clients do."""

    what: str  # for people, or a key of tables.SPEAKS
    protocol: Protocol
    tls: Tls | None = None
    size: int = KILOBYTE
    connections: int = CONNECTIONS

    def on(self, proxy: Proxy) -> LoadGenerator:
        """The clients of this proxy, and its upstream."""
        upstream, port = proxy.upstreams[self.protocol], proxy.ports[self.protocol]
        return LoadGenerator(self.protocol, upstream, port, self.connections, tls=self.tls, size=self.size)


class Row(msgspec.Struct):
    """One proxy; times in microseconds of CPU per request, a figure per round."""

    proxy: str
    version: str
    rounds: list[float] = []
    rates: list[float] = []
    errors: int = 0

    @property
    def best(self) -> float:
        """Mean of the best fifth of the rounds."""
        return best(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def rate(self) -> float:
        """Requests a second, median."""
        return statistics.median(self.rates)


def best(rounds: list[float]) -> float:
    """Mean of the best fifth."""
    return statistics.fmean(sorted(rounds)[: max(1, len(rounds) // 5)])


class Comparison(msgspec.Struct):
    """All proxies with the same kind of load."""

    what: str
    rows: list[Row]

    def ratio(self, row: Row) -> float | None:
        """Best fifth, as a multiple of nginx's."""
        for other in self.rows:
            if other.proxy == BASE:
                return row.best / other.best
        return None


class Result(msgspec.Struct):
    """Everything of one run."""

    comparisons: list[Comparison]
    missing: dict[str, str]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    with Hall() as hall:
        proxies = {proxy.name: proxy for proxy in hall.everybody()}
        loads = [Load(protocol, protocol) for protocol in plan.protocols]
        comparisons = [compare(load, proxies, plan.rounds, plan.seconds, say) for load in loads]
        return Result(comparisons, hall.missing)


def compare(
    load: Load, proxies: Mapping[str, Proxy], rounds: int, seconds: float, say: Callable[[str], None]
) -> Comparison:
    """A row for each proxy, named by its key."""
    rows = [Row(name, proxy.version) for name, proxy in proxies.items()]
    with ExitStack() as exits:
        stands = []
        for row, proxy in zip(rows, proxies.values(), strict=True):
            generator = load.on(proxy)
            exits.callback(generator.close)
            stands.append((proxy, generator, row))
        for _, generator, _ in stands:
            generator.connect()
        for number in range(rounds):
            first = number % len(stands)  # nobody always comes after the same one
            for proxy, generator, row in [*stands[first:], *stands[:first]]:
                _window(proxy, generator, row, seconds)
            figures = ", ".join(f"{row.proxy} {row.rounds[-1]:.1f}" for row in rows[:SHOWN])
            say(f"{load.what}, round {number + 1} of {rounds}: {figures} us")
    return Comparison(load.what, rows)


def _window(proxy: Proxy, load: LoadGenerator, row: Row, seconds: float) -> None:
    """Load this one for a moment and add its figures."""
    load.load(load.connections)
    time.sleep(WARM)
    load.reset()
    before = cpu_us(proxy.pid)
    time.sleep(seconds)
    eventually(lambda: load.report().answers, within=PATIENCE, what=f"{proxy.name} answers")
    report = load.report()
    spent = cpu_us(proxy.pid) - before
    load.load(0)
    row.rounds.append(spent / report.answers)
    row.rates.append(report.answers / report.seconds)
    row.errors += report.errors + report.closed
