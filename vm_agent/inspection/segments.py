"""Segments of metrics in shared memory that nobody counts in, and nobody will."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from shm_metrics import names
from shm_metrics.names import Found
from vm_agent.inspection.findings import Finding, size, span

FRESH: Final = 60.0
"""Seconds since somebody was last known in a segment, in which it is left alone: its program may be about to return."""


def look() -> list[Found]:
    """All that this user may see."""
    return names.found()


def judge(found: Iterable[Found], cared_for: Collection[str], now: float) -> Iterator[Finding]:
    """`cared_for`: names of segments whose sidecars go on counting there, after a crash too. `now`: since the epoch."""
    for one in found:
        name = one.name.removeprefix(names.PREFIX).rpartition(".")[0]
        if not one.stale or now - one.touched < FRESH or (name in cared_for and not one.refused):
            continue
        why = f"; it cannot be used: {one.refused}" if one.refused else ""
        yield Finding(
            severity="notice",
            what="stale_segment",
            place=str(names.FOLDER / one.name),
            text=f"{size(one.size)} in {names.FOLDER / one.name}, unused for {span(now - one.touched)}{why}",
            remedy=f"hotswap doctor --fix removes all that nobody uses; this one alone: rm {names.FOLDER / one.name}",
        )
