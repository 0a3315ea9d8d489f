"""What `hotswap top` shows, made of two looks at the metrics: rates, latencies, connections, endpoints, processes.

No I/O and no clock: a look brings the moment at which it was taken. Rates are per second between the two looks;
durations are quantiles of what was observed in between, interpolated in their bucket as by ``histogram_quantile`` of
Prometheus.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shm_metrics import Collected

QUANTILES: Final = (0.5, 0.9, 0.99)
FAILED: Final = frozenset({"5xx", "error"})

Labels = dict[str, str]


@dataclass(frozen=True)
class Traffic:
    """Requests of one listener or cluster, or of all of them."""

    rate: float = 0.0
    failed: float = 0.0
    """The share of them that failed, 0 to 1."""
    quantiles: tuple[float | None, ...] = (None,) * len(QUANTILES)
    """Seconds, for each of QUANTILES; None: nothing was observed."""


@dataclass(frozen=True)
class Group:
    """A listener or a cluster."""

    name: str
    traffic: Traffic
    connections: int
    idle: int = 0
    """Of the connections of a cluster: waiting in its pool."""
    healthy: int = 0
    endpoints: int = 0
    troubles: dict[str, float] = field(default_factory=dict)
    """What went wrong, a second, by what it was."""


@dataclass(frozen=True)
class Using:
    """A living generation."""

    generation: str
    cpu: float | None
    """Share of one core; None: not known yet."""
    resident: float
    descriptors: float


@dataclass(frozen=True)
class Picture:
    """One picture."""

    generation: int
    traffic: Traffic
    received: float
    """Bytes a second from clients."""
    sent: float
    fresh: float
    """New connections a second."""
    connections: dict[tuple[str, str], int]
    """By protocol and encryption."""
    listeners: list[Group]
    clusters: list[Group]
    processes: list[Using]
    seconds: float
    """Between the two looks; 0: there was only one."""


class Look:
    """All values at one moment: `at` in seconds of any clock that goes on."""

    def __init__(self, families: Iterable[Collected], at: float) -> None:
        self.at = at
        self._families = {shape.name: (shape, members) for shape, members in families}

    def members(self, name: str) -> list[tuple[Labels, list[float]]]:
        """Labels and cells of each member of that family; none if there is no such family."""
        if name not in self._families:
            return []
        shape, members = self._families[name]
        return [(dict(zip(shape.labels, one.values, strict=True)), one.cells) for one in members]

    def bounds(self, name: str) -> tuple[float, ...]:
        """Those of a histogram's buckets."""
        return self._families[name][0].bounds if name in self._families else ()

    def sum(self, name: str, which: Callable[[Labels], bool] = lambda _: True) -> float:
        """Of the values of the members that `which` takes."""
        return sum(cells[0] for labels, cells in self.members(name) if which(labels))

    def buckets(self, name: str, which: Callable[[Labels], bool]) -> list[float]:
        """Those of these members added up, not cumulative."""
        rows = [cells[1:] for labels, cells in self.members(name) if which(labels)]
        return [sum(column) for column in zip(*rows, strict=True)]


def picture(before: Look | None, now: Look) -> Picture:
    """What happened between two looks; of one alone only what is now."""
    seconds = 0.0 if before is None else max(now.at - before.at, 1e-9)
    between = _Between(before, now, seconds)
    connections: Counter[tuple[str, str]] = Counter()
    for labels, cells in now.members("hotswap_downstream_connections_active"):
        connections[labels["protocol"], labels["encryption"]] += round(cells[0])
    return Picture(
        generation=round(now.sum("hotswap_generation")),
        traffic=between.traffic("hotswap_requests_total", "hotswap_request_duration_seconds", _every),
        received=between.rate("hotswap_downstream_received_bytes_total"),
        sent=between.rate("hotswap_downstream_sent_bytes_total"),
        fresh=between.rate("hotswap_downstream_connections_total"),
        connections=dict(sorted(connections.items())),
        listeners=[between.listener(name) for name in _names(now, "hotswap_downstream_connections_active", "listener")],
        clusters=[between.cluster(name) for name in _names(now, "hotswap_upstream_healthy", "cluster")],
        processes=between.processes(),
        seconds=seconds,
    )


def quantile(share: float, bounds: tuple[float, ...], counts: list[float]) -> float | None:
    """The value that this `share` of observations is not above; None without any. At most the last bound."""
    running = [*accumulate(counts)]
    if not running or not running[-1]:
        return None
    rank = share * running[-1]
    at = next(n for n, count in enumerate(running) if count >= rank and count)
    if at >= len(bounds):
        return bounds[-1]
    below, lower = (running[at - 1], bounds[at - 1]) if at else (0.0, 0.0)
    return lower + (bounds[at] - lower) * (rank - below) / (running[at] - below)


def _every(_labels: Labels) -> bool:
    return True


def _names(look: Look, family: str, label: str) -> list[str]:
    return sorted({labels[label] for labels, _ in look.members(family)})


class _Between:
    """Two looks."""

    def __init__(self, before: Look | None, now: Look, seconds: float) -> None:
        self._before = before
        self._now = now
        self._seconds = seconds

    def rate(self, name: str, which: Callable[[Labels], bool] = _every) -> float:
        """By how much it grew, a second."""
        if self._before is None:
            return 0.0
        return max(self._now.sum(name, which) - self._before.sum(name, which), 0.0) / self._seconds

    def traffic(self, requests: str, durations: str, which: Callable[[Labels], bool]) -> Traffic:
        """Of these members of the two families."""
        rate = self.rate(requests, which)
        failed = self.rate(requests, lambda labels: which(labels) and labels["code"] in FAILED)
        counts = self._now.buckets(durations, which)
        if self._before is None:
            counts = []
        else:
            former = self._before.buckets(durations, which) or [0.0] * len(counts)
            counts = [max(one - other, 0.0) for one, other in zip(counts, former, strict=False)]
        bounds = self._now.bounds(durations)
        return Traffic(rate, failed / rate if rate else 0.0, tuple(quantile(q, bounds, counts) for q in QUANTILES))

    def listener(self, name: str) -> Group:
        """One listener."""

        def which(labels: Labels) -> bool:
            return labels["listener"] == name

        return Group(
            name,
            self.traffic("hotswap_requests_total", "hotswap_request_duration_seconds", which),
            round(self._now.sum("hotswap_downstream_connections_active", which)),
            troubles={
                "reset": self.rate("hotswap_downstream_resets_total", which),
                "refused": self.rate("hotswap_downstream_refused_total", which),
                "timed out": self.rate("hotswap_request_timeouts_total", which),
            },
        )

    def cluster(self, name: str) -> Group:
        """One cluster."""

        def which(labels: Labels) -> bool:
            return labels["cluster"] == name

        def idle(labels: Labels) -> bool:
            return which(labels) and labels["state"] == "idle"

        health = [cells[0] for labels, cells in self._now.members("hotswap_upstream_healthy") if which(labels)]
        return Group(
            name,
            self.traffic("hotswap_upstream_requests_total", "hotswap_upstream_request_duration_seconds", which),
            round(self._now.sum("hotswap_upstream_connections_active", which)),
            round(self._now.sum("hotswap_upstream_connections_active", idle)),
            round(sum(health)),
            len(health),
            {
                "not connected": self.rate("hotswap_upstream_connect_failures_total", which),
                "reset": self.rate("hotswap_upstream_resets_total", which),
                "timed out": self.rate("hotswap_upstream_timeouts_total", which),
                "retried": self.rate("hotswap_upstream_retries_total", which),
                "over limits": self.rate("hotswap_upstream_overflows_total", which),
            },
        )

    def processes(self) -> list[Using]:
        """All living generations."""
        found = []
        for labels, cells in self._now.members("process_resident_memory_bytes"):
            number = labels["generation"]

            def which(labels: Labels, number: str = number) -> bool:
                return labels["generation"] == number

            known = self._before is not None and self._before.sum("process_start_time_seconds", which) > 0
            cpu = self.rate("process_cpu_seconds_total", which) if known else None
            found.append(Using(number, cpu, cells[0], self._now.sum("process_open_fds", which)))
        return sorted(found, key=lambda one: int(one.generation))


def last_upgrade(status: dict[str, Any]) -> str:
    """One line for people of what `/status` tells of the last upgrade; empty after a cold start."""
    last = status.get("last_upgrade")
    if not last:
        return ""
    if not last.get("ok"):
        return f"failed: {last.get('message') or 'no reason known'}"
    parts = [f"{last.get('how') or 'upgrade'} to generation {last['generation']}"]
    if last.get("downtime_ms") is not None:
        parts.append(f"{last['downtime_ms']:.1f} ms downtime")
    if last.get("connections") is not None:
        parts.append(f"{last['connections']} connections moved")
    return ", ".join(parts)
