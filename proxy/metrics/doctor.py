"""What `hotswap doctor` tells about metrics, by the entry-point groups hotswap.checks and hotswap.remedies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hotswap.cli.checks import Finding
from hotswap.cli.output import span
from shm_metrics import MetricsError, cells, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shm_metrics.names import Found

REMEDY: Final = "nothing, if its program is to start again: it goes on counting there; else hotswap doctor --fix"
FRESH: Final = 60.0
"""Seconds since a process was last known in a segment, in which it is left alone: it may be about to come back."""


def metrics() -> Iterator[Finding]:
    """Which code counts, and segments that nobody counts in."""
    if not cells.WHY_PYTHON:
        yield Finding("metrics", "ok", "counting is done in C")
    else:
        message = f"counting is done in Python, which is slower: {cells.WHY_PYTHON}"
        wanted = cells.VARIABLE in cells.WHY_PYTHON
        unset = f"unset {cells.VARIABLE}, unless you want it so"
        remedy = unset if wanted else "install a C compiler, then install hotswap again"
        yield Finding("metrics", "note", message, remedy)
    for one in names.found():
        if one.users:
            continue
        about = f"{_about(one)}; {one.refused}" if one.refused else _about(one)
        yield Finding("metrics", "note", about, "hotswap doctor --fix" if one.refused else REMEDY)


def remove_unused() -> Iterator[Finding]:
    """Remove segments that nobody counts in, and say which."""
    for one in names.found():
        if one.users:
            continue
        if _age(one) < FRESH:
            yield Finding("metrics", "note", f"{_about(one)}: left, for its program may be about to come back", "wait")
            continue
        try:
            gone = names.remove(one.name)
        except (MetricsError, OSError) as error:
            message = f"{one.name} cannot be removed: {error}"
            yield Finding("metrics", "problem", message, f"rm {names.FOLDER / one.name}")
        else:
            if gone:
                yield Finding("metrics", "ok", f"removed {_about(one)}")


def _about(one: Found) -> str:
    return f"{one.name}, {one.size // 1024} KB: nobody counts in it; last seen in use {span(_age(one))} ago"


def _age(one: Found) -> float:
    return max(time.time() - one.touched, 0.0)
