"""What a metric is, apart from its values: names, labels, type, buckets, and how many cells it takes.

Names follow the Prometheus data model (https://prometheus.io/docs/concepts/data_model/): metrics
``[a-zA-Z_:][a-zA-Z0-9_:]*``, labels ``[a-zA-Z_][a-zA-Z0-9_]*`` without a leading ``__``. Values of labels are any text.

    type        combine   cells                         the value that a reader sees
    counter     -         [count]                       sum over all processes, the dead ones too
    gauge       sum       [value]                       sum over the living
    gauge       max       [value]                       the largest ever set by anyone
    gauge       last      [value, when]                 what was set last, by whomever
    histogram   -         [sum, bucket, ..., bucket]    sums over all processes, the dead ones too; the last bucket is
                                                        that of everything above the last bound
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Combine = Literal["", "sum", "max", "last"]

LONGEST_NAME: Final = 200
LONGEST_HELP: Final = 400
LONGEST_VALUE: Final = 200
MOST_LABELS: Final = 12
MOST_BOUNDS: Final = 200

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """A family of metrics: everything its members have in common."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, ascending, without infinity."""
    combine: Combine = ""

    @property
    def cells(self) -> int:
        """How many cells each member takes."""
        if self.kind == "histogram":
            return len(self.bounds) + 2
        return 2 if self.combine == "last" else 1

    @property
    def visible(self) -> int:
        """How many of them readers see."""
        return 1 if self.combine else self.cells

    def problem(self) -> str:
        """Why this is no shape; empty if it is one."""
        if not _METRIC.fullmatch(self.name) or len(self.name) > LONGEST_NAME:
            return f"{self.name!r} is no name for a metric"
        if len(self.help) > LONGEST_HELP:
            return f"the help of {self.name} is longer than {LONGEST_HELP} characters"
        bad = [label for label in self.labels if not _LABEL.fullmatch(label) or len(label) > LONGEST_NAME]
        if bad or len({*self.labels}) < len(self.labels) or len(self.labels) > MOST_LABELS:
            return f"{', '.join(self.labels)} are no labels for {self.name}"
        if (self.kind == "gauge") is not bool(self.combine):
            return f"{self.name}: a gauge, and nothing else, says how its values are combined"
        if self.kind != "histogram":
            return f"{self.name} is no histogram and has no buckets" if self.bounds else ""
        if "le" in self.labels:
            return f"{self.name}: le is the label of the buckets"
        ascending = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        if not self.bounds or len(self.bounds) > MOST_BOUNDS or not ascending or not self.bounds[-1] < float("inf"):
            return f"{self.name}: bounds of buckets ascend, are finite, and there are 1 to {MOST_BOUNDS} of them"
        return ""


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Bounds of `count` buckets, each `factor` times the one before: ``exponential(0.001, 2, 10)``.

    Raises ValueError unless `first` is positive, `factor` above 1 and `count` 1 to 200.
    """
    if first <= 0 or factor <= 1 or not 1 <= count <= MOST_BOUNDS:
        raise ValueError(f"no buckets: first {first}, factor {factor}, count {count}")
    return tuple(float(f"{first * factor**n:.6g}") for n in range(count))


def fitting(shape: Shape, values: Sequence[object]) -> tuple[str, ...]:
    """The values of its labels as text, cut to what a segment takes. Raises ValueError for a wrong number of them."""
    if len(values) != len(shape.labels):
        raise ValueError(f"{shape.name} has the labels {', '.join(shape.labels) or '(none)'}: {values!r} does not fit")
    return tuple(_text(value) for value in values)


def _text(value: object) -> str:
    text = str(value)[:LONGEST_VALUE]
    return text if text.isascii() else text.encode(errors="replace").decode()  # of bytes that were none: surrogates
