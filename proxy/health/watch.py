"""What is known of one endpoint's health, from the streams that use it and from checks.

    in use --anomalies in a row--> ejected --cool-down--> in use

Each kind of anomaly has a run of its own, which the matching success ends: connections that succeed say nothing about
requests that are lost. A run that takes longer than the window begins anew. Cool-downs double with each ejection
up to a limit; who then works for as long as the last one took begins at the first again.

    healthy --`unhealthy` failed checks in a row--> not --`healthy` good ones in a row--> healthy
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from proxy.state import WatchState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.config.model import HealthCheckConfig, OutlierConfig
    from proxy.health.healing import Healing
    from proxy.health.probe import Probe
    from shm_metrics import Counter

CONNECT, LOST, ERROR = range(3)
"""Kinds of anomalies: no connection; ended, or silent for too long, before the answer; answered by an error."""


class Watch:
    """One endpoint's record. Layers tell it what happened, with the time."""

    __slots__ = (
        "_ejected",
        "_healing",
        "_limits",
        "back",
        "check_at",
        "ejected_until",
        "ejections",
        "healthy",
        "probe",
        "runs",
        "since",
        "streak",
        "totals",
        "why",
    )

    def __init__(self, healing: Healing, ejected: Counter) -> None:
        self._healing = healing
        self._ejected = ejected
        self._limits = (0, 0, 0)
        self.runs = [0, 0, 0]
        """Anomalies in a row, by kind."""
        self.since = [0.0, 0.0, 0.0]
        """When each run began, monotonic seconds."""
        self.totals = [0, 0, 0]
        self.ejections = 0
        """In a row: without a calm as long as the last cool-down between them."""
        self.ejected_until = inf
        """The end of the cool-down, inf if in use."""
        self.back = -inf
        """When the last cool-down ended."""
        self.healthy = True
        """What the checks say; who was never checked is healthy."""
        self.streak = 0
        """Checks in a row that said otherwise."""
        self.why = ""
        """Of the last check that failed, until one succeeds."""
        self.check_at = 0.0
        """When the next check begins, monotonic seconds."""
        self.probe: Probe | None = None
        """The check under way."""
        self.follow(healing)

    def follow(self, healing: Healing) -> None:
        """Take other settings."""
        self._healing = healing
        outlier = healing.outlier
        limits = (0, 0, 0) if outlier is None else (outlier.connect_failures, outlier.lost, outlier.server_errors)
        self._limits = limits
        if outlier is None:
            self.ejected_until = inf
        if healing.check is None:
            self.healthy, self.streak, self.why = True, 0, ""

    @property
    def check(self) -> HealthCheckConfig | None:
        """How it is checked; None if it is not."""
        return self._healing.check

    @property
    def due(self) -> float:
        """The end of the cool-down, or the next check."""
        return self.ejected_until if self._healing.check is None else min(self.ejected_until, self.check_at)

    @property
    def ejected(self) -> bool:
        """It gets no new streams for now."""
        return self.ejected_until != inf

    # ---- what layers tell ----

    def connected(self) -> None:
        """A dial succeeded."""
        self.runs[CONNECT] = 0

    def unreachable(self, now: float) -> None:
        """A dial failed or took too long."""
        self._anomaly(CONNECT, now)

    def answered(self, now: float, *, error: bool = False) -> None:
        """An answer came; `error` if it tells of a failure of the server."""
        self.runs[LOST] = 0
        if error:
            self._anomaly(ERROR, now)
        else:
            self.runs[ERROR] = 0

    def lost(self, now: float) -> None:
        """The connection ended before the answer was complete, or no answer came in time."""
        self._anomaly(LOST, now)

    def _anomaly(self, kind: int, now: float) -> None:
        self.totals[kind] += 1
        limit = self._limits[kind]
        outlier = self._healing.outlier
        if not limit or outlier is None or self.ejected:
            return
        if not self.runs[kind] or now - self.since[kind] > outlier.window:
            self.runs[kind] = 0
            self.since[kind] = now
        self.runs[kind] += 1
        if self.runs[kind] >= limit and self._healing.may_eject():
            self._eject(outlier, now)

    def _eject(self, outlier: OutlierConfig, now: float) -> None:
        if now - self.back >= self._cooldown(outlier):
            self.ejections = 0
        self.ejections += 1
        self._ejected.inc()
        self.runs = [0, 0, 0]
        self.ejected_until = now + self._cooldown(outlier)
        self._healing.changed()

    def _cooldown(self, outlier: OutlierConfig) -> float:
        """That of the latest ejection."""
        doublings = min(max(self.ejections - 1, 0), 30)
        return min(outlier.cooldown * (1 << doublings), max(outlier.cooldown, outlier.max_cooldown))

    def alarm(self, now: float) -> None:
        """The cool-down may be over."""
        if self.ejected_until <= now:
            self.ejected_until = inf
            self.back = now

    def checked(self, failure: str) -> None:
        """A check is over; empty if it succeeded."""
        check = self._healing.check
        if check is None:
            return
        self.why = failure
        if self.healthy is not bool(failure):
            self.streak = 0
            return
        self.streak += 1
        if self.streak >= (check.unhealthy if self.healthy else check.healthy):
            self.healthy = not self.healthy
            self.streak = 0
            self._healing.changed()

    # ---- the value ----

    def save(self, now: float) -> WatchState:
        """As it travels."""
        return WatchState(
            tuple(self.runs),
            tuple(now - since for since in self.since),
            tuple(self.totals),
            remaining(self.ejected_until, now),
            self.ejections,
            min(now - self.back, 1e9),
            self.healthy,
            self.streak,
            self.check_at - now,
            self.why,
        )

    def load(self, saved: WatchState, now: float) -> None:
        """The counterpart of `save`."""
        self.runs = list(saved.runs)
        self.since = [now - age for age in saved.ages]
        self.totals = list(saved.totals)
        self.ejected_until = inf if self._healing.outlier is None else deadline(saved.ejected_left, now)
        self.ejections = saved.ejections
        self.back = now - saved.calm
        self.check_at = deadline(saved.check_left, now) if saved.check_left is not None else now
        if self._healing.check is not None:
            self.healthy, self.streak, self.why = saved.healthy, saved.streak, saved.why

    def describe(self, now: float) -> dict[str, Any]:
        """For people: the anomalies since the chain began, and whether it is in use."""
        totals = dict(zip(("connect_failures", "lost", "server_errors"), self.totals, strict=True))
        left = max(self.ejected_until - now, 0.0) if self.ejected else None
        about = {**totals, "ejections": self.ejections, "ejected_for": None if left is None else round(left, 3)}
        return about if self.check is None else {**about, "healthy": self.healthy, "why": self.why}
