"""The table of a sidecar's life, walked exhaustively: every outcome, every death, an agent killed at each step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from vm_agent.lifecycle.states import (
    REPORTS,
    RESTS,
    RESUMED,
    TABLE,
    UPGRADING,
    WORK,
    Action,
    Event,
    Found,
    State,
    resume,
    step,
)

BEFORE, AFTER = "before", "after"


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_one_piece_of_work_at_most_is_begun_and_it_comes_last(state: State, event: Event) -> None:
    _, actions = TABLE[state, event]
    works = [action for action in actions if action in WORK]
    assert len(works) <= 1
    assert not works or actions[-1] is works[0]


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_whatever_the_work_reports_leads_somewhere(state: State, event: Event) -> None:
    after, actions = TABLE[state, event]
    for action in actions:
        for report in REPORTS.get(action, ()):
            assert step(after, report) is not None, f"{after} does not know what to do about {report}"


@pytest.mark.parametrize("state", State)
def test_work_is_under_way_in_every_state_but_at_rest(state: State) -> None:
    begun = {
        actions[-1] in WORK or actions[-1] is Action.WAIT
        for after, actions in [*TABLE.values(), *RESUMED.values()]
        if after is state and actions
    }
    assert begun <= ({False, True} if state in RESTS else {True})


@pytest.mark.parametrize(("state", "found"), list(itertools.product(State, Found)))
def test_an_agent_that_comes_back_goes_on_from_anything_it_may_find(state: State, found: Found) -> None:
    after, actions = resume(state, found)
    assert after in RESTS or actions[-1] in WORK


@pytest.mark.parametrize("state", sorted(UPGRADING))
def test_an_upgrade_that_nobody_finished_hearing_of_is_finished_or_undone(state: State) -> None:
    for found in Found:
        after, actions = resume(state, found)
        ends = {Action.UNDO, Action.CONDEMN, Action.KEEP} & {*actions}
        assert bool(ends) is (after not in UPGRADING)


# -- the walk ---------------------------------------------------------------------------------------


class World(NamedTuple):
    """A sidecar, its agent, and what really runs."""

    state: State
    work: Action | None
    """Under way; None: at rest, or waiting."""
    serving: str
    """The release of the process; empty: none."""
    link: str
    operation: bool
    endings: int
    """How often the operation was ended: kept, condemned, undone."""
    stuck: bool
    """A way back that failed."""


START = World(State.ABSENT, None, "", BEFORE, operation=False, endings=0, stuck=False)


def entered(world: World, state: State, actions: tuple[Action, ...]) -> World:
    """The world after a step, with what its actions do at once."""
    for action in actions:
        match action:
            case Action.CANCEL:
                world = world._replace(work=None)
            case Action.BEGIN:
                assert not world.operation
                world = world._replace(operation=True, endings=0)
            case Action.KEEP:
                world = world._replace(link=world.serving, operation=False, endings=world.endings + 1)
            case Action.CONDEMN | Action.UNDO | Action.POSTPONE:
                assert world.operation, f"{action} ends an operation, and there is none ({world})"
                world = world._replace(operation=False, endings=world.endings + 1)
            case Action.WAIT | Action.LOOK_AFTER:
                pass
            case work:
                assert work in WORK
                assert world.work is None, f"{work} while {world.work} is under way"
                world = world._replace(work=work)
    return world._replace(state=state)


def happened(world: World, event: Event) -> World | None:
    found = step(world.state, event)
    return None if found is None else entered(world, *found)


def outcomes(world: World) -> Iterator[tuple[Event, World]]:
    """What the work under way may come to, with what it did to the process."""
    done = world._replace(work=None)
    match world.work:
        case Action.START:
            yield Event.READY, done._replace(serving=world.link)
        case Action.HAND_OVER:
            yield Event.MOVED, done._replace(serving=AFTER)
        case Action.BAKE:
            yield Event.PASSED, done
            yield Event.CONDEMNED, done
            yield Event.RETURNED, done._replace(serving=BEFORE)
        case Action.GO_BACK:
            yield Event.RETURNED, done._replace(serving=BEFORE)
            yield Event.FAILED, done._replace(stuck=world.serving == AFTER)
            return
        case Action.STOP:
            yield Event.STOPPED, done._replace(serving="")
        case Action.INSTALL:
            yield Event.INSTALLED, done
        case Action.REHEARSE:
            yield Event.REHEARSED, done
        case None:
            return
    for failure in REPORTS[world.work] & {Event.FAILED, Event.HINDERED}:
        yield failure, done


def moves(world: World) -> Iterator[tuple[str, World | None]]:
    for event, then in outcomes(world):
        yield event, happened(then, event)
    yield Event.WANTED, happened(world, Event.WANTED)
    yield Event.UNWANTED, happened(world, Event.UNWANTED)
    if world.work is None:
        yield Event.RETRY, happened(world, Event.RETRY)
    if world.serving == world.link == BEFORE:
        yield Event.OUTDATED, happened(world, Event.OUTDATED)
    if world.serving and world.work is not Action.STOP:
        dead = world._replace(serving="")
        yield Event.LOST, happened(dead, Event.LOST)
        yield "died and started anew", world._replace(serving=world.link, stuck=False)
    yield from killed(world)


def killed(world: World) -> Iterator[tuple[str, World]]:
    """The agent dies here, before or after its work took effect, and another one begins."""
    heard = [world, *(then for _, then in outcomes(world))]
    for after in heard:
        for serving in {after.serving, ""}:
            found = (
                Found.NOTHING if not serving else Found.AFTER if serving == AFTER and after.operation else Found.BEFORE
            )
            left = after._replace(work=None, serving=serving, stuck=after.stuck and bool(serving))
            yield f"the agent is killed, {found}", entered(left, *resume(world.state, found))


def worlds() -> dict[World, tuple[World | None, str]]:
    """Every world that can be reached, each with the one before it and how."""
    seen: dict[World, tuple[World | None, str]] = {START: (None, "")}
    todo = [START]
    while todo:
        world = todo.pop()
        for how, after in moves(world):
            if after is not None and after not in seen:
                seen[after] = (world, how)
                todo.append(after)
    return seen


REACHED = worlds()


def story(world: World | None) -> str:
    lines = []
    while world is not None:
        before, how = REACHED[world]
        lines.append(f"{how:32} {world}")
        world = before
    return "\n".join(reversed(lines))


def test_every_state_can_be_reached() -> None:
    assert {world.state for world in REACHED} == set(State)


def test_an_operation_is_remembered_exactly_while_an_upgrade_is_under_way() -> None:
    for world in REACHED:
        assert world.operation is (world.state in UPGRADING), story(world)


def test_an_operation_ends_once() -> None:
    for world in REACHED:
        assert world.endings <= 1 or not world.operation, story(world)


def test_at_rest_what_serves_is_what_would_be_started() -> None:
    for world in REACHED:
        if world.state is State.SERVING and world.serving and not world.stuck:
            assert world.serving == world.link, story(world)


def test_only_a_release_that_served_its_bake_is_current() -> None:
    for world in REACHED:
        if world.operation:
            assert world.link == BEFORE, story(world)


def test_nothing_but_rest_waits_for_ever() -> None:
    for world in REACHED:
        assert world.work is not None or world.state in RESTS or world.state is State.STOPPING, story(world)


def test_from_everywhere_luck_leads_to_rest() -> None:
    for world in REACHED:
        here: World | None = world
        for _ in range(10):
            assert here is not None
            if here.state in RESTS:
                break
            lucky = next(iter(outcomes(here)), None)
            here = happened(here, Event.RETRY) if lucky is None else happened(lucky[1], lucky[0])
        assert here is not None
        assert here.state in RESTS, story(world)
