"""Writes docs/handover-states.md from the tables and the model.

.venv/bin/python -m tests.hotswap.handover.render
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hotswap.handover.states import (
    DESTINATION_ROWS,
    ENDS,
    MAY_TICK,
    SOURCE_ROWS,
    Destination,
    Source,
    Table,
    fault_points,
)
from tests.hotswap.handover.failures import Course, Outcome, outcomes

PAGE = Path(__file__).parents[3] / "docs" / "handover-states.md"

_HEAD = """\
# The two machines of the handover

Written by `python -m tests.hotswap.handover.render` from `hotswap/handover/states.py`; a test keeps it current.

A row reads: in this state, on this event, go to that state and do these actions, in this order. A message
that no row names is a breach of the protocol and counts as STOP. States in *italics* may tick, states in
**bold** are ends.
"""

_FAILURES = """\
## What comes of a failure

Each action is framed by two fault points. This is what the model check in `tests/hotswap/handover` works out
for a process that is killed or stopped there (a hung one is the same to everybody else), the destination being
spawned by the source. It is also what the tests with real processes expect. Points that a plain upgrade does not
come by are given for the course of events in brackets; `source.take_listeners` and `destination.start_cold` come
only after another failure.
"""

_COURSES = {
    Course.UPGRADE: "",
    Course.DRY_RUN: " (dry run)",
    Course.UNABLE: " (values do not restore)",
    Course.REFUSED: " (refused)",
}


def page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        "## Source\n",
        _table(("state", "event", "next state", "actions"), _rows(Source, SOURCE_ROWS)),
        "## Destination\n",
        _table(("state", "event", "next state", "actions"), _rows(Destination, DESTINATION_ROWS)),
        _FAILURES,
        _table(("fault point", "killed", "stopped", "stopped, and continued when all others rest"), _failures()),
    ]
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(states: type[Source | Destination], table: Table) -> Iterable[tuple[str, ...]]:
    for state in states:
        for (before, event), step in table.items():
            if before is state:
                actions = ", ".join(action.name for action in step.actions)
                yield _styled(before), event.name, _styled(step.state), actions
        if state in ENDS:
            yield _styled(state), "", "", ""


def _styled(state: Source | Destination) -> str:
    name = f"*{state.name}*" if state in MAY_TICK else state.name
    return f"**{name}**" if state in ENDS else name


def _failures() -> Iterable[tuple[str, ...]]:
    for point in fault_points():
        for course, remark in _COURSES.items():
            results = [outcomes(point, failure, course) for failure in ("kill", "stop", "pause")]
            if results[0].reached:
                yield f"`{point}`{remark}", *(_words(result.outcomes) for result in results)
                break


def _words(found: frozenset[Outcome]) -> str:
    return "; ".join(sorted(outcome.value for outcome in found))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
