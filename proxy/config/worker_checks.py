"""Checks of what more than one worker cannot do. See `checks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part

ALONE: Final = frozenset({"rate_limit"})
"""Filters that count what they let through: halves of a limit are another limit."""
DIVIDED: Final = ("max_connections", "max_requests", "max_pending")
"""Limits of which every worker has a part. Nobody could be served by one whose part is nothing."""


def check_workers(root: Part, listeners: list[Part], clusters: list[Part], problems: Problems) -> None:
    """With one worker everything goes."""
    workers = root.value("workers")
    if workers is None or workers < 2:
        return
    for part in _filters(listeners):
        name = part.value("name")
        if name in ALONE:
            problems.error(
                *part.place("name"),
                f"{name} counts in one process, and there are {workers} workers; remove it, or write workers: 1",
            )
    for part in _limited(listeners, clusters):
        for key in DIVIDED:
            most = part.value(key) if key in part.fields else None
            if most is not None and most < workers:
                problems.error(
                    *part.place(key),
                    f"{key} is divided between {workers} workers, and {most} is less than one for each; "
                    f"raise it, or write fewer workers",
                )


def _filters(listeners: list[Part]) -> Iterator[Part]:
    for listener in listeners:
        yield from listener.parts("filters")
        for route in listener.parts("routes"):
            yield from route.parts("filters")


def _limited(listeners: list[Part], clusters: list[Part]) -> Iterator[Part]:
    yield from listeners
    for cluster in clusters:
        limits: Part | None = cluster.value("limits")
        if limits is not None:
            yield limits
