"""The two machines of the handover, as tables. Everything that decides who may tick stands here.

    destination                                      source (serving)
    HELLO  versions, schemas, build, pidfd        ->
                                                  <- WELCOME versions chosen, pidfd | REFUSED reason
                                                  <- LISTENERS (fds) LOCK (fd) PIPE (read end, fresh)
                                                  <- ROUND 1: every connection (values + fds)    serving
    restores each, inert
    ROUND_DONE n restored, problems               ->
                                                  <- ROUND 2..k: what changed since              serving
                                                     FREEZE: stop ticking
                                                     puts the byte O into the pipe
                                                  <- FINAL: the rest, shared state, count, digest
    checks: PREPARED (else UNABLE)                ->
    takes the byte: is owner
    OWNED                                         ->
    ticks                                            retires
                                                  <- STRAGGLER (value + fd) each
                                                  <- BYE
    RELEASED                                      ->  exits 0

Ownership is one byte in a pipe: whoever holds the byte may tick. The source's veto is to take it
back. An abort is a second kind of byte, A, put before the channel closes. Death is a pidfd that
became readable, with the channel drained; the end of the channel alone is not death.

A row reads: in this state, on this event, go to that state and do these actions, in this order.
Actions that ask the kernel something (`TAKE_BACK`, `TAKE_BYTE`) answer with an event. The tables are
total: what no row names is, for a message, a `BREACH` of the protocol, and a `BREACH` is treated like
`STOP` where no row says more; an answer nobody asked for cannot happen and raises. The model check in
tests/hotswap/handover walks these very tables.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Event(Enum):
    """What a machine reacts to."""

    # Messages to the source.
    HELLO = auto()  # acceptable; an unacceptable one is BAD_HELLO
    BAD_HELLO = auto()
    ROUND_DONE = auto()
    PREPARED = auto()
    UNABLE = auto()
    OWNED = auto()
    RELEASED = auto()
    # Messages to the destination.
    WELCOME = auto()
    REFUSED = auto()
    FINAL = auto()  # everything is there and count and digest are right; else MISMATCH
    MISMATCH = auto()
    BYE = auto()
    BREACH = auto()  # what came is no message, or out of turn
    # The channel and the other process.
    CLOSED = auto()  # the channel ended and is drained; says nothing about death
    DEAD = auto()  # the other's pidfd is readable and the channel is drained
    # The byte.
    TOOK = auto()  # the source has taken O back
    GOT_O = auto()
    GOT_A = auto()
    EMPTY = auto()
    READABLE = auto()  # something is in the pipe
    # From this side.
    CONVERGED = auto()  # what is dirty fits the downtime budget, or rounds ran out
    REHEARSE = auto()  # the same, in a dry run
    FLUSHED = auto()  # every straggler is sent
    STOP = auto()  # deadline, signal, cancelled, protocol broken


class Action(Enum):
    """What a machine does. Every action is framed by two fault points."""

    SEND_WELCOME = auto()
    SEND_REFUSED = auto()
    SEND_RESOURCES = auto()  # LISTENERS, LOCK, PIPE
    COPY_ROUND = auto()
    FREEZE = auto()
    SEND_FINAL = auto()
    PUT_BYTE = auto()
    TAKE_BACK = auto()  # answers TOOK or EMPTY
    PUT_ABORT = auto()
    THAW = auto()
    END_DESTINATION = auto()  # SIGKILL, if this process spawned it
    RETIRE = auto()
    SEND_STRAGGLERS = auto()
    SEND_BYE = auto()
    TAKE_LISTENERS = auto()  # serve on with the listeners; the connections are gone
    CLOSE = auto()

    SEND_ROUND_DONE = auto()
    SEND_PREPARED = auto()
    SEND_UNABLE = auto()
    TAKE_BYTE = auto()  # answers GOT_O, GOT_A or EMPTY
    SEND_OWNED = auto()
    START = auto()
    START_COLD = auto()  # as owner of the listeners only
    SEND_RELEASED = auto()
    LEAVE = auto()  # os._exit: inert to the end


class Source(Enum):
    """States of a source within one attempt."""

    GREETING = auto()  # serving; HELLO expected
    COPYING = auto()  # serving; rounds
    REHEARSING = auto()  # dry run: serving; FINAL sent, O never put
    OFFERED = auto()  # frozen; O put, FINAL sent
    VETOING = auto()  # frozen; taking O back
    DOUBTING = auto()  # frozen; taking O back after a breach that may have been meant for OWNED
    WAITING = auto()  # frozen; O is gone: OWNED or a proven death decides
    RETIRED = auto()  # the destination owns; the listeners are kept
    LEAVING = auto()  # BYE sent; the listeners are kept until RELEASED
    SERVING = auto()  # end: the attempt is over, this generation serves on with everything
    ALONE = auto()  # end: the destination died as owner; serves on with the listeners
    GONE = auto()  # end: everything is given away


class Destination(Enum):
    """States of a destination within one attempt."""

    CALLING = auto()  # HELLO sent
    RECEIVING = auto()  # inert; restoring
    PREPARED = auto()  # inert; all values are right, waits for the byte
    LAST_LOOK = auto()  # inert; the source is dead, the pipe decides
    DOOMED = auto()  # inert; the values are not usable, waits for the end
    DOOMED_LOOK = auto()  # inert; values not usable, channel ended, source not proven dead
    DOOMED_LAST_LOOK = auto()  # inert; values not usable, source dead
    OWNER = auto()  # ticks; OWNED sent
    STARTED = auto()  # end: owner with everything
    COLD = auto()  # end: owner of the listeners only
    ALONE = auto()  # end: the source is gone before it gave anything; start afresh
    LEFT = auto()  # end: exits


State = Source | Destination


class Step(NamedTuple):
    """The right side of a row."""

    state: State
    actions: tuple[Action, ...] = ()


Table = dict[tuple[State, Event], Step]

_A, _E, _S, _D = Action, Event, Source, Destination

_GIVE_UP_SERVING = Step(_S.SERVING, (_A.PUT_ABORT, _A.CLOSE, _A.END_DESTINATION))
_TAKE_BACK = Step(_S.VETOING, (_A.TAKE_BACK,))
_TAKEN_BACK = Step(_S.SERVING, (_A.PUT_ABORT, _A.THAW, _A.CLOSE, _A.END_DESTINATION))
_HAND_OUT = Step(_S.RETIRED, (_A.RETIRE, _A.SEND_STRAGGLERS))

SOURCE_ROWS: Table = {
    (_S.GREETING, _E.HELLO): Step(_S.COPYING, (_A.SEND_WELCOME, _A.SEND_RESOURCES, _A.COPY_ROUND)),
    (_S.GREETING, _E.BAD_HELLO): Step(_S.SERVING, (_A.SEND_REFUSED, _A.CLOSE)),
    (_S.GREETING, _E.CLOSED): Step(_S.SERVING, (_A.CLOSE,)),
    (_S.GREETING, _E.DEAD): Step(_S.SERVING, (_A.CLOSE,)),
    (_S.GREETING, _E.STOP): Step(_S.SERVING, (_A.CLOSE, _A.END_DESTINATION)),
    #
    (_S.COPYING, _E.ROUND_DONE): Step(_S.COPYING, (_A.COPY_ROUND,)),
    # O before FINAL: whoever has FINAL finds the byte, even if the source dies right after sending it.
    (_S.COPYING, _E.CONVERGED): Step(_S.OFFERED, (_A.FREEZE, _A.PUT_BYTE, _A.SEND_FINAL)),
    (_S.COPYING, _E.REHEARSE): Step(_S.REHEARSING, (_A.SEND_FINAL,)),
    (_S.COPYING, _E.UNABLE): _GIVE_UP_SERVING,
    (_S.COPYING, _E.CLOSED): _GIVE_UP_SERVING,
    (_S.COPYING, _E.DEAD): _GIVE_UP_SERVING,
    (_S.COPYING, _E.STOP): _GIVE_UP_SERVING,
    #
    (_S.REHEARSING, _E.PREPARED): _GIVE_UP_SERVING,
    (_S.REHEARSING, _E.UNABLE): _GIVE_UP_SERVING,
    (_S.REHEARSING, _E.CLOSED): _GIVE_UP_SERVING,
    (_S.REHEARSING, _E.DEAD): _GIVE_UP_SERVING,
    (_S.REHEARSING, _E.STOP): _GIVE_UP_SERVING,
    #
    (_S.OFFERED, _E.PREPARED): Step(_S.OFFERED),
    (_S.OFFERED, _E.OWNED): _HAND_OUT,
    (_S.OFFERED, _E.UNABLE): _TAKE_BACK,
    (_S.OFFERED, _E.CLOSED): _TAKE_BACK,
    (_S.OFFERED, _E.DEAD): _TAKE_BACK,
    (_S.OFFERED, _E.STOP): _TAKE_BACK,
    (_S.OFFERED, _E.BREACH): Step(_S.DOUBTING, (_A.TAKE_BACK,)),
    #
    (_S.VETOING, _E.TOOK): _TAKEN_BACK,
    (_S.VETOING, _E.EMPTY): Step(_S.WAITING),
    # Whoever has the byte and says something nobody understands may tick already: never thaw on it.
    (_S.DOUBTING, _E.TOOK): _TAKEN_BACK,
    (_S.DOUBTING, _E.EMPTY): _HAND_OUT,
    #
    (_S.WAITING, _E.PREPARED): Step(_S.WAITING),
    (_S.WAITING, _E.UNABLE): Step(_S.WAITING),
    (_S.WAITING, _E.CLOSED): Step(_S.WAITING),
    (_S.WAITING, _E.OWNED): _HAND_OUT,
    (_S.WAITING, _E.BREACH): _HAND_OUT,
    # Dead, drained, no OWNED: by rule it did nothing between taking the byte and sending OWNED.
    (_S.WAITING, _E.DEAD): Step(_S.SERVING, (_A.PUT_ABORT, _A.THAW, _A.CLOSE)),
    (_S.WAITING, _E.STOP): Step(_S.WAITING, (_A.END_DESTINATION,)),
    #
    (_S.RETIRED, _E.FLUSHED): Step(_S.LEAVING, (_A.SEND_BYE,)),
    (_S.RETIRED, _E.OWNED): Step(_S.RETIRED),  # it was PREPARED that nobody understood
    (_S.RETIRED, _E.CLOSED): Step(_S.RETIRED),
    (_S.RETIRED, _E.DEAD): Step(_S.ALONE, (_A.TAKE_LISTENERS, _A.CLOSE)),
    (_S.RETIRED, _E.STOP): Step(_S.RETIRED),
    #
    (_S.LEAVING, _E.OWNED): Step(_S.LEAVING),
    (_S.LEAVING, _E.RELEASED): Step(_S.GONE, (_A.CLOSE,)),
    (_S.LEAVING, _E.BREACH): Step(_S.GONE, (_A.CLOSE,)),  # it may have been RELEASED
    (_S.LEAVING, _E.CLOSED): Step(_S.LEAVING),
    # Dead, drained, no RELEASED: it gave the listeners to nobody, and they are still here.
    (_S.LEAVING, _E.DEAD): Step(_S.ALONE, (_A.TAKE_LISTENERS, _A.CLOSE)),
    (_S.LEAVING, _E.STOP): Step(_S.GONE, (_A.CLOSE,)),
}

_LEAVE = Step(_D.LEFT, (_A.LEAVE,))
_OWN = Step(_D.OWNER, (_A.SEND_OWNED, _A.START))
_OWN_COLD = Step(_D.COLD, (_A.SEND_OWNED, _A.START_COLD))

DESTINATION_ROWS: Table = {
    (_D.CALLING, _E.WELCOME): Step(_D.RECEIVING),
    (_D.CALLING, _E.REFUSED): _LEAVE,
    (_D.CALLING, _E.CLOSED): Step(_D.ALONE, (_A.CLOSE,)),
    (_D.CALLING, _E.DEAD): Step(_D.ALONE, (_A.CLOSE,)),
    (_D.CALLING, _E.STOP): _LEAVE,
    #
    (_D.RECEIVING, _E.ROUND_DONE): Step(_D.RECEIVING, (_A.SEND_ROUND_DONE,)),
    (_D.RECEIVING, _E.FINAL): Step(_D.PREPARED, (_A.SEND_PREPARED, _A.TAKE_BYTE)),
    (_D.RECEIVING, _E.MISMATCH): Step(_D.DOOMED, (_A.SEND_UNABLE,)),
    (_D.RECEIVING, _E.CLOSED): Step(_D.DOOMED_LOOK, (_A.TAKE_BYTE,)),
    (_D.RECEIVING, _E.DEAD): Step(_D.DOOMED_LAST_LOOK, (_A.TAKE_BYTE,)),
    (_D.RECEIVING, _E.STOP): _LEAVE,
    # Rule 8: the values count only with O in hand.
    (_D.PREPARED, _E.GOT_O): _OWN,
    (_D.PREPARED, _E.GOT_A): _LEAVE,
    (_D.PREPARED, _E.EMPTY): Step(_D.PREPARED),
    (_D.PREPARED, _E.READABLE): Step(_D.PREPARED, (_A.TAKE_BYTE,)),
    (_D.PREPARED, _E.CLOSED): Step(_D.PREPARED, (_A.TAKE_BYTE,)),
    (_D.PREPARED, _E.DEAD): Step(_D.LAST_LOOK, (_A.TAKE_BYTE,)),
    (_D.PREPARED, _E.STOP): _LEAVE,
    #
    (_D.LAST_LOOK, _E.GOT_O): _OWN,
    (_D.LAST_LOOK, _E.GOT_A): _LEAVE,
    (_D.LAST_LOOK, _E.EMPTY): _OWN_COLD,
    # A living source takes O back from a doomed one; only a dead one leaves it there.
    (_D.DOOMED, _E.CLOSED): Step(_D.DOOMED_LOOK, (_A.TAKE_BYTE,)),
    (_D.DOOMED, _E.DEAD): Step(_D.DOOMED_LAST_LOOK, (_A.TAKE_BYTE,)),
    (_D.DOOMED, _E.STOP): _LEAVE,
    #
    (_D.DOOMED_LOOK, _E.GOT_O): _OWN_COLD,
    (_D.DOOMED_LOOK, _E.GOT_A): _LEAVE,
    (_D.DOOMED_LOOK, _E.EMPTY): Step(_D.DOOMED_LOOK),
    (_D.DOOMED_LOOK, _E.READABLE): Step(_D.DOOMED_LOOK, (_A.TAKE_BYTE,)),
    (_D.DOOMED_LOOK, _E.CLOSED): Step(_D.DOOMED_LOOK),
    (_D.DOOMED_LOOK, _E.DEAD): Step(_D.DOOMED_LAST_LOOK, (_A.TAKE_BYTE,)),
    (_D.DOOMED_LOOK, _E.STOP): _LEAVE,
    #
    (_D.DOOMED_LAST_LOOK, _E.GOT_O): _OWN_COLD,
    (_D.DOOMED_LAST_LOOK, _E.GOT_A): _LEAVE,
    (_D.DOOMED_LAST_LOOK, _E.EMPTY): _OWN_COLD,
    #
    (_D.OWNER, _E.BYE): Step(_D.STARTED, (_A.SEND_RELEASED, _A.CLOSE)),
    (_D.OWNER, _E.CLOSED): Step(_D.STARTED, (_A.CLOSE,)),
    (_D.OWNER, _E.DEAD): Step(_D.STARTED, (_A.CLOSE,)),
    (_D.OWNER, _E.STOP): Step(_D.OWNER),
}

ENDS: frozenset[State] = frozenset({_S.SERVING, _S.ALONE, _S.GONE, _D.STARTED, _D.COLD, _D.ALONE, _D.LEFT})

SOURCE_MESSAGES = frozenset(
    {_E.HELLO, _E.BAD_HELLO, _E.ROUND_DONE, _E.PREPARED, _E.UNABLE, _E.OWNED, _E.RELEASED, _E.BREACH}
)
DESTINATION_MESSAGES = frozenset({_E.WELCOME, _E.REFUSED, _E.ROUND_DONE, _E.FINAL, _E.MISMATCH, _E.BYE, _E.BREACH})

# The states in which the generation may tick. All others are frozen or inert.
MAY_TICK: frozenset[State] = frozenset(
    {_S.GREETING, _S.COPYING, _S.REHEARSING, _S.SERVING, _S.ALONE, _D.OWNER, _D.STARTED, _D.COLD}
)


class ImpossibleEvent(AssertionError):
    """A machine met an event that no execution can produce there: a bug in the driver."""


def step(rows: Table, messages: frozenset[Event], state: State, event: Event) -> Step:
    """Look a row up; a message that no row expects is a BREACH, and a BREACH without a row counts as STOP."""
    row = rows.get((state, event))
    if row is None and event in messages and state not in ENDS:
        row = rows.get((state, Event.BREACH), rows.get((state, Event.STOP)))
    if row is None:
        raise ImpossibleEvent(f"{event.name} in state {type(state).__name__}.{state.name}")
    return row


def out_of_turn(state: State, event: Event) -> bool:
    """A message that no row expects in this state."""
    rows, messages = (
        (SOURCE_ROWS, SOURCE_MESSAGES) if isinstance(state, Source) else (DESTINATION_ROWS, DESTINATION_MESSAGES)
    )
    return event in messages and (state, event) not in rows


def source_step(state: State, event: Event) -> Step:
    """The source's next state and actions."""
    return step(SOURCE_ROWS, SOURCE_MESSAGES, state, event)


def destination_step(state: State, event: Event) -> Step:
    """The destination's next state and actions."""
    return step(DESTINATION_ROWS, DESTINATION_MESSAGES, state, event)


def fault_points() -> list[str]:
    """Every named fault point: ``<role>.<action>.<before|after>``."""
    points = []
    for role, rows in (("source", SOURCE_ROWS), ("destination", DESTINATION_ROWS)):
        actions = {action for row in rows.values() for action in row.actions}
        points += [
            f"{role}.{action.name.lower()}.{when}"
            for action in Action
            if action in actions
            for when in ("before", "after")
        ]
    return points
