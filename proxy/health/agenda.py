"""When something is to be done for the clusters that heal themselves: a part of the reactor's alarms."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.cluster import Cluster
    from proxy.health.healing import Healing
    from proxy.plane import Plane


class Agenda:
    """Knows the clusters that heal; empty if none does, and then it costs nothing."""

    __slots__ = ("_healing", "_plane")

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._healing: list[Healing] = []

    def follow(self, clusters: Iterable[Cluster]) -> None:
        """These are the clusters now."""
        self._healing = [cluster.healing for cluster in clusters if cluster.healing is not None]

    def next_alarm(self) -> float:
        """When `alarm` is to be called, monotonic seconds; inf: never."""
        if not self._healing or self._plane.draining:
            return inf
        return min([healing.due for healing in self._healing])

    def alarm(self, now: float) -> None:
        """Do what is due. Who drains leaves it to whoever comes after."""
        for healing in self._healing:
            if healing.due <= now and not self._plane.draining:
                healing.alarm(now, self._plane)
