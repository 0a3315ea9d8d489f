"""What can go wrong with a segment, as one tree.

MetricsError
|-- SegmentRefused            what is there is not used, and not touched
|   |-- SegmentCorrupt        checks of its own do not hold
|   |-- SegmentTruncated      shorter than it says
|   |-- SegmentForeign        not made by this library, or by another user
|   `-- SegmentNewer          a layout that this version does not know
|-- SegmentBusy               somebody held its lock for too long
`-- SegmentFull               no room for another process, another series, or no memory for it
"""

from __future__ import annotations


class MetricsError(Exception):
    """Base of all errors of this package."""


class SegmentRefused(MetricsError):
    """A segment that this process must not use. Nothing in it was changed."""


class SegmentCorrupt(SegmentRefused):
    """Its own checks do not hold."""


class SegmentTruncated(SegmentRefused):
    """It is shorter than its header says."""


class SegmentForeign(SegmentRefused):
    """It is no segment of this library, or it belongs to another user."""


class SegmentNewer(SegmentRefused):
    """Its layout is newer than what this version reads."""


class SegmentBusy(MetricsError):
    """Another process held the lock for too long: it is stopped, or the machine is starved."""


class SegmentFull(MetricsError):
    """No slot, no room for a definition, or no memory to back either."""
