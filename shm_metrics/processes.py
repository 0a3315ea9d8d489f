"""What living processes say of themselves, as families under the names that all Prometheus clients use.

They are read from the slots, not from cells: so they are there for as long as the process is, and no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shm_metrics.shape import Shape
from shm_metrics.slots import Process
from shm_metrics.store import Collected, Member

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL: Final = ("generation",)

SHAPES: Final = {
    "cpu": Shape("process_cpu_seconds_total", "counter", "CPU seconds, user and system.", LABEL),
    "resident": Shape("process_resident_memory_bytes", "gauge", "Resident memory.", LABEL, combine="sum"),
    "descriptors": Shape("process_open_fds", "gauge", "Open descriptors.", LABEL, combine="sum"),
    "most_descriptors": Shape("process_max_fds", "gauge", "How many may be open.", LABEL, combine="sum"),
    "started": Shape("process_start_time_seconds", "gauge", "When it started, Unix time.", LABEL, combine="sum"),
}


def families(processes: Sequence[Process]) -> list[Collected]:
    """One member for each number that processes say. Several of one number count together, since the first start."""
    together: dict[int, list[Process]] = {}
    for one in processes:
        if one.number:
            together.setdefault(one.number, []).append(one)
    there = [_sum(number, ones) for number, ones in together.items()]
    return [
        Collected(shape, [Member((str(one.number),), [getattr(one, field)]) for one in there])
        for field, shape in SHAPES.items()
        if there
    ]


def _sum(number: int, processes: Sequence[Process]) -> Process:
    started = min(one.started for one in processes)
    return Process(number, started, *map(sum, zip(*(one[2:] for one in processes), strict=True)))
