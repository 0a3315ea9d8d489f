"""What a sidecar has counted, as a value: requests, those that failed, how long they took, bugs that showed.

    found = counted("hotswap-edge-0123456789", at=now)      # from its shared memory
    found = told(body, at=now)                              # from what GET /metrics answers as JSON
    found = tallied(status, at=now)                         # from GET /status, of a server that has no metrics
    found.since(before).percentile(0.99)

Counters in shared memory go on through upgrades, rollbacks and crashes, so a difference over two moments is what
happened in between, whoever served. A tally begins anew with each generation: what is told of another generation than
before is all from since then.

What counts as what is one table, `TABLE`. It says what clients saw, as the generation's own bake does (see the page
on upgrades): failed are answers of 5xx, by whomever, responses that broke off, and tcp connections without an endpoint.
In one thing it is stricter: calls of bolt that the endpoint answered by an error are failed, too, as 5xx are; the tally
of the bake has only those that the proxy answered. Who is turned away while the application is dead is in neither.

Latency is that of requests (HTTP, and calls of bolt that somebody looks at singly); of other calls of bolt that of the
endpoint, the only one there is. Endpoints speak bolt if their answers have its codes. tcp has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from shm_metrics import Collected, Shape, reading
from shm_metrics.plain import parsed

Figure = Literal["requests", "failed", "crashes", "latency"]

TABLE: Final[dict[str, tuple[tuple[Figure, str, frozenset[str]], ...]]] = {
    # family: (figure, label, values of that label that count; none: all do)
    "hotswap_requests_total": (
        ("requests", "code", frozenset()),
        ("failed", "code", frozenset({"5xx", "error"})),
    ),
    "hotswap_downstream_connections_total": (("requests", "protocol", frozenset({"tcp"})),),
    "hotswap_downstream_failures_total": (("failed", "reason", frozenset()),),
    "hotswap_bugs_total": (("crashes", "", frozenset()),),
    "hotswap_request_duration_seconds": (("latency", "", frozenset()),),
}
BOLT_ANSWERS: Final = ("hotswap_upstream_requests_total", frozenset({"ok", "error"}))
"""The family, and its codes, by which clusters that speak bolt are known."""
BOLT_DURATIONS: Final = "hotswap_upstream_request_duration_seconds"

TALLY: Final = "a tally"
"""Part of `Vitals.origin` if each generation begins anew."""


class Buckets(msgspec.Struct, frozen=True):
    """A histogram. Counts are not cumulative; there is one more than bounds: for what is above the last of them."""

    bounds: tuple[float, ...]
    """Upper bounds, seconds, ascending."""
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Observations."""
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """As ``histogram_quantile`` of Prometheus has it; None of nothing. `share`: 0 to 1.

        Linear within the bucket, from 0 in the first one. What is above the last bound is told as that bound.
        """
        rank, before = share * self.total, 0
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and before + count >= rank:
                return lower + (bound - lower) * max(rank - before, 0.0) / count
            before += count
            lower = bound
        return lower if self.total else None

    def surely_above(self, value: float) -> int:
        """How many are, whatever they were within their buckets."""
        return sum(count for lower, count in zip((0.0, *self.bounds), self.counts, strict=True) if lower >= value)

    def possibly_above(self, value: float) -> int:
        """How many may be."""
        below = sum(count for bound, count in zip(self.bounds, self.counts, strict=False) if bound <= value)
        return self.total - below

    def since(self, earlier: Buckets) -> Buckets:
        """The difference of two of the same bounds, nothing below 0."""
        counts = zip(self.counts, earlier.counts, strict=True)
        return Buckets(self.bounds, tuple(max(now - then, 0) for now, then in counts))


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """Counted up to a moment, or (`since`) between two of them."""

    requests: int = 0
    """Answered, and tcp connections that were taken on."""
    failed: int = 0
    """Those among them that failed, see above."""
    crashes: int = 0
    """Bugs that showed."""
    latency: tuple[Buckets, ...] = ()
    """One for each set of bounds that requests were ever measured with: a configuration may change them."""
    at: float
    """When, by the clock of whoever looked."""
    seconds: float = 0.0
    """Over how long, of a difference."""
    origin: str = ""
    """Where they come from."""

    @property
    def error_rate(self) -> float:
        """The share of failed requests, 0 to 1."""
        return min(self.failed / self.requests, 1.0) if self.requests else 0.0

    @property
    def timed(self) -> Buckets:
        """What most requests were measured with."""
        return max(self.latency, key=lambda one: one.total, default=Buckets((), (0,)))

    def percentile(self, share: float, least: int = 1) -> float | None:
        """Seconds, see `Buckets.percentile`; None if fewer than `least` were timed."""
        return self.timed.percentile(share) if self.timed.total >= least else None

    def since(self, earlier: Vitals) -> Vitals:
        """What happened in between. Of counters that fell it is all they have, since they began anew; never negative.

        A tally counts from its generation on: told of another one before, or of none, it is all from since then. Of a
        tally that became counters, or of counters that are read elsewhere and are less there, nothing is known: 0.
        """
        seconds = max(self.at - earlier.at, 0.0)
        same = self.origin == earlier.origin
        fell = self.requests < earlier.requests or self.failed < earlier.failed or self.crashes < earlier.crashes
        if (same and fell) or (not same and TALLY in self.origin):
            return msgspec.structs.replace(self, seconds=seconds)
        if not same and (fell or TALLY in earlier.origin):
            return Vitals(at=self.at, seconds=seconds, origin=self.origin)
        before = {one.bounds: one for one in earlier.latency}
        return msgspec.structs.replace(
            self,
            requests=self.requests - earlier.requests,
            failed=self.failed - earlier.failed,
            crashes=self.crashes - earlier.crashes,
            latency=tuple(one.since(before[one.bounds]) if one.bounds in before else one for one in self.latency),
            seconds=seconds,
        )


def counted(segment: str, at: float) -> Vitals | None:
    """From the shared memory of that name, without a trace in it; None: nobody counts there.

    Raises `shm_metrics.MetricsError`.
    """
    families = reading.collect(segment)
    return None if families is None else of_families(families, at, "shared memory")


def told(body: bytes, at: float) -> Vitals | None:
    """From what ``GET /metrics`` answers as JSON; None if that makes no sense."""
    try:
        return of_families(parsed(body), at, "GET /metrics")
    except ValueError:
        return None


def tallied(status: Mapping[str, Any], at: float) -> Vitals | None:
    """From ``GET /status``: what the generation that serves says of its bake; None if it does not bake."""
    tally = status.get("baking")
    if not isinstance(tally, Mapping):
        return None
    figures = [tally.get(key) for key in ("requests", "failed", "crashes")]
    if not all(isinstance(one, int) and one >= 0 for one in figures):
        return None
    requests, failed, crashes = (int(one or 0) for one in figures)
    origin = f"{TALLY} of generation {status.get('generation')}"
    return Vitals(requests=requests, failed=failed, crashes=crashes, at=at, origin=origin)


def of_families(families: Iterable[Collected], at: float, origin: str = "") -> Vitals | None:
    """By `TABLE`; None if none of it is there: it is not a proxy of ours."""
    there = [*families]
    sums: dict[Figure, float] = {}
    latency: dict[tuple[float, ...], list[float]] = {}
    bolt = _speakers_of_bolt(there)
    for shape, members in there:
        for figure, label, wanted in TABLE.get(shape.name, ()):
            for values, cells in members:
                if wanted and _value(shape, values, label) not in wanted:
                    continue
                if figure == "latency":
                    _add(latency, shape, cells)
                else:
                    sums[figure] = sums.get(figure, 0.0) + cells[0]
        if shape.name == BOLT_DURATIONS:
            for values, cells in members:
                if _value(shape, values, "cluster") in bolt:
                    _add(latency, shape, cells)
    if "requests" not in sums and "crashes" not in sums:
        return None
    return Vitals(
        requests=round(sums.get("requests", 0.0)),
        failed=round(sums.get("failed", 0.0)),
        crashes=round(sums.get("crashes", 0.0)),
        latency=tuple(Buckets(bounds, tuple(map(round, counts))) for bounds, counts in sorted(latency.items())),
        at=at,
        origin=origin,
    )


def _speakers_of_bolt(families: Iterable[Collected]) -> frozenset[str]:
    """The clusters."""
    name, codes = BOLT_ANSWERS
    return frozenset(
        _value(shape, values, "cluster")
        for shape, members in families
        if shape.name == name
        for values, _ in members
        if _value(shape, values, "code") in codes
    )


def _add(latency: dict[tuple[float, ...], list[float]], shape: Shape, cells: list[float]) -> None:
    """A histogram's cells: the sum, then the counts."""
    if shape.kind != "histogram" or len(cells) != len(shape.bounds) + 2:
        return
    before = latency.get(shape.bounds)
    latency[shape.bounds] = cells[1:] if before is None else [a + b for a, b in zip(before, cells[1:], strict=True)]


def _value(shape: Shape, values: tuple[str, ...], label: str) -> str:
    return values[shape.labels.index(label)] if label in shape.labels else ""
