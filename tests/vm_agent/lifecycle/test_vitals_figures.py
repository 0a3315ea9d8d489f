"""Sums of what is told, differences of them, and percentiles: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shm_metrics import Collected, Member, Shape, exponential, plain
from shm_metrics.exposition import Exposition
from vm_agent.lifecycle.vitals import TALLY, Buckets, Vitals, of_families, tallied, told

BOUNDS = (0.1, 0.2, 0.4)


def family(name: str, labels: tuple[str, ...], members: Mapping[Any, float]) -> Collected:
    return Collected(Shape(name, "counter", "x", labels), [Member(one, [value]) for one, value in members.items()])


def durations(name: str, labels: tuple[str, ...], members: Mapping[Any, list[float]]) -> Collected:
    shape = Shape(name, "histogram", "x", labels, BOUNDS)
    return Collected(shape, [Member(values, [1.0, *cells]) for values, cells in members.items()])


REQUESTS = family(
    "hotswap_requests_total",
    ("listener", "route", "code"),
    {
        ("a", "/", "2xx"): 5.0,
        ("a", "/", "4xx"): 3.0,
        ("a", "/", "5xx"): 2.0,
        ("b", "", "ok"): 7.0,
        ("b", "", "error"): 1.0,
    },
)
CONNECTIONS = family(
    "hotswap_downstream_connections_total",
    ("listener", "protocol", "encryption"),
    {("a", "http1", "plain"): 50.0, ("c", "tcp", "plain"): 4.0, ("c", "tcp", "tls"): 1.0, ("b", "bolt", "tls"): 9.0},
)
FAILURES = family(
    "hotswap_downstream_failures_total",
    ("listener", "reason"),
    {("a", "broken_off"): 1.0, ("c", "no_endpoint"): 2.0},
)
BUGS = family("hotswap_bugs_total", (), {(): 3.0})


def found(*families: Collected) -> Vitals:
    vitals = of_families(families, 1.0)
    assert vitals is not None
    return vitals


def test_sums_are_by_the_table() -> None:
    vitals = found(REQUESTS, CONNECTIONS, FAILURES, BUGS)
    assert (vitals.requests, vitals.failed, vitals.crashes) == (18 + 5, 3 + 3, 3)
    assert found(REQUESTS).failed == 3
    assert found(CONNECTIONS).requests == 5


def test_calls_of_bolt_are_timed_at_their_endpoints() -> None:
    here = durations("hotswap_request_duration_seconds", ("listener", "route"), {("a", "/"): [1, 2, 3, 4]})
    there = durations(
        "hotswap_upstream_request_duration_seconds",
        ("cluster", "endpoint"),
        {("app", "x"): [100, 0, 0, 0], ("calls", "x"): [0, 0, 0, 6], ("calls", "y"): [1, 0, 0, 0]},
    )
    labels = ("cluster", "endpoint", "code")
    answers = {("app", "x", "2xx"): 100.0, ("calls", "x", "ok"): 6.0, ("calls", "x", "error"): 0.0}
    spoken = family("hotswap_upstream_requests_total", labels, answers)
    assert found(REQUESTS, here, there, spoken).latency == (Buckets(BOUNDS, (2, 2, 3, 10)),)


def test_the_same_in_json() -> None:
    families = [REQUESTS, CONNECTIONS, FAILURES, BUGS]
    body = b"".join(Exposition().pieces(families, "json"))
    assert plain.parsed(body) != []
    assert told(body, 1.0) == msgspec.structs.replace(found(*families), origin="GET /metrics")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"families":[]}', b'{"families":[{"name":1}]}'])
def test_what_is_no_metrics_of_a_proxy_is_none(body: bytes) -> None:
    assert told(body, 1.0) is None


@pytest.mark.parametrize(
    "baking",
    [None, 5, "x", {}, {"requests": "9", "failed": 0, "crashes": 0}, {"requests": -1, "failed": 0, "crashes": 0}],
)
def test_a_tally_that_makes_no_sense_is_none(baking: object) -> None:
    assert tallied({"baking": baking, "generation": 3}, 1.0) is None


# ---- values ----


def vitals(requests: int, failed: int = 0, crashes: int = 0, at: float = 0.0, origin: str = "here") -> Vitals:
    return Vitals(requests=requests, failed=failed, crashes=crashes, at=at, origin=origin)


TALLY_2, TALLY_3 = f"{TALLY} of generation 2", f"{TALLY} of generation 3"


@pytest.mark.parametrize(
    ("earlier", "later", "figures"),
    [
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0), vitals(10, 1, 0, 9.0), (0, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(4, 0, 0, 9.0), (4, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0, "there"), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0), vitals(4, 0, 0, 9.0, "there"), (0, 0, 0)),
        (vitals(10, 1, 0, 5.0), vitals(30, 4, 2, 9.0, TALLY_3), (30, 4, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_2), vitals(30, 4, 2, 9.0, TALLY_3), (30, 4, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_3), vitals(30, 4, 2, 9.0, TALLY_3), (20, 3, 2)),
        (vitals(10, 1, 0, 5.0, TALLY_3), vitals(30, 4, 2, 9.0), (0, 0, 0)),
    ],
)
def test_a_difference_is_never_negative(earlier: Vitals, later: Vitals, figures: tuple[int, int, int]) -> None:
    since = later.since(earlier)
    assert (since.requests, since.failed, since.crashes) == figures
    assert (since.at, since.seconds) == (9.0, 4.0)


def test_buckets_are_subtracted_by_their_bounds() -> None:
    other = exponential(0.5, 2, 2)
    earlier = Vitals(at=0.0, latency=(Buckets(BOUNDS, (1, 1, 1, 1)),))
    later = Vitals(at=1.0, latency=(Buckets(BOUNDS, (1, 3, 0, 1)), Buckets(other, (1, 0, 5))))
    since = later.since(earlier)
    assert since.latency == (Buckets(BOUNDS, (0, 2, 0, 0)), Buckets(other, (1, 0, 5)))
    assert since.timed.bounds == other


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((0, 0, 0, 0), 0.99, None),
        ((100, 0, 0, 0), 0.99, 0.099),
        ((100, 0, 0, 0), 1.0, 0.1),
        ((100, 0, 0, 0), 0.0, 0.0),
        ((0, 100, 0, 0), 0.5, 0.15),
        ((50, 0, 50, 0), 0.5, 0.1),
        ((50, 0, 50, 0), 0.75, 0.3),
        ((98, 0, 0, 2), 0.99, 0.4),
        ((0, 0, 0, 7), 0.5, 0.4),
    ],
)
def test_percentiles_are_those_of_prometheus(counts: tuple[int, ...], share: float, value: float | None) -> None:
    """https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile"""
    assert Buckets(BOUNDS, counts).percentile(share) == (value if value is None else pytest.approx(value))


def test_too_few_have_no_percentile() -> None:
    few = Vitals(at=0.0, latency=(Buckets(BOUNDS, (9, 0, 0, 0)),))
    assert few.percentile(0.99, least=10) is None
    assert few.percentile(0.99, least=9) is not None
    assert Vitals(at=0.0).percentile(0.99) is None


@pytest.mark.parametrize(("value", "surely", "possibly"), [(0.0, 15, 15), (0.1, 14, 14), (0.15, 12, 14), (9.0, 0, 8)])
def test_what_is_above_a_value_for_sure_and_what_may_be(value: float, surely: int, possibly: int) -> None:
    buckets = Buckets(BOUNDS, (1, 2, 4, 8))
    assert buckets.surely_above(value) == surely
    assert buckets.possibly_above(value) == possibly


def test_vitals_can_be_written_down(tmp_path: Path) -> None:
    one = Vitals(requests=5, failed=1, crashes=2, latency=(Buckets(BOUNDS, (1, 2, 4, 8)),), at=3.5, origin="here")
    file = tmp_path / "vitals.json"
    file.write_bytes(msgspec.json.encode(one))
    assert msgspec.json.decode(file.read_bytes(), type=Vitals) == one
