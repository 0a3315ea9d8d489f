"""When something is to be done for clusters that heal themselves or change over: a part of the reactor's alarms."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.cluster import Cluster
    from proxy.encryption.switch import Switch
    from proxy.health.healing import Healing
    from proxy.plane import Plane


PAUSE = 1.0
"""Seconds until somebody is looked at again that raised."""

log = logging.getLogger("proxy")


class Agenda:
    """Knows the clusters that heal, and those that know TLS; without any it costs nothing."""

    __slots__ = ("_healing", "_plane", "_switches")

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._healing: list[Healing] = []
        self._switches: list[Switch] = []

    def follow(self, clusters: Iterable[Cluster]) -> None:
        """These are the clusters now."""
        there = [*clusters]
        self._healing = [cluster.healing for cluster in there if cluster.healing is not None]
        self._switches = [cluster.switch for cluster in there if cluster.switch.concerned]

    def next_alarm(self) -> float:
        """When `alarm` is to be called, monotonic seconds; inf: never."""
        if not (self._healing or self._switches) or self._plane.draining:
            return inf
        return min([healing.due for healing in self._healing] + [switch.due for switch in self._switches])

    def alarm(self, now: float) -> None:
        """Do what is due. Who drains leaves it to whoever comes after."""
        for healing in self._healing:
            if healing.due <= now and not self._plane.draining:
                healing.alarm(now, self._plane)
        for switch in self._switches:
            if switch.due <= now and not self._plane.draining:
                try:
                    switch.alarm(now)
                except Exception as bug:
                    log.exception("a bug in changing connections over", exc_info=bug)
                    switch.due = now + PAUSE
