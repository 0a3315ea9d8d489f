"""Judges a release in its bake, by what was counted before it and since. Values and rules; nothing here asks anybody.

    baseline = baseline.add(vitals)                     # every few seconds while all is well
    bake = begin(policy, baseline, vitals, now)         # as the release begins to serve; can be written down as JSON
    verdict = bake.judge(vitals, deaths, health, now)   # again and again, until it is no `GoingOn`

    crashes        deaths and bugs that showed: at once
    no answer      the sidecar hangs by its health checks: at once
    error_rate     the share of failed requests since the upgrade, once there were `min_requests`; as it is, not beside
                   what it was before, which the text tells
    p99_latency    as a multiple of what it was before; see below

A percentile of few requests in buckets of factor 2 jitters: one slow request among twenty is a 99th percentile, and
one that takes 103 ms instead of 100 may be told as 200. So it takes more than a percentile above the limit (the
multiple of the one before). With n requests timed before the upgrade and m since:

    surely slow    those of the m in buckets that lie above the limit whole; what shares a bucket with it does not count
    share          of requests that may be slower than the limit with nothing changed: 1 %, as the limit is at least
                   the 99th percentile, or as many as were that slow before; and what n requests cannot tell from
                   that: 5 more of n, for what happens to 5 of n on the average is not seen with a chance of 1 in 150
    condemned      if the surely slow are twice that share of m or more, and chance had given so many less than once in
                   10000 looks: m * KL(slow / m || share) >= ln 10000, Chernoff's bound of the binomial distribution,
                   https://en.wikipedia.org/wiki/Chernoff_bound

With 1000 requests before, 5 of 20 have to be slow, or 35 of 1000; with a million before, 2 % of a million.
What is seen for sure is a change of two buckets, four times as slow; a smaller one depends on where in its bucket the
percentile was.
"""

from __future__ import annotations

from math import inf, log
from typing import Final

import msgspec

from vm_agent.lifecycle.health import Health
from vm_agent.lifecycle.vitals import TALLY, Vitals
from vm_agent.spec.model import AbortIf, UpgradePolicy

WINDOW: Final = 300.0
"""Seconds that a baseline looks back, if there was traffic."""
LONGEST: Final = 3600.0
"""Seconds that it does at most, until it has seen `ENOUGH`."""
ENOUGH: Final = 1000
"""Timed requests, from which on an older one tells nothing more."""
SPACING: Final = 10.0
"""Seconds between two samples that are kept."""

_P99: Final = 0.99
_UNSEEN: Final = 5
_MARGIN: Final = 2.0
_CHANCE: Final = log(10_000)


class Baseline(msgspec.Struct, frozen=True):
    """Samples of the counters while the release from before served; the first is what the last is compared with.

    To begin anew with each release. It looks back `WINDOW` seconds, or as long as it takes to `ENOUGH` requests, but
    not longer than `LONGEST`: where hardly anybody asks, an old hour says more than five quiet minutes.
    """

    samples: tuple[Vitals, ...] = ()

    def add(self, sample: Vitals) -> Baseline:
        """With one sample more. Counters that began anew are a new beginning."""
        there = self.samples
        if there and (there[-1].origin != sample.origin or there[-1].requests > sample.requests):
            return Baseline((sample,))
        if len(there) > 1 and there[-1].at - there[-2].at < SPACING:
            there = there[:-1]
        there = (*there, sample)
        while len(there) > 2 and _superfluous(there[1], sample):
            there = there[1:]
        return Baseline(there)

    @property
    def before(self) -> Vitals | None:
        """What happened over all of it; None: fewer than two samples."""
        return self.samples[-1].since(self.samples[0]) if len(self.samples) > 1 else None


def _superfluous(second: Vitals, last: Vitals) -> bool:
    """What lies before the second sample says nothing more."""
    span = last.at - second.at
    return span >= LONGEST or (span >= WINDOW and last.since(second).timed.total >= ENOUGH)


class GoingOn(msgspec.Struct, frozen=True, tag="going on"):
    """Nothing to say yet."""

    text: str = ""


class Passed(msgspec.Struct, frozen=True, tag="passed"):
    """It may stay."""

    text: str
    """With the figures, and with what could not be judged."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It is to be taken back."""

    text: str
    """With the figures, and with what is allowed."""


Verdict = GoingOn | Passed | Failed


class Bake(msgspec.Struct, frozen=True, kw_only=True):
    """What a release is judged by, to be written down when its bake begins. Clocks are those of whoever says `now`."""

    abort_if: AbortIf
    min_requests: int
    until: float
    before: Vitals | None = None
    """What happened over the baseline."""
    start: Vitals | None = None
    """The counters when the bake began; None: they could not be read."""

    def judge(self, counted: Vitals | None, deaths: int, health: Health | None, now: float) -> Verdict:
        """See `judge`. `counted`: the counters now; None: they cannot be read."""
        since = self._since(counted)
        return judge(self.abort_if, self.min_requests, self.before, since, deaths, health, now, self.until)

    def _since(self, counted: Vitals | None) -> Vitals | None:
        if counted is None:
            return None
        if self.start is not None:
            return counted.since(self.start)
        return counted if TALLY in counted.origin else None  # how much of it is since then nobody knows


def begin(policy: UpgradePolicy, baseline: Baseline, start: Vitals | None, now: float) -> Bake:
    """The bake of a release that serves since now."""
    return Bake(
        abort_if=policy.abort_if,
        min_requests=policy.min_requests,
        until=now + policy.bake,
        before=baseline.before,
        start=start,
    )


def judge(
    abort_if: AbortIf,
    min_requests: int,
    before: Vitals | None,
    since: Vitals | None,
    deaths: int,
    health: Health | None,
    now: float,
    until: float,
) -> Verdict:
    """The verdict on a release.

    `before` and `since`: what happened before the upgrade and since then, None if that is not known. `deaths`: of its
    processes since then. `health`: by the checks since then. It passes at `until`, or at the first look after that.
    """
    wrong = (
        _crashes(abort_if, since, deaths)
        or _silence(health)
        or _error_rate(abort_if, min_requests, before, since)
        or _latency(abort_if, min_requests, before, since)
    )
    if wrong:
        return Failed(wrong)
    if now < until:
        return GoingOn()
    return Passed("; ".join(_praise(abort_if, min_requests, before, since, deaths, health)))


def _crashes(abort_if: AbortIf, since: Vitals | None, deaths: int) -> str:
    bugs = 0 if since is None else since.crashes
    if abort_if.crashes is None or deaths + bugs < abort_if.crashes:
        return ""
    found = f"crashes {deaths + bugs} ({_count(deaths, 'death')}, {_count(bugs, 'bug')})"
    return f"{found}, allowed are fewer than {abort_if.crashes}"


def _silence(health: Health | None) -> str:
    if health is None or not health.hangs:
        return ""
    return f"no answer to {_count(health.silent, 'health check')} in a row: {health.text}"


def _error_rate(abort_if: AbortIf, min_requests: int, before: Vitals | None, since: Vitals | None) -> str:
    if abort_if.error_rate is None or since is None or since.requests < max(min_requests, 1):
        return ""
    if since.error_rate <= abort_if.error_rate:
        return ""
    was = "" if before is None or not before.requests else f", was {before.error_rate:.2%}"
    return (
        f"error_rate {since.error_rate:.2%} ({since.failed} of {since.requests} requests){was}; "
        f"allowed is {abort_if.error_rate:.2%}"
    )


def _latency(abort_if: AbortIf, min_requests: int, before: Vitals | None, since: Vitals | None) -> str:
    multiple = abort_if.p99_latency
    if multiple is None or before is None or since is None:
        return ""
    least = max(min_requests, 1)
    was, now = before.percentile(_P99, least), since.percentile(_P99, least)
    if was is None or now is None or now <= was * multiple or not slower(before, since, was * multiple):
        return ""
    return f"p99_latency {_seconds(now)}, was {_seconds(was)}; allowed is {multiple:g}x"


def slower(before: Vitals, since: Vitals, limit: float) -> bool:
    """So many requests since are slower than `limit` seconds that neither buckets nor chance explain it, see above."""
    timed, measured = since.timed, before.timed
    n, m = measured.total, timed.total
    if not n or not m:
        return False
    normal = max(n / 100, measured.possibly_above(limit)) + _UNSEEN
    slow = timed.surely_above(limit)
    return normal < n and slow * n >= _MARGIN * normal * m and m * divergence(slow / m, normal / n) >= _CHANCE


def divergence(found: float, share: float) -> float:
    """Kullback-Leibler, of two coins, in nats: how much `found` says against a share of `share`, between 0 and 1."""
    if not 0.0 < share < 1.0:
        return 0.0 if found == share else inf
    heads = found * log(found / share) if found > 0.0 else 0.0
    tails = (1.0 - found) * log((1.0 - found) / (1.0 - share)) if found < 1.0 else 0.0
    return heads + tails


# ---- what is said of one that passed ----


def _praise(
    abort_if: AbortIf,
    min_requests: int,
    before: Vitals | None,
    since: Vitals | None,
    deaths: int,
    health: Health | None,
) -> list[str]:
    """What was judged, and what could not be."""
    if since is None:
        words = [f"passed: {_count(deaths, 'death')}; its requests were not judged: what it counts cannot be read"]
    else:
        crashes = _count(deaths + since.crashes, "crash", "crashes")
        words = [f"passed: {since.error_rate:.2%} of {_count(since.requests, 'request')} failed, {crashes}"]
        if abort_if.error_rate is not None and since.requests < min_requests:
            words.append(f"error_rate was not judged: fewer requests than {min_requests}")
        words += _latency_words(abort_if, min_requests, before, since)
    if health is not None and health.unready:
        words.append(f"not ready at the end: {health.text}")
    elif health is not None and health.silent:
        words.append(f"without an answer to {_count(health.silent, 'health check')} at the end: {health.text}")
    return words


def _latency_words(abort_if: AbortIf, min_requests: int, before: Vitals | None, since: Vitals) -> list[str]:
    if abort_if.p99_latency is None:
        return []
    least = max(min_requests, 1)
    was, now = None if before is None else before.percentile(_P99, least), since.percentile(_P99, least)
    if was is not None and now is not None:
        return [f"p99_latency {_seconds(now)}, was {_seconds(was)}"]
    found, when = (
        (0 if before is None else before.timed.total, "before") if was is None else (since.timed.total, "since")
    )
    return [f"p99_latency was not judged: {_count(found, 'request')} timed {when}, fewer than {least}"]


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def _seconds(value: float) -> str:
    """With three digits."""
    return f"{value:.3g} s" if value >= 1.0 else f"{value * 1000:.3g} ms"
