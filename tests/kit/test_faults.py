"""The failure table that tests/system goes by was written by hand; the model of the protocol agrees with it."""

from __future__ import annotations

import pytest

from hotswap.handover.states import fault_points
from tests.hotswap.handover.failures import Course, outcomes
from tests.hotswap.handover.failures import Outcome as Modelled
from tests.kit.faults import KILLED, Outcome, Way, outcome_of, way_to

M = Modelled

COURSES = {(): Course.UPGRADE, ("--dry-run",): Course.DRY_RUN}

SAME: dict[Outcome, set[Modelled]] = {
    Outcome.UNDONE: {M.SOURCE_HAS_ALL},
    Outcome.REHEARSED: {M.SOURCE_HAS_ALL},
    Outcome.MOVED: {M.DESTINATION_HAS_ALL},
    Outcome.LISTENERS: {M.DESTINATION_HAS_LISTENERS, M.SOURCE_HAS_LISTENERS},
    Outcome.RESTARTED: {M.COLD_START},
    Outcome.NOBODY: {M.NOBODY},
}


def course_of(way: Way) -> Course:
    if way.few_files:
        return Course.REFUSED
    return Course.UNABLE if way.conflict else COURSES[way.options]


@pytest.mark.parametrize("point", [point for point in fault_points() if not way_to(point).faults])
def test_the_model_agrees(point: str) -> None:
    expected = outcomes(point, "kill", course_of(way_to(point)))
    assert expected.reached
    assert SAME[outcome_of(KILLED, point)] & expected.outcomes
