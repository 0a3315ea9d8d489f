"""What thousands of idle connections cost: memory for each, and CPU and memory while a few others are busy.

All proxies have their idle connections at the same time, and the busy ones are measured in turn in every round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.machine import Memory, cpu_us, memory
from tests.bench.proxies import Hall, Proxy

OTHERS = 16  # connections that are busy
RATE = 500.0  # requests a second over them
WARM = 0.25  # seconds of load before a window begins


class Kind(msgspec.Struct, frozen=True):
    """What is idle."""

    what: str
    protocol: Protocol
    tls: Tls | None = None


KINDS = (
    Kind("TCP relay", "echo"),
    Kind("HTTP/1.1 keep-alive", "http"),
    Kind("HTTP/1.1 keep-alive, TLS 1.3", "http", Tls("1.3")),
)


class Plan(msgspec.Struct):
    """How many to open, and how long to measure. Relayed, a connection takes two descriptors of the proxy."""

    connections: int = 9000
    rounds: int = 4
    seconds: float = 2.0
    settle: float = 1.0  # seconds for a proxy to give back what it needed only to accept, or to shake hands
    kinds: tuple[Kind, ...] = KINDS


class Row(msgspec.Struct):
    """One proxy."""

    proxy: str
    version: str
    before: Memory  # with the busy connections alone
    after: Memory  # with the idle ones
    busy: Memory  # at the end, with both
    alone: list[float] = []  # CPU in milliseconds a second of the busy connections without the idle ones, by round
    beside: list[float] = []  # the same with them
    errors: int = 0
    lost: int = 0  # idle connections that were not there any more at the end

    def each(self, connections: int) -> tuple[float, float]:
        """Bytes an idle connection, RSS and PSS."""
        more = self.after - self.before
        return more.rss / connections, more.pss / connections

    @property
    def cpu(self) -> tuple[float, float]:
        """Milliseconds of CPU a second: without the idle connections, and with them."""
        return statistics.median(self.alone), statistics.median(self.beside)


class Table(msgspec.Struct):
    """All proxies with the same kind of connections."""

    kind: Kind
    connections: int
    rows: list[Row]


class Result(msgspec.Struct):
    """Everything of one run."""

    tables: list[Table]
    missing: dict[str, str]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    tables = []
    missing: dict[str, str] = {}
    for kind in plan.kinds:
        with Hall(tls=kind.tls is not None) as hall:  # fresh processes, with nothing freed that others could fill
            tables.append(Table(kind, plan.connections, _rows(kind, hall.everybody(), plan, say)))
            missing |= hall.missing
    return Result(tables, missing)


def _rows(kind: Kind, proxies: list[Proxy], plan: Plan, say: Callable[[str], None]) -> list[Row]:
    with ExitStack() as exits:

        def clients(proxy: Proxy, connections: int, *, upstream: bool) -> LoadGenerator:
            port = proxy.upstreams[kind.protocol] if upstream else None
            load = LoadGenerator(kind.protocol, port, proxy.ports[kind.protocol], connections, tls=kind.tls)
            exits.callback(load.close)
            return load.connect()

        others = [clients(proxy, OTHERS, upstream=True) for proxy in proxies]
        alone = _rounds(proxies, others, plan)
        rows, idle = [], []
        for proxy, figures in zip(proxies, alone, strict=True):
            before = memory(proxy.pid)
            idle.append(clients(proxy, plan.connections, upstream=False))
            time.sleep(plan.settle)
            after = memory(proxy.pid)
            rows.append(Row(proxy.name, proxy.version, before, after, after, figures))
            rss, pss = rows[-1].each(plan.connections)
            say(f"{kind.what}, {proxy.name}: {rss:.0f} bytes (RSS), {pss:.0f} (PSS) a connection")
        beside = _rounds(proxies, others, plan)
        for row, proxy, figures, load, still in zip(rows, proxies, beside, others, idle, strict=True):
            row.busy, row.beside, row.lost = memory(proxy.pid), figures, still.report().closed
            report = load.report()
            row.errors = report.errors + report.closed
            say(f"{kind.what}, {proxy.name}: {row.cpu[0]:.1f} ms of CPU a second, {row.cpu[1]:.1f} beside idle ones")
        return rows


def _rounds(proxies: list[Proxy], loads: list[LoadGenerator], plan: Plan) -> list[list[float]]:
    """Milliseconds of CPU a second under the few busy connections, a list for each proxy."""
    figures: list[list[float]] = [[] for _ in proxies]
    stands = list(zip(proxies, loads, figures, strict=True))
    for number in range(plan.rounds):
        first = number % len(stands)  # nobody always comes after the same one
        for proxy, load, mine in [*stands[first:], *stands[:first]]:
            load.load(OTHERS, RATE)
            time.sleep(WARM)
            began, before = time.monotonic(), cpu_us(proxy.pid)
            time.sleep(plan.seconds)
            mine.append((cpu_us(proxy.pid) - before) / 1000 / (time.monotonic() - began))
            load.load(0)
    return figures
