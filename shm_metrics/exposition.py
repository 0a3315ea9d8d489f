"""What readers are given: Prometheus text, OpenMetrics, or JSON.

    text/plain; version=0.0.4                     https://prometheus.io/docs/instrumenting/exposition_formats/
    application/openmetrics-text; version=1.0.0   https://prometheus.io/docs/specs/om/open_metrics_spec/
    application/json                              ours: {"families": [{"name", "type", "help", "labels", "members"}]};
                                                  a member is {"labels": {...}, "value"}, or for a histogram
                                                  {"labels", "count", "sum", "buckets": [[bound, cumulative], ...]}

The two texts differ in little: OpenMetrics names a family of counters without its ``_total``, and ends with ``# EOF``.
A text is made piece by piece, so that whoever serves it can do something else in between: 5,000 lines take 5 ms.
"""

from __future__ import annotations

import json
import zlib
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shm_metrics.shape import Shape
    from shm_metrics.store import Collected, Member

Format = Literal["text", "openmetrics", "json"]

CONTENT_TYPES: Final[dict[Format, str]] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "json": "application/json",
}
PIECE: Final = 500
"""Lines made in one go: half a millisecond."""
LEVEL: Final = 1
"""Of the compression: it comes to a tenth of the size at a third of the time of the usual level."""

_ACCEPTED: Final[dict[str, Format]] = {
    "application/openmetrics-text": "openmetrics",
    "application/json": "json",
    "text/plain": "text",
    "text/*": "text",
    "*/*": "text",
}


def chosen(accept: str) -> Format:
    """The format that a client's Accept field prefers (RFC 9110, 12.5.1); text if it says nothing we know."""
    best: Format = "text"
    weight = 0.0
    for part in accept.split(","):
        kind, *parameters = (one.strip().lower() for one in part.split(";"))
        found = _ACCEPTED.get(kind)
        quality = _quality(parameters)
        if found is not None and quality > weight:
            best, weight = found, quality
    return best


def compressed(accept_encoding: str) -> bool:
    """A client's Accept-Encoding field allows gzip (RFC 9110, 12.5.3)."""
    for part in accept_encoding.split(","):
        coding, *parameters = (one.strip().lower() for one in part.split(";"))
        if coding in {"gzip", "x-gzip", "*"}:
            return _quality(parameters) > 0.0
    return False


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as a gzip file (RFC 1952)."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


class Exposition:
    """Makes texts of what was collected, and remembers the part of each line that does not change."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Shape, tuple[str, ...]], list[str]] = {}

    def pieces(self, families: Iterable[Collected], form: Format) -> Iterator[bytes]:
        """The whole text, in pieces of a millisecond or so."""
        if form == "json":
            yield from _json(families)
            return
        openmetrics = form == "openmetrics"
        lines: list[str] = []
        fresh: dict[tuple[Shape, tuple[str, ...]], list[str]] = {}
        for shape, members in families:
            lines.append(_head(shape, openmetrics=openmetrics))
            for member in members:
                key = shape, member.values
                names = fresh[key] = self._lines.get(key) or _names(shape, member.values)
                if shape.kind == "histogram":
                    lines += _histogram(names, member.cells)
                else:
                    lines.append(names[0] + number(member.cells[0]))
                if len(lines) >= PIECE:
                    yield _joined(lines)
                    lines.clear()
        self._lines = fresh
        if openmetrics:
            lines.append("# EOF\n")
        yield _joined(lines)


def number(value: float) -> str:
    """A value as both formats write it: whole numbers without a fraction, others with all their digits."""
    if value != value:  # noqa: PLR0124 - NaN, the one that differs from itself
        return "NaN\n"
    if value in {float("inf"), float("-inf")}:
        return "+Inf\n" if value > 0 else "-Inf\n"
    whole = int(value)
    return f"{whole}\n" if whole == value and abs(whole) < 1 << 53 else f"{value!r}\n"


def _joined(lines: list[str]) -> bytes:
    return "".join(lines).encode()


def _head(shape: Shape, *, openmetrics: bool) -> str:
    name = shape.name
    about = shape.help.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        about = about.replace('"', r"\"")
        if shape.kind == "counter":
            name = name.removesuffix("_total")
    return f"# HELP {name} {about}\n# TYPE {name} {shape.kind}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _names(shape: Shape, values: tuple[str, ...]) -> list[str]:
    """The beginnings of a member's lines, up to the value."""
    labels = [f'{label}="{_escaped(value)}"' for label, value in zip(shape.labels, values, strict=True)]
    inside = ",".join(labels)
    plain = f"{{{inside}}} " if inside else " "
    if shape.kind != "histogram":
        return [f"{shape.name}{plain}"]
    before = f"{inside}," if inside else ""
    bounds = [*(_bound(bound) for bound in shape.bounds), "+Inf"]
    buckets = [f'{shape.name}_bucket{{{before}le="{bound}"}} ' for bound in bounds]
    return [*buckets, f"{shape.name}_sum{plain}", f"{shape.name}_count{plain}"]


def _bound(bound: float) -> str:
    """As OpenMetrics wants them: floating point numbers, always with a fraction or an exponent."""
    return repr(float(bound))


def _histogram(names: list[str], cells: list[float]) -> Iterator[str]:
    """Buckets, sum, count. The count is that of the last bucket: one text never contradicts itself."""
    counts = [*accumulate(cells[1:])]
    for name, count in zip(names, [*counts, cells[0], counts[-1]], strict=True):
        yield name + number(count)


def _json(families: Iterable[Collected]) -> Iterator[bytes]:
    before = b'{"families": ['
    for shape, members in families:
        about = {"name": shape.name, "type": shape.kind, "help": shape.help, "labels": shape.labels}
        yield before + json.dumps({**about, "members": [_member(shape, one) for one in members]}).encode()
        before = b",\n"
    yield b"]}\n" if before == b",\n" else b'{"families": []}\n'


def _member(shape: Shape, member: Member) -> dict[str, Any]:
    labels = dict(zip(shape.labels, member.values, strict=True))
    if shape.kind != "histogram":
        return {"labels": labels, "value": member.cells[0]}
    counts = [*accumulate(member.cells[1:])]
    buckets = [[bound, count] for bound, count in zip(shape.bounds, counts, strict=False)]
    return {"labels": labels, "count": counts[-1], "sum": member.cells[0], "buckets": buckets}
