"""What a reader wants: the form of the text by its Accept field, and whether compressed (RFC 9110, 12.5)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shm_metrics.exposition import Format

LEVEL: Final = 1
"""Of the compression: it comes to a tenth of the size at a third of the time of the usual level."""

NAMED: Final = 3
"""How exactly a range means what it names."""

# In the order in which they are given to those who do not care.
_FORMATS: Final[dict[Format, str]] = {
    "text": "text/plain",
    "openmetrics": "application/openmetrics-text",
    "json": "application/json",
}
# Of OpenMetrics, as far as ours is one of them. The version of the older text is none of our business: who asks for a
# later one, which allows more, can read this one.
_VERSIONS: Final = frozenset({"", "0.0.1", "1.0.0"})


def chosen(accept: str) -> Format:
    """The form that a client's Accept field prefers. What it says of a form most exactly counts.

    Of several with the same weight: the one that is named, before those that only ``*`` allows; the one that is named
    first. Text if it wants nothing that there is: some answer is better than an error.
    """
    best: Format = "text"
    most = (0.0, 0, 0)
    ranges = [_weighted(part) for part in accept.lower().split(",")]
    for form, kind in _FORMATS.items():
        exactness, place, weight = max((_exactness(kind, one), -at, weight) for at, (one, weight) in enumerate(ranges))
        merit = (weight, exactness, place if exactness == NAMED else 0)
        if exactness and weight and merit > most:
            best, most = form, merit
    return best


def _exactness(kind: str, one: str) -> int:
    """How exactly a range of an Accept field means that kind: from not at all to by its name."""
    if one == kind:
        return NAMED
    if one == f"{kind.partition('/')[0]}/*":
        return NAMED - 1
    return NAMED - 2 if one == "*/*" else 0


def _weighted(part: str) -> tuple[str, float]:
    """One range of such a field and its weight. The range is empty for a version that we do not have."""
    kind, *parameters = (one.strip() for one in part.split(";"))
    told = {name.strip(): value.strip(' \t"') for name, _, value in (one.partition("=") for one in parameters)}
    if kind == _FORMATS["openmetrics"] and told.get("version", "") not in _VERSIONS:
        return "", 0.0
    try:
        weight = float(told.get("q", "1"))
    except ValueError:
        weight = 0.0
    return kind, weight if 0.0 <= weight <= 1.0 else 0.0


def compressed(accept_encoding: str) -> bool:
    """A client's Accept-Encoding field allows gzip."""
    codings = dict(_weighted(part) for part in accept_encoding.lower().split(","))
    named = [codings[name] for name in ("gzip", "x-gzip") if name in codings]
    return any(named or [codings.get("*", 0.0)])


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as a gzip file (RFC 1952), in as many pieces and one."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
