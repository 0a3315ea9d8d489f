"""The metrics that a program counts with: in C where that can be loaded, else their twins in Python.

                              inc()       inc(1500)    observe(0.003), 18 bounds
    shm_metrics._cells        21 (30)     25 (38)      24 (40)         C
    shm_metrics.twin         149 (214)   225 (305)    411 (600)        Python, the same results
    prometheus_client 0.26   650 (1030)  640 (990)   1520 (2390)       for comparison: plain, not multiprocess

Nanoseconds of CPU a call, the lookup of the method among them: the best, and the median of 200 runs of half a
millisecond each, taken in turns on a busy machine of two cores (CPython 3.11).

``SHM_METRICS_CELLS=python`` in the environment turns C off: for tests, and if it should ever be at fault.
"""

from __future__ import annotations

import os
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Final

from shm_metrics import twin

if TYPE_CHECKING:
    from types import ModuleType

    from shm_metrics.shape import Shape
    from shm_metrics.twin import Cells

VARIABLE: Final = "SHM_METRICS_CELLS"


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get(VARIABLE) == "python":
        return None, f"{VARIABLE}=python is set"
    try:
        module = import_module("shm_metrics._cells")
    except ImportError as error:
        return None, str(error)
    return (module, "") if module.FORMAT == twin.FORMAT else (None, "it was built from other sources")


_native, WHY_PYTHON = _load()
"""The second: why the C module is not on, empty if it is."""
IMPLEMENTATION: Final = "python" if _native is None else "c"

if TYPE_CHECKING or _native is None:
    from shm_metrics.twin import Counter, Gauge, Histogram, fence
else:
    Counter, Gauge, Histogram = _native.Counter, _native.Gauge, _native.Histogram
    fence = _native.fence


class Maximum(twin.Single):
    """Readers see the largest value that any process ever set, 0 or more."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is this now; what is not above the largest so far changes nothing."""
        self._cells[self._at] = max(self._cells[self._at], value)


class Last(twin.Single):
    """Readers see the value that was set last, by whichever process, be it alive or dead."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is this now. Moments are compared by the machine's monotonic clock."""
        self._cells[self._at] = value
        self._cells[self._at + 1] = monotonic()


__all__ = [
    "IMPLEMENTATION",
    "WHY_PYTHON",
    "Counter",
    "Gauge",
    "Histogram",
    "Last",
    "Maximum",
    "Metric",
    "fence",
    "metric",
]

Metric = Counter | Gauge | Maximum | Last | Histogram


def metric(shape: Shape, cells: Cells, at: int) -> Metric:
    """A member of that family, at home in these cells."""
    if shape.kind == "histogram":
        return Histogram(cells, at, shape.bounds)
    if shape.kind == "counter":
        return Counter(cells, at)
    if shape.combine == "sum":
        return Gauge(cells, at)
    return Maximum(cells, at) if shape.combine == "max" else Last(cells, at)
