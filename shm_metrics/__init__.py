"""Counters, gauges and histograms in shared memory, continuous across processes that come, go and die."""

from shm_metrics.cells import Counter, Gauge, Histogram, Last, Maximum
from shm_metrics.errors import MetricsError, SegmentBusy, SegmentFull, SegmentRefused
from shm_metrics.registry import Collected, Family, Member, Registry
from shm_metrics.shape import Shape, exponential

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
    "Registry",
    "SegmentBusy",
    "SegmentFull",
    "SegmentRefused",
    "Shape",
    "exponential",
]
