"""What an upgrade costs those who are connected: downtime by phase, and the stall that a busy connection sees.

The stall is the longest gap between two answers on any busy connection in the window of an upgrade, less the same
figure of a window of equal length without one.

And what it costs the machine: the CPU of both generations, less what serving takes in a window without an upgrade, and
the memory of both together. Weighing takes the kernel a while and would show as a stall, so it has upgrades of its own.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol, Report, Tls
from tests.bench.machine import family, memory, ticks
from tests.bench.proxies import Hall, Proxy
from tests.kit.offspring import wait_for_end
from tests.kit.processes import Instance, finish_upgrade

AFTERWARDS = 0.25  # seconds that belong to the window after the command ended
BETWEEN = 0.005  # seconds between two looks at the memory
PATIENCE = 60.0  # seconds for a source to end once it gave everything away


class Plan(msgspec.Struct):
    """Which mixtures to measure."""

    connections: tuple[int, ...] = (100, 1000, 9000)
    busy_percent: tuple[int, ...] = (1, 10, 100)
    upgrades: int = 20
    weighed: int = 2  # upgrades more, whose memory is looked at
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
    stall_p99: list[float] = []  # as the stall, but of the 99th percentile of the busy connections
    cpu: list[float] = []  # seconds of both generations, less what serving took
    command: list[float] = []  # seconds of CPU of the command that ordered it
    before: list[int] = []  # bytes of memory (PSS) of the one generation that serves
    peak: list[int] = []  # the most that both have together during an upgrade


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
    assert proxy.instance is not None
    load.load(busy, rate)
    length = 1.0
    time.sleep(1.0)
    for number in range(plan.upgrades):
        length = _upgrade(proxy.instance, load, row, _without(proxy.instance, load, length))
        if row.downtime:
            say(
                f"{load.connections} connections, {busy} busy, upgrade {number + 1} of {plan.upgrades}: "
                f"downtime {row.downtime[-1]:.1f} ms, stall {row.stall[-1]:.1f} ms, CPU {row.cpu[-1]:.2f} s"
            )
    for _ in range(plan.weighed):
        _weigh(proxy.instance, row)
    load.load(0)
    row.lost = load.sweep()
    return row


class Control(msgspec.Struct):
    """A window without an upgrade."""

    report: Report
    cpu: float  # seconds that serving took


def _without(instance: Instance, load: LoadGenerator, seconds: float) -> Control:
    pid = instance.status().pid
    load.reset()
    spent = sum(ticks(pid))
    time.sleep(seconds)
    return Control(load.report(), sum(ticks(pid)) - spent)


def _upgrade(instance: Instance, load: LoadGenerator, row: Row, control: Control) -> float:
    """One upgrade under load; the length of its window in seconds."""
    source = instance.status().pid
    load.reset()
    spent, ordered = sum(ticks(source)), _commands()
    began = time.monotonic()
    upgrade = instance.upgrade(within=120)
    row.seconds.append(time.monotonic() - began)
    ordered = _commands() - ordered
    time.sleep(AFTERWARDS)
    report = load.report()
    if upgrade.exit_code != 0:
        row.failed += 1
        row.problems.append(upgrade.message)
        return report.seconds
    row.downtime.append(float(upgrade.result["downtime_ms"]))
    for phase, milliseconds in upgrade.result.get("phases", {}).items():
        row.phases.setdefault(phase, []).append(float(milliseconds))
    row.stall.append(report.gap_ms - control.report.gap_ms)
    row.stall_p99.append(report.gap_p99_ms - control.report.gap_p99_ms)
    row.slowest.append(report.worst_us / 1000)
    row.lost += report.errors
    destination = sum(ticks(instance.status().pid))  # first: the source has nothing to do any more
    wait_for_end(source, within=PATIENCE)
    serving = control.cpu * report.seconds / control.report.seconds
    row.cpu.append(sum(ticks(source)) - spent + destination - serving)
    row.command.append(ordered)
    return report.seconds


def _commands() -> float:
    """Seconds of CPU of the commands that this process waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _weigh(instance: Instance, row: Row) -> None:
    """One upgrade that is weighed all the time; only who may look at a process with TLS can do so."""
    source = instance.status().pid
    try:
        before = memory(source).pss
    except PermissionError:
        return
    attempt = instance.start_upgrade()
    peak = 0
    while attempt.poll() is None:
        peak = max(peak, _together(source))
        time.sleep(BETWEEN)
    upgrade = finish_upgrade(attempt)
    wait_for_end(source, within=PATIENCE)
    if upgrade.exit_code == 0:
        row.before.append(before)
        row.peak.append(peak)
    else:
        row.failed += 1
        row.problems.append(upgrade.message)


def _together(source: int) -> int:
    """Bytes (PSS) of a generation and of what it started; 0 once it ends and so takes its memory apart."""
    try:
        return sum(memory(pid).pss for pid in family(source))
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return 0


def median_and_worst(figures: list[float]) -> tuple[float, float]:
    """Of no figures: not a number."""
    return (statistics.median(figures), max(figures)) if figures else (float("nan"), float("nan"))
