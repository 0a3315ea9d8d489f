"""What is counted of the upgrades themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shm_metrics import exponential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.swappable import Took
    from shm_metrics import Registry

BOUNDS = exponential(0.001, 2, 12)
"""Seconds: 1 ms to 2 s."""


class Upgrades:
    """Told by the toolkit through `hotswap.Swappable`; counts in the registry of one server."""

    def __init__(self, registry: Registry) -> None:
        self.number = 0
        """The number of this generation, once it owns."""
        self._generation = registry.last("hotswap_generation", "The number of the generation that owns.")
        self._generations = registry.gauge(
            "hotswap_generations", "Generations that own or drain."
        )
        self._upgrades = registry.counter(
            "hotswap_upgrades_total",
            "Attempts to replace a generation: owned, or failed while the one before served on.",
            ("how", "outcome"),
        )
        self._downtimes = registry.histogram(
            "hotswap_handover_downtime_seconds",
            "From the last I/O of a generation to the first of the next.",
            bounds=BOUNDS,
        )
        self._phases = registry.counter(
            "hotswap_handover_phase_seconds_total",
            "Downtime by phase: copy what is still dirty, check it, pass the byte.",
            ("phase",),
        )
        self._moved = registry.counter("hotswap_handover_moved_total", "Connections that moved, by kind.", ("kind",))
        self._stayed = registry.counter(
            "hotswap_handover_not_moved_total", "Connections that stayed with the generation before.", ("reason",)
        )
        self._thaws = registry.counter(
            "hotswap_handover_thaws_total", "Attempts that were taken back after the freeze, and nobody noticed."
        )

    def owning(self, generation: int, how: str) -> None:
        """See `Swappable`. Called before `start`, when gauges count for this process."""
        self.number = generation
        self._generation.set(generation)
        self._generations.set(1)
        if how != "cold":
            self._upgrades.labels(how, "owned").inc()

    def again(self) -> None:
        """This generation owns once more: the next one died at once."""
        self._generation.set(self.number)

    def took_over(self, took: Took, moved: Mapping[str, int]) -> None:
        """See `Swappable`; `moved`: connections by kind."""
        self._downtimes.observe(took.downtime)
        for phase, seconds in took.phases.items():
            self._phases.labels(phase).inc(seconds)
        for kind, count in moved.items():
            self._moved.labels(kind).inc(count)
        for reason, count in took.stayed.items():
            self._stayed.labels(reason).inc(count)

    def kept_on(self, how: str, *, thawed: bool) -> None:
        """See `Swappable`."""
        self._upgrades.labels(how, "failed").inc()
        if thawed:
            self._thaws.inc()
