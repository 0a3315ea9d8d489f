"""Counters, gauges and histograms in shared memory, continuous across processes that come, go and die."""

from shm_metrics.cells import Counter, Gauge, Histogram, Last, Maximum
from shm_metrics.errors import MetricsError, SegmentBusy, SegmentFull, SegmentRefused
from shm_metrics.registry import Family, Registry
from shm_metrics.shape import Shape, exponential
from shm_metrics.slots import Process
from shm_metrics.store import Collected, Member

__all__ = [
    "Collected",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "Last",
    "Maximum",
    "Member",
    "MetricsError",
    "Process",
    "Registry",
    "SegmentBusy",
    "SegmentFull",
    "SegmentRefused",
    "Shape",
    "exponential",
]
