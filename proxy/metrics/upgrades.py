"""What is counted of the upgrades themselves.

All members are there from the beginning, at 0: the first upgrade of a chain is an increase like any other, and in the
downtime nothing has to be defined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hotswap.swappable import OTHER, REFUSED, STRAGGLERS
from proxy.protocols import KINDS
from shm_metrics import exponential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.swappable import Took
    from shm_metrics import Registry

BOUNDS: Final = exponential(0.001, 2, 12)
"""Seconds: 1 ms to 2 s."""
BUILD: Final = "hotswap_build_info"
LOST: Final = "lost"
"""The reason of stragglers that followed and could not be restored."""

HOWS: Final = ("upgrade", "takeover", "rollback")
PHASES: Final = ("copy", "check", "byte")
REASONS: Final = ("removed_listener", "no_tls", "handshakes", REFUSED, STRAGGLERS, OTHER, LOST)
"""Those of `proxy.staying`, of the toolkit, and one of our own."""


class Upgrades:
    """Told by the toolkit through `hotswap.Swappable`; counts in the registry of one server."""

    def __init__(self, registry: Registry, build: tuple[str, str]) -> None:
        """`build`: version, and what tells this code from any other."""
        self.number = 0
        """The number of this generation, once it owns."""
        self.build = build
        self._registry = registry
        self._generation = registry.last("hotswap_generation", "The number of the generation that owns.")
        self._generations = registry.gauge("hotswap_generations", "Generations that own or drain.")
        self._upgrades = registry.counter(
            "hotswap_upgrades_total",
            "Generations that came to own, and attempts that failed: the generation before serves on.",
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
            "hotswap_handover_not_moved_total",
            "Connections that stayed with the generation before, which drains them, or were lost on the way.",
            ("reason",),
        )
        self._thaws = registry.counter(
            "hotswap_handover_thaws_total", "Attempts that were taken back after the freeze, and nothing was lost."
        )
        self._builds = registry.last(BUILD, "1: the code of the generation that owns.", ("version", "build"))
        for how in HOWS:
            self._upgrades.labels(how, "owned")
            self._upgrades.labels(how, "failed")
        self._upgrades.labels("crash", "owned")
        for family, words in ((self._phases, PHASES), (self._moved, KINDS), (self._stayed, REASONS)):
            for word in words:
                family.labels(word)

    # ---- at the generation that owns now ----

    def owning(self, generation: int, how: str, moved: Mapping[str, int]) -> None:
        """See `Swappable`; `moved`: connections by kind."""
        self.number = generation
        self.again()
        self._generations.set(1)
        if how != "cold":
            self._upgrades.labels(how, "owned").inc()
        self._count_moved(moved)

    def took_over(self, took: Took, followed: Mapping[str, int]) -> None:
        """See `Swappable`; `followed`: stragglers by kind."""
        self._downtimes.observe(took.downtime)
        for phase, seconds in took.phases.items():
            self._phases.labels(phase).inc(seconds)
        self._count_moved(followed)
        for reason, count in took.stayed.items():
            self._stayed.labels(reason).inc(count)
        self._stayed.labels(LOST).inc(took.lost)

    def _count_moved(self, moved: Mapping[str, int]) -> None:
        for kind, count in moved.items():
            self._moved.labels(kind).inc(count)

    # ---- at the one before, if it serves on ----

    def again(self) -> None:
        """This generation owns, perhaps once more: the next one died at once."""
        if self.number:
            self._generation.set(self.number)

    def kept_on(self, how: str, *, thawed: bool) -> None:
        """See `Swappable`."""
        self._upgrades.labels(how, "failed").inc()
        if thawed:
            self._thaws.inc()

    # ---- for readers ----

    def show_build(self) -> None:
        """Have readers see which code owns, and no other."""
        self._builds.remove(*self.build)  # another generation may have hidden it: so that asking for it shows it
        self._builds.labels(*self.build).set(1)
        self._registry.retain(lambda shape, values: shape.name != BUILD or values == self.build)
