"""The query machine: every row of its table, with the time as an argument."""

from __future__ import annotations

import pytest

from hotswap.address import Address
from proxy.dns.answer import Failed, Found
from proxy.dns.message import CNAME, A
from proxy.dns.query import MOVES, Event, Query, State
from tests.proxy.dns.test_message import ASKED, POINTER, record, reply, wire

SERVERS = [Address.parse("127.0.0.1:53"), Address.parse("127.0.0.2:53")]
ANSWER = reply(record(POINTER, A, b"\x0a\0\0\1"))

INPUT = {
    Event.ANSWER: ANSWER,
    Event.ALIAS: reply(record(POINTER, CNAME, wire("b.test"))),
    Event.TRUNCATED: reply(flags=0x8380),
    Event.STRAY: reply(number=8),
    Event.BAD: reply(rcode=2),
}


def begun(state: State = State.UDP, attempts: int = 1) -> Query:
    query = Query(ASKED, SERVERS, attempts, 2.0, lambda _: 7)
    query.begin(100.0)
    if state is State.TCP:
        query.heard(INPUT[Event.TRUNCATED], 100.0)
    return query


def cause(query: Query, event: Event, now: float = 101.0) -> None:
    if event in INPUT:
        query.heard(INPUT[event], now)
    elif event is Event.LATE:
        query.late(now)
    else:
        query.unreachable("connection refused", now)


def test_the_table_knows_every_event() -> None:
    assert set(MOVES) == set(State)
    assert all(set(MOVES[state]) == set(Event) for state in (State.UDP, State.TCP))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", [State.UDP, State.TCP])
def test_every_row(state: State, event: Event) -> None:
    query = begun(state)
    before = query.attempt
    cause(query, event)
    after = query.attempt
    if event is Event.ANSWER:
        assert (query.outcome, after) == (Found(("10.0.0.1",), 60), None)
        return
    assert after is not None
    if (state, event) == (State.UDP, Event.STRAY):
        assert after is before, "the wait goes on, until the same time"
    elif (state, event) == (State.UDP, Event.TRUNCATED):
        assert (after.server, after.tcp, after.due) == (SERVERS[0], True, 103.0)
    elif event is Event.ALIAS:
        assert (after.server, after.tcp) == (SERVERS[0], False)
        assert wire("b.test") in after.message
    else:
        assert (after.server, after.tcp, after.due) == (SERVERS[1], False, 103.0)


@pytest.mark.parametrize("event", [Event.BAD, Event.UNREACHABLE, Event.LATE])
def test_it_fails_when_every_server_was_asked_so_often(event: Event) -> None:
    query = begun(attempts=2)
    asked = []
    while query.attempt is not None:
        asked.append(query.attempt.server)
        cause(query, event)
    assert asked == SERVERS * 2
    assert isinstance(query.outcome, Failed)
    assert query.outcome.why.startswith("127.0.0.2:53: ")


def test_what_is_malformed_counts_only_with_the_right_id() -> None:
    for number, stays in ((7, False), (8, True)):
        query = begun()
        before = query.attempt
        query.heard(reply(number=number)[:-1], 100.0)
        assert (query.attempt is before) is stays


def test_an_answer_to_another_question_is_a_stray() -> None:
    query = begun()
    before = query.attempt
    query.heard(ANSWER.replace(b"\3app", b"\3apq"), 100.0)
    assert query.attempt is before


def test_aliases_over_several_answers_are_bounded() -> None:
    query = begun()
    for number in range(20):
        if query.attempt is None:
            break
        name, after = (wire("app.test"), wire("app.test"))
        query.heard(reply(record(name, CNAME, after)), 100.0 + number)
    assert isinstance(query.outcome, Failed)
