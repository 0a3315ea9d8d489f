"""The invariants of ARCHITECTURE.md over every world that the tables can lead to.

A source, and two destinations one after the other; every process may be killed, stopped and continued
at any time and any number of times.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from hotswap.handover.states import (
    DESTINATION_MESSAGES,
    DESTINATION_ROWS,
    SOURCE_MESSAGES,
    SOURCE_ROWS,
    Action,
    Destination,
    Event,
    Source,
    State,
    Step,
    Table,
    fault_points,
    step,
)
from tests.hotswap.handover.failures import Course, Outcome, outcomes, undisturbed
from tests.hotswap.handover.model import ALL_RULES, Model, Rules
from tests.hotswap.handover.search import Search
from tests.hotswap.handover.world import Life, Scene, World
from tests.kit import faults

SPAWNED, STRANGERS = (True, True), (False, False)
SCENES = {
    "spawned": Scene(SPAWNED),
    "spawned, channel leaked": Scene(SPAWNED, leaked=True),
    "strangers": Scene(STRANGERS),
}
LONG_SCENES = {
    "strangers, channel leaked": Scene(STRANGERS, leaked=True),
    "spawned, then a stranger": Scene((True, False)),
    "a stranger, then spawned": Scene((False, True)),
    "three spawned": Scene((True, True, True), garbling=False),
}


@pytest.fixture(autouse=True, scope="module")
def _no_garbage() -> Iterator[None]:
    """A search makes a million small tuples and no circles."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_the_invariants_hold_in_every_world(scene: Scene) -> None:
    _prove(scene)


@pytest.mark.all
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scene", LONG_SCENES.values(), ids=LONG_SCENES)
def test_the_invariants_hold_in_more_worlds(scene: Scene) -> None:
    _prove(scene)


def _prove(scene: Scene) -> None:
    search = Search(Model(scene))
    assert not search.findings, search.report()
    assert search.comes_to_rest()


def test_every_row_is_walked() -> None:
    """A row that no world needs would be a row that nothing proves."""
    walked: set[tuple[State, Event]] = set()

    def watched(rows: Table, messages: frozenset[Event]) -> Callable[[State, Event], Step]:
        def look_up(state: State, event: Event) -> Step:
            walked.add((state, event))
            return step(rows, messages, state, event)

        return look_up

    rules = Rules(
        source=watched(SOURCE_ROWS, SOURCE_MESSAGES), destination=watched(DESTINATION_ROWS, DESTINATION_MESSAGES)
    )
    for spawned in (True, False):
        Search(Model(Scene((spawned,)), rules))
        Search(Model(Scene((spawned,), leaked=True), rules))
    assert {**SOURCE_ROWS, **DESTINATION_ROWS}.keys() - walked == NEVER_WALKED


# What does not come up between two sound sides, and what the row is good for all the same.
NEVER_WALKED: set[tuple[State, Event]] = {
    # An attempt begins with a HELLO that came.
    (Source.GREETING, Event.CLOSED),
    (Source.GREETING, Event.DEAD),
    (Source.GREETING, Event.STOP),
    # The pidfd comes with WELCOME, the resources right after it: the driver may hear of death between them.
    (Destination.CALLING, Event.DEAD),
    # The byte is put before FINAL, so PREPARED has taken it already: the kernel's order, looked at once more.
    (Destination.LAST_LOOK, Event.GOT_O),
    # A source that closes has put A before: only a channel that breaks between two who live leads here.
    (Destination.DOOMED_LOOK, Event.CLOSED),
    (Destination.DOOMED_LOOK, Event.READABLE),
    (Destination.DOOMED_LOOK, Event.STOP),
    # A destination that took the byte had everything.
    (Source.WAITING, Event.UNABLE),
}


def test_a_stop_is_no_more_than_a_turn_that_does_not_come() -> None:
    """Real SIGSTOPs lead to no world that the model does not know without them."""
    for spawned in (True, False):
        without = Search(Model(Scene((spawned,))))
        stopping = Search(Model(Scene((spawned,), stops=3)))
        assert not stopping.findings, stopping.report()
        assert {_continued(world) for world in stopping.worlds} == set(without.worlds)
        assert any(process.life is Life.STOPPED for world in stopping.worlds for process in world.processes)


def _continued(world: World) -> World:
    processes = (
        process._replace(life=Life.RUNNING) if process.life is Life.STOPPED else process for process in world.processes
    )
    return world._replace(processes=tuple(processes), stops=0)


# -- what each rule is for --------------------------------------------------------------------------

_A, _E, _S, _D = Action, Event, Source, Destination
TWO_OWNERS = "two owners"
STALE_DESTINATION = "a destination starts with stale values"
STALE_SOURCE = "the source thaws with values that another has used"
LAST_LEAVES = "the last one who holds the listeners leaves"
NOBODY = "nobody serves"


def _source(*rows: tuple[tuple[State, Event], Step]) -> Rules:
    changed = {**SOURCE_ROWS, **dict(rows)}
    return ALL_RULES._replace(source=lambda state, event: step(changed, SOURCE_MESSAGES, state, event))


def _destination(*rows: tuple[tuple[State, Event], Step]) -> Rules:
    changed = {**DESTINATION_ROWS, **dict(rows)}
    return ALL_RULES._replace(destination=lambda state, event: step(changed, DESTINATION_MESSAGES, state, event))


_TICK_FIRST = Step(_D.OWNER, (_A.START, _A.SEND_OWNED))
_OWN = Step(_D.OWNER, (_A.SEND_OWNED, _A.START))
_BELIEVE_DEAD = Step(_S.SERVING, (_A.PUT_ABORT, _A.THAW, _A.CLOSE))


@pytest.mark.parametrize(
    ("rules", "scene", "found"),
    [
        pytest.param(Rules(fresh_pipe=False), Scene(STRANGERS, leaked=True), TWO_OWNERS, id="rule 2, one pipe for all"),
        pytest.param(Rules(abort_byte=False), Scene(STRANGERS, leaked=True), TWO_OWNERS, id="rule 3, no abort byte"),
        pytest.param(Rules(proven_death=False), Scene(SPAWNED, leaked=True), NOBODY, id="rule 4, waiting for the end"),
        pytest.param(
            _source(((_S.WAITING, _E.STOP), _BELIEVE_DEAD)), Scene((False,)), STALE_SOURCE, id="rule 4, late is dead"
        ),
        pytest.param(
            _source(((_S.OFFERED, _E.STOP), _BELIEVE_DEAD)), Scene((False,)), STALE_SOURCE, id="rule 1, no take-back"
        ),
        pytest.param(
            _destination(((_D.PREPARED, _E.GOT_O), _TICK_FIRST)), Scene((True,)), STALE_SOURCE, id="rule 5, first tick"
        ),
        pytest.param(
            _source(((_S.VETOING, _E.EMPTY), Step(_S.RETIRED, (_A.RETIRE,)))), Scene((True,)), LAST_LEAVES,
            id="rule 5, an empty pipe is no OWNED",
        ),
        pytest.param(
            _source(((_S.RETIRED, _E.DEAD), Step(_S.GONE, (_A.CLOSE,)))), Scene((True,)), LAST_LEAVES,
            id="rule 6, gone before BYE",
        ),
        pytest.param(
            _source(((_S.LEAVING, _E.DEAD), Step(_S.GONE, (_A.CLOSE,)))), Scene((True,)), LAST_LEAVES,
            id="rule 6, gone before RELEASED",
        ),
        pytest.param(
            _destination(((_D.OWNER, _E.BYE), Step(_D.STARTED, (_A.CLOSE,)))), Scene(SPAWNED), TWO_OWNERS,
            id="rule 6, RELEASED never sent",
        ),
        pytest.param(
            _source(((_S.DOUBTING, _E.EMPTY), Step(_S.WAITING))), Scene((True,)), STALE_SOURCE,
            id="an OWNED that nobody understands",
        ),
        pytest.param(
            _source(((_S.WAITING, _E.STOP), Step(_S.WAITING))), Scene((True,)), NOBODY, id="rule 7, nobody ends it"
        ),
        pytest.param(
            _destination(((_D.RECEIVING, _E.CLOSED), Step(_D.LEFT, (_A.LEAVE,)))), Scene((True,)), LAST_LEAVES,
            id="rule 4, the end of the channel is no abort",
        ),
        pytest.param(
            _destination(((_D.LAST_LOOK, _E.EMPTY), _OWN)), Scene((True,)), STALE_DESTINATION, id="rule 8, no byte"
        ),
        pytest.param(
            _destination(((_D.DOOMED_LAST_LOOK, _E.GOT_O), _OWN)), Scene((True,)), STALE_DESTINATION,
            id="rule 8, values not restored",
        ),
        pytest.param(
            _source(((_S.COPYING, _E.CONVERGED), Step(_S.OFFERED, (_A.PUT_BYTE, _A.SEND_FINAL, _A.FREEZE)))),
            Scene((True,)), STALE_DESTINATION, id="saving before the freeze",
        ),
        pytest.param(Rules(stop_last=False), Scene((True,)), LAST_LEAVES, id="a deadline before what waits"),
    ],
)  # fmt: skip
def test_a_rule_taken_out_is_missed(rules: Rules, scene: Scene, found: str) -> None:
    search = Search(Model(scene, rules), until=found)
    assert [finding for finding in search.findings if finding.startswith(found)], list(search.findings)


def test_a_finding_tells_the_way_there() -> None:
    search = Search(Model(Scene((True,)), _destination(((_D.PREPARED, _E.GOT_O), _TICK_FIRST))))
    path = search.findings[STALE_SOURCE].path
    assert path[0] == "P0 GREETING HELLO"
    assert path[-1] == "P0 THAW"
    assert path.index("P1 START") < path.index("kill P1")
    assert "P1 SEND_OWNED" not in path


# -- the failure table ------------------------------------------------------------------------------


def test_without_a_failure_an_attempt_does_what_it_is_for() -> None:
    assert undisturbed(Course.UPGRADE) == {Outcome.DESTINATION_HAS_ALL}
    for course in (Course.DRY_RUN, Course.UNABLE, Course.REFUSED):
        assert undisturbed(course) == {Outcome.SOURCE_HAS_ALL}


FAILURE_TABLE = {
    "destination dies or stops before it took the byte": (
        ["send_round_done.before", "send_round_done.after", "send_prepared.before", "send_prepared.after",
         "take_byte.before"],
        "destination", {"kill", "stop", "pause"}, Outcome.SOURCE_HAS_ALL,
    ),
    "destination dies or stops after the byte, before OWNED": (
        ["take_byte.after", "send_owned.before"], "destination", {"kill", "stop", "pause"}, Outcome.SOURCE_HAS_ALL,
    ),
    "destination dies after OWNED, before RELEASED": (
        ["send_owned.after", "start.before", "start.after", "send_released.before"],
        "destination", {"kill"}, Outcome.SOURCE_HAS_LISTENERS,
    ),
    "destination dies after that": (
        ["send_released.after", "close.before", "close.after"], "destination", {"kill"}, Outcome.NOBODY,
    ),
    "source dies or stops once the destination has FINAL": (
        ["send_final.after", "retire.before", "retire.after", "send_stragglers.before", "send_stragglers.after",
         "send_bye.before", "send_bye.after", "close.before", "close.after"],
        "source", {"kill", "stop", "pause"}, Outcome.DESTINATION_HAS_ALL,
    ),
    "source dies earlier": (
        ["send_resources.after", "copy_round.before", "copy_round.after", "freeze.before", "freeze.after",
         "put_byte.before", "put_byte.after", "send_final.before"],
        "source", {"kill"}, Outcome.DESTINATION_HAS_LISTENERS,
    ),
    "source dies before it gave anything": (
        ["send_welcome.before", "send_welcome.after", "send_resources.before"], "source", {"kill"}, Outcome.COLD_START,
    ),
    "source stopped before FINAL was sent": (
        ["send_resources.after", "copy_round.before", "copy_round.after", "freeze.before", "freeze.after",
         "put_byte.before", "put_byte.after", "send_final.before"],
        "source", {"stop"}, Outcome.OWNER_STOPPED,
    ),
    "source stopped before FINAL was sent, and continued": (
        ["send_resources.after", "copy_round.before", "copy_round.after", "freeze.before", "freeze.after",
         "put_byte.before", "put_byte.after", "send_final.before"],
        "source", {"pause"}, Outcome.SOURCE_HAS_ALL,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("points", "role", "failures", "expected"), FAILURE_TABLE.values(), ids=FAILURE_TABLE)
def test_a_failure_has_the_result_that_the_failure_table_promises(
    points: list[str], role: str, failures: set[str], expected: Outcome
) -> None:
    for point in points:
        for failure in sorted(failures):
            result = outcomes(f"{role}.{point}", failure)
            assert result.reached, point
            assert result.outcomes == {expected}, (point, failure)


def test_only_a_stopped_stranger_with_the_byte_cannot_be_helped() -> None:
    """The source may not kill what it did not spawn."""
    for point in ("destination.take_byte.after", "destination.send_owned.before"):
        assert outcomes(point, "stop", spawned=False).outcomes == {Outcome.OWNER_STOPPED}
        assert outcomes(point, "pause", spawned=False).outcomes == {Outcome.DESTINATION_HAS_ALL}


def test_every_fault_point_has_one_result() -> None:
    unreached = set()
    for point in fault_points():
        results = [outcomes(point, failure, course) for course in Course for failure in ("kill", "stop", "pause")]
        if not any(result.reached for result in results):
            unreached.add(point)
        assert all(len(result.outcomes) == 1 for result in results), point
    # These are only passed after another failure.
    assert {point.rpartition(".")[0] for point in unreached} == {"source.take_listeners", "destination.start_cold"}


SAME = {
    Outcome.DESTINATION_HAS_ALL: faults.Outcome.MOVED,
    Outcome.SOURCE_HAS_ALL: faults.Outcome.UNDONE,
    Outcome.DESTINATION_HAS_LISTENERS: faults.Outcome.LISTENERS,
    Outcome.SOURCE_HAS_LISTENERS: faults.Outcome.LISTENERS,
    Outcome.COLD_START: faults.Outcome.RESTARTED,
    Outcome.NOBODY: faults.Outcome.NOBODY,
}


@pytest.mark.parametrize(("failure", "table"), [("kill", faults.KILLED), ("pause", faults.STOPPED)])
def test_the_tests_with_real_processes_expect_the_same(
    failure: str, table: dict[str, tuple[faults.Outcome, faults.Outcome]]
) -> None:
    usual = [point for point in fault_points() if faults.way_to(point) == faults.USUAL]
    expected = {point: faults.outcome_of(table, point) for point in usual}
    assert {point: SAME[_one(point, failure)] for point in usual} == expected


def _one(point: str, failure: str) -> Outcome:
    (outcome,) = outcomes(point, failure).outcomes
    return outcome
