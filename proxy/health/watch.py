"""What is known of one endpoint's health, from the streams that use it.

    in use --anomalies in a row--> ejected --cool-down--> in use

Each kind of anomaly has a run of its own, which the matching success ends: connections that succeed say nothing about
requests that are lost. A run that takes longer than the window begins anew. Cool-downs double with each ejection
up to a limit; who then works for as long as the last one took begins at the first again.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from proxy.connection import deadline, remaining
from proxy.state import WatchState

if TYPE_CHECKING:
    from proxy.config.model import OutlierConfig
    from proxy.health.healing import Healing

CONNECT, LOST, ERROR = range(3)
"""Kinds of anomalies: no connection; ended, or silent for too long, before the answer; answered by an error."""


class Watch:
    """One endpoint's record. Layers tell it what happened, with the time."""

    __slots__ = ("_healing", "_limits", "back", "ejected_until", "ejections", "runs", "since", "totals")

    def __init__(self, healing: Healing) -> None:
        self._healing = healing
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
        self.follow(healing)

    def follow(self, healing: Healing) -> None:
        """Take other settings."""
        self._healing = healing
        outlier = healing.outlier
        limits = (0, 0, 0) if outlier is None else (outlier.connect_failures, outlier.lost, outlier.server_errors)
        self._limits = limits
        if outlier is None:
            self.ejected_until = inf

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
        self.runs = [0, 0, 0]
        self.ejected_until = now + self._cooldown(outlier)
        self._healing.changed()

    def _cooldown(self, outlier: OutlierConfig) -> float:
        """That of the latest ejection."""
        doublings = min(max(self.ejections - 1, 0), 30)
        return min(outlier.cooldown * (1 << doublings), max(outlier.cooldown, outlier.max_cooldown))

    def alarm(self, now: float) -> bool:
        """The cool-down may be over. True if that changed something."""
        if self.ejected_until > now:
            return False
        self.ejected_until = inf
        self.back = now
        return True

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
        )

    def load(self, saved: WatchState, now: float) -> None:
        """The counterpart of `save`."""
        self.runs = list(saved.runs)
        self.since = [now - age for age in saved.ages]
        self.totals = list(saved.totals)
        self.ejected_until = inf if self._healing.outlier is None else deadline(saved.ejected_left, now)
        self.ejections = saved.ejections
        self.back = now - saved.calm

    def describe(self, now: float) -> dict[str, Any]:
        """For people: the anomalies since the chain began, and whether it is in use."""
        totals = dict(zip(("connect_failures", "lost", "server_errors"), self.totals, strict=True))
        left = max(self.ejected_until - now, 0.0) if self.ejected else None
        return {**totals, "ejections": self.ejections, "ejected_for": None if left is None else round(left, 3)}
