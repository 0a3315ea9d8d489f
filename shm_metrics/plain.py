"""What was collected as JSON, for programs, and back.

    {"families": [{"name", "type", "help", "labels", "members"}]}

A member is ``{"labels": {...}, "value"}``, or of a histogram ``{"labels", "count", "sum", "buckets"}``. Buckets are
pairs of the upper bound and how many were not above it: cumulative like ``le``, without the last one, which `count` is.
Whole numbers have no fraction, and what JSON has no number for is text: ``"NaN"``, ``"+Inf"``, ``"-Inf"``.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from shm_metrics.shape import Kind, Shape
from shm_metrics.store import Collected, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE: Final = 250
"""Values written in one go: a quarter of a millisecond."""
EXACT: Final = 1 << 53
"""From here on not every whole number is a double."""


class Told(msgspec.Struct):
    """A family as JSON tells it."""

    name: str
    type: Kind
    help: str
    labels: tuple[str, ...]
    members: list[dict[str, Any]]


class _All(msgspec.Struct):
    families: list[Told]


def pieces(families: Iterable[Collected]) -> Iterator[bytes]:
    """The JSON of all, in pieces that take less than a millisecond each."""
    written = [b'{"families":[']
    room, between = PIECE, b""
    for shape, members in families:
        about = {"name": shape.name, "type": shape.kind, "help": _text(shape.help), "labels": shape.labels}
        written += between, msgspec.json.encode(about)[:-1], b',"members":['
        between = b""
        for member in members:
            written += between, msgspec.json.encode(_member(shape, member))
            between = b","
            room -= len(member.cells)
            if room <= 0:
                yield b"".join(written)
                written, room = [], PIECE
        written.append(b"]}")
        between = b",\n"
    yield b"".join([*written, b"]}\n"])


def _member(shape: Shape, member: Member) -> dict[str, Any]:
    labels = {label: _text(value) for label, value in zip(shape.labels, member.values, strict=True)}
    if shape.kind != "histogram":
        return {"labels": labels, "value": value_of(member.cells[0])}
    *counts, count = map(value_of, accumulate(member.cells[1:]))
    buckets = [*zip(shape.bounds, counts, strict=True)]
    return {"labels": labels, "count": count, "sum": value_of(member.cells[0]), "buckets": buckets}


def _text(value: str) -> str:
    """Without halves of characters, which UTF-8 has no bytes for."""
    return value.encode(errors="replace").decode()


def value_of(number: float) -> float | int | str:
    """How JSON has it."""
    if not isfinite(number):
        return "NaN" if isnan(number) else "+Inf" if number > 0 else "-Inf"
    return int(number) if number.is_integer() and abs(number) < EXACT else number


def parsed(text: bytes) -> list[Collected]:
    """What `pieces` made that of; how gauges are combined is not told, and comes back as a sum. Raises ValueError."""
    try:
        return [_family(told) for told in msgspec.json.decode(text, type=_All).families]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"these are no metrics: {error!r}") from None


def _family(told: Told) -> Collected:
    bounds: tuple[float, ...] = ()
    members = []
    for one in told.members:
        values = tuple(str(one["labels"][label]) for label in told.labels)
        if told.type == "histogram":
            bounds = tuple(float(bound) for bound, _ in one["buckets"])
            counts = [0.0, *(float(count) for _, count in one["buckets"]), float(one["count"])]
            members.append(Member(values, [float(one["sum"]), *(after - before for before, after in pairwise(counts))]))
        else:
            members.append(Member(values, [float(one["value"])]))
    combine = cast("Any", "sum" if told.type == "gauge" else "")
    return Collected(Shape(told.name, told.type, told.help, told.labels, bounds, combine), members)
