"""What an upgrade costs those who are connected: downtime by phase, and the stall that a busy connection sees.

The stall is the longest gap between two answers on any busy connection in the window of an upgrade, less the same
figure of a window of equal length without one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.proxies import Hall, Proxy

AFTERWARDS = 0.25  # seconds that belong to the window after the command ended


class Plan(msgspec.Struct):
    """Which mixtures to measure."""

    connections: tuple[int, ...] = (100, 1000, 9000)
    busy_percent: tuple[int, ...] = (1, 10, 100)
    upgrades: int = 20
    rate: float = 10000  # requests a second in all, at most
    rate_of_one: float = 1000  # requests a second on one connection, at most
    protocol: Protocol = "echo"
    tls: Tls | None = None


class Row(msgspec.Struct):
    """One mixture; a figure per upgrade, in milliseconds."""

    protocol: Protocol
    connections: int
    busy: int
    rate: float
    downtime: list[float]
    phases: dict[str, list[float]]
    stall: list[float]
    slowest: list[float]  # the longest wait for an answer in the window
    seconds: list[float]  # from the command to its end
    lost: int = 0
    failed: int = 0
    problems: list[str] = []


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    rows = []
    for connections in plan.connections:
        with Hall(tls=plan.tls is not None) as hall:
            proxy = hall.hotswap()
            upstream, port = proxy.upstreams[plan.protocol], proxy.ports[plan.protocol]
            with LoadGenerator(plan.protocol, upstream, port, connections, tls=plan.tls) as load:
                for percent in plan.busy_percent:
                    busy = max(1, connections * percent // 100)
                    rows.append(_mixture(plan, proxy, load, busy, say))
    return Result(rows)


def _mixture(plan: Plan, proxy: Proxy, load: LoadGenerator, busy: int, say: Callable[[str], None]) -> Row:
    rate = min(plan.rate, plan.rate_of_one * busy)
    row = Row(plan.protocol, load.connections, busy, rate, [], {}, [], [], [])
    load.load(busy, rate)
    length = 1.0
    time.sleep(1.0)
    for number in range(plan.upgrades):
        control = _gap_without(load, length)
        length = _upgrade(proxy, load, row, control)
        if row.downtime:
            say(
                f"{load.connections} connections, {busy} busy, upgrade {number + 1} of {plan.upgrades}: "
                f"downtime {row.downtime[-1]:.1f} ms, stall {row.stall[-1]:.1f} ms"
            )
    load.load(0)
    row.lost = load.sweep()
    return row


def _gap_without(load: LoadGenerator, seconds: float) -> float:
    load.reset()
    time.sleep(seconds)
    return load.report().gap_ms


def _upgrade(proxy: Proxy, load: LoadGenerator, row: Row, control: float) -> float:
    """One upgrade under load; the length of its window in seconds."""
    assert proxy.instance is not None
    load.reset()
    began = time.monotonic()
    upgrade = proxy.instance.upgrade(within=120)
    row.seconds.append(time.monotonic() - began)
    time.sleep(AFTERWARDS)
    report = load.report()
    if upgrade.exit_code != 0:
        row.failed += 1
        row.problems.append(upgrade.message)
        return report.seconds
    row.downtime.append(float(upgrade.result["downtime_ms"]))
    for phase, milliseconds in upgrade.result.get("phases", {}).items():
        row.phases.setdefault(phase, []).append(float(milliseconds))
    row.stall.append(report.gap_ms - control)
    row.slowest.append(report.worst_us / 1000)
    row.lost += report.errors
    return report.seconds


def median_and_worst(figures: list[float]) -> tuple[float, float]:
    """Of no figures: not a number."""
    return (statistics.median(figures), max(figures)) if figures else (float("nan"), float("nan"))
