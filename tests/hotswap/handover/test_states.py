"""The tables, exhaustively: every state and every event, every action, every fault point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from hotswap.handover.states import (
    DESTINATION_MESSAGES,
    DESTINATION_ROWS,
    ENDS,
    MAY_TICK,
    SOURCE_MESSAGES,
    SOURCE_ROWS,
    Action,
    Destination,
    Event,
    ImpossibleEvent,
    Source,
    State,
    Step,
    Table,
    destination_step,
    fault_points,
    source_step,
)
from tests.hotswap.handover import render


class Machine(NamedTuple):
    states: type[Source | Destination]
    rows: Table
    messages: frozenset[Event]
    step: Callable[[State, Event], Step]
    first: State
    ticks_first: bool


MACHINES = (
    Machine(Source, SOURCE_ROWS, SOURCE_MESSAGES, source_step, Source.GREETING, ticks_first=True),
    Machine(
        Destination, DESTINATION_ROWS, DESTINATION_MESSAGES, destination_step, Destination.CALLING, ticks_first=False
    ),
)
# States that ask the kernel and get the answer before anything else can happen: their only events are answers.
ASKING = {
    Source.VETOING: {Event.TOOK, Event.EMPTY},
    Source.DOUBTING: {Event.TOOK, Event.EMPTY},
    Destination.LAST_LOOK: {Event.GOT_O, Event.GOT_A, Event.EMPTY},
    Destination.DOOMED_LAST_LOOK: {Event.GOT_O, Event.GOT_A, Event.EMPTY},
}
ASKS = {Action.TAKE_BACK: {Event.TOOK, Event.EMPTY}, Action.TAKE_BYTE: {Event.GOT_O, Event.GOT_A, Event.EMPTY}}
TICKS_AFTER = {
    Action.FREEZE: False,
    Action.RETIRE: False,
    Action.THAW: True,
    Action.START: True,
    Action.START_COLD: True,
    Action.TAKE_LISTENERS: True,
}


def _cells() -> Iterator[tuple[Machine, State, Event]]:
    for machine in MACHINES:
        for state in machine.states:
            for event in Event:
                yield machine, state, event


@pytest.mark.parametrize(
    ("machine", "state", "event"),
    [pytest.param(*cell, id=f"{cell[0].states.__name__}-{cell[1].name}-{cell[2].name}") for cell in _cells()],
)
def test_every_state_and_event_has_a_row_or_is_a_breach_or_is_impossible(
    machine: Machine, state: State, event: Event
) -> None:
    row = machine.rows.get((state, event))
    if row is not None:
        assert machine.step(state, event) == row
    elif event in machine.messages and state not in ENDS and state not in ASKING:
        stop = machine.rows[state, Event.STOP]
        assert machine.step(state, event) == machine.rows.get((state, Event.BREACH), stop)
    else:
        with pytest.raises(ImpossibleEvent, match=f"{event.name} in state {machine.states.__name__}.{state.name}"):
            machine.step(state, event)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.states.__name__)
class TestMachine:
    def test_names_only_its_own_states(self, machine: Machine) -> None:
        for (state, _), step in machine.rows.items():
            assert isinstance(state, machine.states)
            assert isinstance(step.state, machine.states)

    def test_can_be_stopped_in_every_state_that_waits(self, machine: Machine) -> None:
        for state in machine.states:
            assert ((state, Event.STOP) in machine.rows) == (state not in ENDS and state not in ASKING)

    def test_hears_the_end_and_the_death_of_the_other_in_every_state_that_waits(self, machine: Machine) -> None:
        for state in set(machine.states) - ENDS - set(ASKING):
            assert (state, Event.CLOSED) in machine.rows
            assert (state, Event.DEAD) in machine.rows

    def test_ends_have_no_rows(self, machine: Machine) -> None:
        assert not [cell for cell in machine.rows if cell[0] in ENDS]

    def test_states_that_ask_know_every_answer_and_nothing_else(self, machine: Machine) -> None:
        for state, answers in ASKING.items():
            if isinstance(state, machine.states):
                assert {event for before, event in machine.rows if before is state} == answers

    def test_asks_last_and_only_where_all_answers_are_known(self, machine: Machine) -> None:
        for step in machine.rows.values():
            for at, action in enumerate(step.actions):
                if action in ASKS:
                    assert at == len(step.actions) - 1
                    assert all((step.state, answer) in machine.rows for answer in ASKS[action])

    def test_every_state_can_be_reached_and_every_state_leads_to_an_end(self, machine: Machine) -> None:
        onward = {
            state: {step.state for (before, _), step in machine.rows.items() if before is state}
            for state in machine.states
        }
        assert _reached(onward, machine.first) == set(machine.states)
        for state in machine.states:
            assert _reached(onward, state) & ENDS

    def test_may_tick_is_what_its_actions_make_of_it(self, machine: Machine) -> None:
        """Walk all rows from the first state: freezing and thawing must add up to `MAY_TICK` on every way."""
        ticking = {machine.first: machine.ticks_first}
        waiting = [machine.first]
        while waiting:
            before = waiting.pop()
            for (state, _), step in machine.rows.items():
                if state is not before:
                    continue
                after = ticking[before]
                for action in step.actions:
                    after = TICKS_AFTER.get(action, after)
                if step.state not in ticking:
                    ticking[step.state] = after
                    waiting.append(step.state)
                assert ticking[step.state] == after, f"{before.name} -> {step.state.name}"
        # Whoever found nobody to take over from starts after its attempt, under the lock.
        assert {state for state, ticks in ticking.items() if ticks} == MAY_TICK & set(machine.states)

    def test_owned_is_sent_before_the_first_tick(self, machine: Machine) -> None:
        for step in machine.rows.values():
            for start in {Action.START, Action.START_COLD} & set(step.actions):
                assert step.actions.index(Action.SEND_OWNED) < step.actions.index(start)

    def test_the_source_freezes_before_it_saves_what_it_will_offer(self, machine: Machine) -> None:
        for step in machine.rows.values():
            if Action.PUT_BYTE in step.actions:
                assert step.actions[0] is Action.FREEZE

    def test_an_abort_is_put_before_the_channel_closes(self, machine: Machine) -> None:
        for step in machine.rows.values():
            if Action.PUT_ABORT in step.actions:
                assert step.actions.index(Action.PUT_ABORT) < step.actions.index(Action.CLOSE)


def test_both_machines_together_use_every_action_and_every_event() -> None:
    assert {action for machine in MACHINES for step in machine.rows.values() for action in step.actions} == set(Action)
    assert {event for machine in MACHINES for _, event in machine.rows} == set(Event)


def test_every_message_that_a_machine_knows_is_expected_somewhere() -> None:
    for machine in MACHINES:
        assert machine.messages - {Event.BREACH} <= {event for _, event in machine.rows}


def test_values_are_used_only_with_the_byte_in_hand() -> None:
    starts = [cell for cell, step in DESTINATION_ROWS.items() if Action.START in step.actions]
    assert {event for _, event in starts} == {Event.GOT_O}
    assert {state for state, _ in starts} == {Destination.PREPARED, Destination.LAST_LOOK}


def test_every_action_is_framed_by_two_named_fault_points() -> None:
    expected = {
        f"{role}.{action.name.lower()}.{when}"
        for role, machine in zip(("source", "destination"), MACHINES, strict=True)
        for step in machine.rows.values()
        for action in step.actions
        for when in ("before", "after")
    }
    assert set(fault_points()) == expected
    assert len(fault_points()) == len(expected)


def test_the_page_about_the_machines_is_current() -> None:
    assert render.PAGE.read_text(encoding="utf-8") == render.page(), "run: python -m tests.hotswap.handover.render"


def _reached(onward: dict[State, set[State]], first: State) -> set[State]:
    seen = {first}
    waiting = [first]
    while waiting:
        new = onward[waiting.pop()] - seen
        seen |= new
        waiting.extend(new)
    return seen
