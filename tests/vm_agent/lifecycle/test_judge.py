"""What condemns a release and what does not: figures in, a verdict with its text out."""

from __future__ import annotations

import random
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest

from shm_metrics import exponential
from vm_agent.lifecycle import judge as module
from vm_agent.lifecycle.health import Health
from vm_agent.lifecycle.judge import Bake, Baseline, Failed, GoingOn, Passed, Verdict, begin, judge, slower
from vm_agent.lifecycle.vitals import TALLY, Buckets, Vitals
from vm_agent.spec.model import AbortIf, UpgradePolicy

BOUNDS = exponential(0.0001, 2, 18)
UNTIL = 60.0
ALL = AbortIf(error_rate=0.01, p99_latency=2.0, crashes=1)


def vitals(requests: int = 0, failed: int = 0, crashes: int = 0, at: float = 0.0, **changes: Any) -> Vitals:
    return Vitals(requests=requests, failed=failed, crashes=crashes, at=at, **changes)


def timed(*times: tuple[float, int], at: float = 0.0, before: int = 0, bounds: tuple[float, ...] = BOUNDS) -> Vitals:
    """So many requests that took so many seconds."""
    counts = [0] * (len(bounds) + 1)
    for seconds, count in times:
        counts[sum(bound < seconds for bound in bounds)] += count
    requests = before + sum(count for _, count in times)
    return vitals(requests, at=at, latency=(Buckets(bounds, tuple(counts)),))


def verdict(
    since: Vitals | None,
    before: Vitals | None = None,
    abort_if: AbortIf = ALL,
    *,
    deaths: int = 0,
    health: Health | None = None,
    now: float = 30.0,
) -> Verdict:
    return judge(abort_if, 20, before, since, deaths, health, now, UNTIL)


HUNG = Health(3, silent=3, checks=9, text="/ready: no answer within 1 s")


@pytest.mark.parametrize("abort_if", [AbortIf(crashes=1), AbortIf(crashes=2), AbortIf(crashes=None)])
@pytest.mark.parametrize(("deaths", "bugs"), [*product(range(3), range(3))])
def test_crashes_condemn_at_once_and_bugs_are_crashes(abort_if: AbortIf, deaths: int, bugs: int) -> None:
    allowed = abort_if.crashes
    for since in (vitals(crashes=bugs), None):
        there = deaths + (bugs if since else 0)
        found = verdict(since, abort_if=abort_if, deaths=deaths, now=0.0)
        if allowed is None or there < allowed:
            assert found == GoingOn()
        else:
            assert isinstance(found, Failed)
            assert found.text.startswith(f"crashes {there} (")
            assert found.text.endswith(f", allowed are fewer than {allowed}")


def test_crashes_are_told_by_kind() -> None:
    assert verdict(vitals(crashes=2), deaths=1) == Failed("crashes 3 (1 death, 2 bugs), allowed are fewer than 1")


@pytest.mark.parametrize(
    ("requests", "failed", "condemned"),
    [
        (0, 0, False),
        (19, 19, False),
        (20, 0, False),
        (20, 1, True),
        (100, 1, False),
        (100, 2, True),
        (10_000, 100, False),
        (10_000, 101, True),
    ],
)
def test_error_rate_counts_from_enough_requests_on(requests: int, failed: int, condemned: bool) -> None:
    found = verdict(vitals(requests, failed))
    assert isinstance(found, Failed if condemned else GoingOn)
    assert verdict(vitals(requests, failed), abort_if=AbortIf(error_rate=None)) == GoingOn()


def test_error_rate_tells_what_it_was_before() -> None:
    assert verdict(vitals(500, 21)) == Failed("error_rate 4.20% (21 of 500 requests); allowed is 1.00%")
    assert verdict(vitals(500, 21), vitals(1000, 2)) == Failed(
        "error_rate 4.20% (21 of 500 requests), was 0.20%; allowed is 1.00%"
    )


def test_latency_tells_both_percentiles() -> None:
    before, since = timed((0.06, 1000)), timed((0.06, 500), (0.3, 500))
    assert verdict(since, before) == Failed("p99_latency 406 ms, was 102 ms; allowed is 2x")
    slow = timed((0.06, 500), (5.0, 500))
    assert verdict(slow, before) == Failed("p99_latency 6.49 s, was 102 ms; allowed is 2x")
    assert verdict(slow, before, AbortIf(p99_latency=None)) == GoingOn()
    assert verdict(slow, before, AbortIf(p99_latency=100.0)) == GoingOn()


def test_latency_needs_enough_requests_on_both_sides() -> None:
    many, few, slow = timed((0.06, 1000)), timed((0.06, 19)), timed((3.0, 1000))
    assert isinstance(verdict(slow, many), Failed)
    for before, since in ((few, slow), (None, slow), (many, timed((3.0, 19))), (many, None), (many, vitals(1000))):
        assert verdict(since, before) == GoingOn()


@pytest.mark.parametrize("edge", range(6, 12))
@pytest.mark.parametrize("multiple", [1.1, 1.5, 2.0, 3.0])
def test_a_value_that_steps_over_the_edge_of_a_bucket_condemns_nobody(edge: int, multiple: float) -> None:
    """All requests took a bit less than the edge before, and take a bit more now. The percentile doubles."""
    before, since = timed((BOUNDS[edge] * 0.999, 100_000)), timed((BOUNDS[edge] * 1.001, 100_000))
    was, now = before.percentile(0.99), since.percentile(0.99)
    assert was is not None
    assert now is not None
    assert now / was > 1.9
    assert verdict(since, before, AbortIf(p99_latency=multiple)) == GoingOn()


@pytest.mark.parametrize("multiple", [2.0, 4.0])
@pytest.mark.parametrize("at", [0.0011, 0.0012, 0.0015, 0.0016, 0.003])
def test_what_is_surely_slower_is_condemned_wherever_in_its_bucket_it_was(multiple: float, at: float) -> None:
    before, since = timed((at, 2000)), timed((at * multiple * 2.1, 2000))
    assert isinstance(verdict(since, before, AbortIf(p99_latency=multiple)), Failed)


@pytest.mark.parametrize(
    ("before", "since", "slow"), [(1000, 20, 5), (1000, 1000, 35), (100, 100, 19), (1_000_000, 1_000_000, 20_010)]
)
def test_so_many_have_to_be_slow(before: int, since: int, slow: int) -> None:
    def judged(count: int) -> bool:
        return slower(timed((0.01, before)), timed((0.01, since - count), (1.0, count)), 0.05)

    assert judged(slow)
    assert not judged(slow - 1)
    assert judged(since)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("counts", [(40, 40), (200, 100), (1000, 300), (5000, 2000)])
def test_a_release_that_does_as_well_as_the_one_before_is_not_condemned(share: float, counts: tuple[int, int]) -> None:
    """Slow ones come by chance, the same before and after. A hundred upgrades, looked at twenty times each."""
    chance = random.Random(7)

    def some(count: int) -> list[tuple[float, int]]:
        slow = sum(chance.random() < share for _ in range(count))
        return [(0.01, count - slow), (1.0, slow)]

    condemned = 0
    for _ in range(100):
        before = timed(*some(counts[0]))
        fast = slow = 0
        for _ in range(20):
            (_, more), (_, late) = some(counts[1] // 20)
            fast, slow = fast + more, slow + late
            if isinstance(verdict(timed((0.01, fast), (1.0, slow)), before), Failed):
                condemned += 1
                break
    assert condemned == 0


def test_slower_than_the_largest_bucket_before_says_nothing() -> None:
    assert verdict(timed((20.0, 1000)), timed((20.0, 1000))) == GoingOn()
    assert verdict(timed((20.0, 1000)), timed((0.1, 1000))) != GoingOn()


def test_other_buckets_than_before_are_compared_by_what_they_mean() -> None:
    coarse = exponential(0.001, 3, 12)
    before = timed((0.05, 1000))
    assert verdict(timed((0.05, 1000), bounds=coarse), before) == GoingOn()
    assert isinstance(verdict(timed((1.0, 1000), bounds=coarse), before), Failed)


@pytest.mark.parametrize("silent", range(5))
def test_one_that_hangs_is_condemned_and_one_that_is_not_ready_is_not(silent: int) -> None:
    found = verdict(vitals(), health=Health(3, silent=silent, checks=9, text="/ready: no answer within 1 s"))
    text = f"no answer to {silent} health checks in a row: /ready: no answer within 1 s"
    assert found == (Failed(text) if silent >= 3 else GoingOn())
    assert verdict(vitals(), health=Health(3, unready=50, checks=50, text="/ready: 503")) == GoingOn()


@pytest.mark.parametrize(("now", "kind"), [(0.0, GoingOn), (59.9, GoingOn), (60.0, Passed), (1e9, Passed)])
def test_it_passes_when_its_time_is_over_also_if_nobody_looked_meanwhile(now: float, kind: type) -> None:
    assert isinstance(verdict(vitals(100), now=now), kind)
    assert isinstance(verdict(vitals(100, 50), now=now), Failed)


ERRORS = AbortIf(error_rate=0.01)


@pytest.mark.parametrize(
    ("since", "before", "abort_if", "health", "text"),
    [
        (vitals(500, 1), None, ERRORS, None, "passed: 0.20% of 500 requests failed, 0 crashes"),
        (
            vitals(1),
            None,
            ERRORS,
            None,
            "passed: 0.00% of 1 request failed, 0 crashes; error_rate was not judged: fewer requests than 20",
        ),
        (None, None, ALL, None, "passed: 0 deaths; its requests were not judged: what it counts cannot be read"),
        (
            timed((0.06, 500)),
            timed((0.06, 9)),
            ALL,
            None,
            (
                "passed: 0.00% of 500 requests failed, 0 crashes; "
                "p99_latency was not judged: 9 requests timed before, fewer than 20"
            ),
        ),
        (
            timed((0.06, 1), before=50),
            timed((0.06, 900)),
            ALL,
            None,
            (
                "passed: 0.00% of 51 requests failed, 0 crashes; "
                "p99_latency was not judged: 1 request timed since, fewer than 20"
            ),
        ),
        (
            timed((0.06, 500)),
            timed((0.03, 500)),
            ALL,
            None,
            "passed: 0.00% of 500 requests failed, 0 crashes; p99_latency 102 ms, was 50.9 ms",
        ),
        (
            vitals(500),
            None,
            ERRORS,
            Health(3, unready=4, checks=9, text="/ready: 503: draining"),
            "passed: 0.00% of 500 requests failed, 0 crashes; not ready at the end: /ready: 503: draining",
        ),
        (
            vitals(500),
            None,
            ERRORS,
            Health(3, silent=1, checks=9, text="/ready: no answer within 1 s"),
            (
                "passed: 0.00% of 500 requests failed, 0 crashes; "
                "without an answer to 1 health check at the end: /ready: no answer within 1 s"
            ),
        ),
    ],
)
def test_one_that_passed_says_what_was_judged_and_what_could_not_be(
    since: Vitals | None, before: Vitals | None, abort_if: AbortIf, health: Health | None, text: str
) -> None:
    assert verdict(since, before, abort_if, health=health, now=UNTIL) == Passed(text)


def test_the_gravest_reason_is_told_first() -> None:
    before, bad = timed((0.06, 1000)), timed((3.0, 1000))
    everything = msgspec.structs.replace(bad, failed=500, crashes=1)
    assert "crashes 1" in str(verdict(everything, before, health=HUNG))
    calm = msgspec.structs.replace(everything, crashes=0)
    assert "no answer to 3" in str(verdict(calm, before, health=HUNG))
    assert "error_rate" in str(verdict(calm, before))
    assert "p99_latency" in str(verdict(bad, before))


# ---- a bake ----


def test_a_bake_survives_the_judge() -> None:
    """Written down and read back it goes on as if nothing had been: to the same verdict at each moment."""
    policy = UpgradePolicy(bake=60.0, abort_if=ALL, min_requests=20)
    baseline = Baseline().add(timed((0.06, 100), at=0.0)).add(timed((0.06, 2000), at=400.0))
    bake = begin(policy, baseline, timed((0.06, 2000), at=401.0), 401.0)
    again = msgspec.json.decode(msgspec.json.encode(bake), type=Bake)
    assert again == bake
    fine = timed((0.06, 4000), at=430.0)
    slow = timed((0.06, 2000), (0.8, 2000), at=430.0)
    for counted, now in product((fine, slow, None), (430.0, 461.0)):
        assert again.judge(counted, 0, None, now) == bake.judge(counted, 0, None, now)
    assert bake.judge(fine, 0, None, 460.9) == GoingOn()
    assert bake.judge(fine, 0, None, 461.0) == Passed(
        "passed: 0.00% of 2000 requests failed, 0 crashes; p99_latency 102 ms, was 102 ms"
    )
    assert isinstance(bake.judge(slow, 0, None, 430.0), Failed)


@pytest.mark.parametrize("found", [GoingOn(), Passed("fine"), Failed("bad")])
def test_a_verdict_and_a_baseline_can_be_written_down(found: Verdict) -> None:
    assert msgspec.json.decode(msgspec.json.encode(found), type=GoingOn | Passed | Failed) == found
    baseline = Baseline().add(timed((0.06, 100), at=0.0)).add(timed((0.06, 2000), at=400.0))
    assert msgspec.json.decode(msgspec.json.encode(baseline), type=Baseline) == baseline
    health = Health(3, 1, 0, 7, "x")
    assert msgspec.json.decode(msgspec.json.encode(health), type=Health) == health


def test_without_a_beginning_only_a_tally_tells_what_is_since() -> None:
    bake = begin(UpgradePolicy(), Baseline(), None, 0.0)
    assert bake.judge(vitals(100_000, 50_000), 0, None, 1.0) == GoingOn()
    assert isinstance(bake.judge(vitals(100, 50, origin=f"{TALLY} of generation 7"), 0, None, 1.0), Failed)


# ---- what was before ----


def filled(rate: float, seconds: float, step: float = 2.0) -> Baseline:
    """So many timed requests a second, looked at every few seconds."""
    baseline, now = Baseline(), 0.0
    while now <= seconds:
        baseline = baseline.add(timed((0.06, int(rate * now)), at=now))
        now += step
    return baseline


def span(baseline: Baseline) -> float:
    return baseline.samples[-1].at - baseline.samples[0].at


def test_a_baseline_of_one_look_says_nothing() -> None:
    assert Baseline().before is None
    assert Baseline().add(vitals(5)).before is None


@pytest.mark.parametrize(
    ("rate", "seconds", "least", "most"),
    [
        (100.0, 60.0, 60.0, 60.0),  # all there is
        (100.0, 3000.0, 300.0, 311.0),
        (1.0, 3000.0, 1000.0, 1012.0),  # until there were enough
        (0.1, 9000.0, 3590.0, 3600.0),  # and not for ever
        (0.0, 9000.0, 3590.0, 3600.0),
    ],
)
def test_a_baseline_looks_back_far_enough_and_not_further(
    rate: float, seconds: float, least: float, most: float
) -> None:
    baseline = filled(rate, seconds)
    assert least <= span(baseline) <= most
    before = baseline.before
    assert before is not None
    assert before.requests == pytest.approx(rate * span(baseline), abs=1)
    assert before.seconds == span(baseline)


def test_samples_are_kept_apart_and_are_few() -> None:
    baseline = filled(0.1, 9000.0)
    assert len(baseline.samples) <= module.LONGEST / module.SPACING + 2
    gaps = [later.at - earlier.at for earlier, later in pairwise(baseline.samples[:-1])]
    assert min(gaps) >= module.SPACING


def test_counters_that_began_anew_are_a_new_baseline() -> None:
    baseline = filled(10.0, 100.0).add(timed((0.06, 5), at=102.0))
    assert [one.requests for one in baseline.samples] == [5]
    other = filled(10.0, 100.0).add(vitals(9999, at=102.0, origin="elsewhere"))
    assert len(other.samples) == 1
