"""The life of one sidecar as a table: what may happen in which state, and what is done about it.

Everything that decides stands in this file: `TABLE` while the agent lives, `RESUMED` for what an agent finds that was
killed in the middle. Nothing here does anything; `driver.py` carries actions out and reports what came of them.

    ABSENT --wanted--> FETCHING --installed--> STARTING --ready--> SERVING <------------------------------+
                           |                       |                 |                                    |
                           +-------failed----------+--> WAITING      | outdated                           |
                                                   (tries again)     v                                    |
      STOPPING <--unwanted-- SERVING           PREPARING --installed--> REHEARSING --rehearsed--> MOVING  |
          `--stopped--> ABSENT                     `--------failed---------`---------failed--------+  |   |
                                                                                                   |  |   |
                                               +---------------------------------------------------+  |   |
                                               |                                                moved v   |
                                               +--> SERVING, the release condemned                  BAKING|
                                               |                                      condemned |   |     |
                                               +------returned----- RETURNING <-----------------+   +passed

What cannot be prepared (a missing release, a full disk), or not now (somebody else upgrades), is postponed.
A release that failed is condemned: it is not tried again until the spec changes or somebody orders it. At rest
(`RESTS`) the process, the link ``current`` and what is remembered agree; in between, `Operation` says what was under
way. The one exception is a release that could not be taken back: it serves on, condemned, and the link is not its.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.StrEnum):
    """Where a sidecar is."""

    ABSENT = "absent"
    """Nothing runs and nothing is wanted."""
    FETCHING = "fetching"
    """Its release is being installed; nothing runs yet."""
    STARTING = "starting"
    SERVING = "serving"
    WAITING = "waiting"
    """It could not be started; tried again later."""
    PREPARING = "preparing"
    """Serves; the next release is being installed and the configuration checked with it."""
    REHEARSING = "rehearsing"
    """Serves; the next release starts, restores everything and aborts."""
    MOVING = "moving"
    """The handover."""
    BAKING = "baking"
    """The next release serves, on probation."""
    RETURNING = "returning"
    """The next release serves, and is being taken back."""
    STOPPING = "stopping"
    """Drains."""


class Event(enum.StrEnum):
    """What happens to it."""

    WANTED = "wanted"
    """There is a spec, and nothing runs."""
    UNWANTED = "unwanted"
    """The spec is gone."""
    OUTDATED = "outdated"
    """Another release serves than is wanted, and it may be replaced now."""
    INSTALLED = "installed"
    READY = "ready"
    REHEARSED = "rehearsed"
    MOVED = "moved"
    PASSED = "passed"
    CONDEMNED = "condemned"
    """The bake found it too bad."""
    RETURNED = "returned"
    """The release from before serves again: taken back by us, by the generation itself, or started after a crash."""
    STOPPED = "stopped"
    HINDERED = "hindered"
    """It could not even be tried, which says nothing of the release."""
    FAILED = "failed"
    """What was under way came to nothing."""
    LOST = "lost"
    """Nothing runs any more, and the runner does not bring it back."""
    RETRY = "retry"
    """It is time to try again."""


class Action(enum.StrEnum):
    """What is to be done. At most one of `WORK` is under way at any time."""

    INSTALL = "install"
    START = "start"
    REHEARSE = "rehearse"
    HAND_OVER = "hand over"
    BAKE = "bake"
    GO_BACK = "go back"
    STOP = "stop"
    CANCEL = "cancel"
    """End the work under way; it reports nothing any more."""
    BEGIN = "begin"
    """An operation begins: write down from where to where."""
    KEEP = "keep"
    """The release proved itself, and the link leads to it: forget the one before the last, write it down."""
    CONDEMN = "condemn"
    """Write down that, and why, this release is not tried again."""
    UNDO = "undo"
    """The operation ends with what was there before, and nobody is to blame: it will be tried again."""
    POSTPONE = "postpone"
    """The operation ends before it began; it is tried again, later each time."""
    WAIT = "wait"
    """Try again later, later each time."""
    LOOK_AFTER = "look after"
    """It serves: health, configuration, interception, listeners."""


WORK: Final = frozenset(
    {
        Action.INSTALL,
        Action.START,
        Action.REHEARSE,
        Action.HAND_OVER,
        Action.BAKE,
        Action.GO_BACK,
        Action.STOP,
    }
)
REPORTS: Final[dict[Action, frozenset[Event]]] = {
    Action.INSTALL: frozenset({Event.INSTALLED, Event.FAILED}),
    Action.START: frozenset({Event.READY, Event.FAILED}),
    Action.REHEARSE: frozenset({Event.REHEARSED, Event.HINDERED, Event.FAILED}),
    Action.HAND_OVER: frozenset({Event.MOVED, Event.HINDERED, Event.FAILED}),
    Action.BAKE: frozenset({Event.PASSED, Event.CONDEMNED, Event.RETURNED, Event.FAILED}),
    Action.GO_BACK: frozenset({Event.RETURNED, Event.FAILED}),
    Action.STOP: frozenset({Event.STOPPED, Event.FAILED}),
}
"""What each piece of work may report."""
RESTS: Final = frozenset({State.ABSENT, State.SERVING, State.WAITING})
"""Nothing is under way. What is wanted is looked at here."""
UPGRADING: Final = frozenset({State.PREPARING, State.REHEARSING, State.MOVING, State.BAKING, State.RETURNING})

S, E, A = State, Event, Action

TABLE: Final[dict[tuple[State, Event], tuple[State, tuple[Action, ...]]]] = {
    (S.ABSENT, E.WANTED): (S.FETCHING, (A.INSTALL,)),
    (S.FETCHING, E.INSTALLED): (S.STARTING, (A.START,)),
    (S.FETCHING, E.FAILED): (S.WAITING, (A.WAIT,)),
    # Also where nothing runs: rules of the kernel may lead to it, and the runner may hold its listeners.
    (S.FETCHING, E.UNWANTED): (S.STOPPING, (A.CANCEL, A.STOP)),
    (S.STARTING, E.READY): (S.SERVING, (A.LOOK_AFTER,)),
    (S.STARTING, E.FAILED): (S.WAITING, (A.WAIT,)),
    (S.WAITING, E.RETRY): (S.FETCHING, (A.INSTALL,)),
    (S.WAITING, E.WANTED): (S.FETCHING, (A.INSTALL,)),
    (S.WAITING, E.UNWANTED): (S.STOPPING, (A.STOP,)),
    (S.SERVING, E.OUTDATED): (S.PREPARING, (A.BEGIN, A.INSTALL)),
    (S.SERVING, E.UNWANTED): (S.STOPPING, (A.STOP,)),
    (S.SERVING, E.LOST): (S.STARTING, (A.START,)),
    # Up to the handover an upgrade can be given up at any moment: nothing has happened.
    (S.PREPARING, E.INSTALLED): (S.REHEARSING, (A.REHEARSE,)),
    (S.PREPARING, E.FAILED): (S.SERVING, (A.POSTPONE, A.LOOK_AFTER)),
    (S.PREPARING, E.UNWANTED): (S.STOPPING, (A.CANCEL, A.UNDO, A.STOP)),
    (S.PREPARING, E.LOST): (S.STARTING, (A.CANCEL, A.UNDO, A.START)),
    (S.REHEARSING, E.REHEARSED): (S.MOVING, (A.HAND_OVER,)),
    (S.REHEARSING, E.HINDERED): (S.SERVING, (A.POSTPONE, A.LOOK_AFTER)),
    (S.REHEARSING, E.FAILED): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.MOVING, E.MOVED): (S.BAKING, (A.BAKE,)),
    (S.MOVING, E.HINDERED): (S.SERVING, (A.POSTPONE, A.LOOK_AFTER)),
    (S.MOVING, E.FAILED): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.BAKING, E.PASSED): (S.SERVING, (A.KEEP, A.LOOK_AFTER)),
    (S.BAKING, E.CONDEMNED): (S.RETURNING, (A.GO_BACK,)),
    (S.BAKING, E.RETURNED): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.BAKING, E.FAILED): (S.RETURNING, (A.GO_BACK,)),  # what cannot be judged is not kept
    (S.BAKING, E.UNWANTED): (S.STOPPING, (A.CANCEL, A.UNDO, A.STOP)),
    (S.RETURNING, E.RETURNED): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.RETURNING, E.UNWANTED): (S.STOPPING, (A.CANCEL, A.UNDO, A.STOP)),
    # A bad generation is better than none. It stays condemned, and the link stays with the one before: the next
    # start, whatever the reason, brings that back.
    (S.RETURNING, E.FAILED): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    # Whoever starts anew starts the link `current`, which still names the release from before.
    (S.REHEARSING, E.LOST): (S.STARTING, (A.CANCEL, A.UNDO, A.START)),
    (S.MOVING, E.LOST): (S.STARTING, (A.CANCEL, A.CONDEMN, A.START)),
    (S.BAKING, E.LOST): (S.STARTING, (A.CANCEL, A.CONDEMN, A.START)),
    (S.RETURNING, E.LOST): (S.STARTING, (A.CANCEL, A.CONDEMN, A.START)),
    (S.STOPPING, E.STOPPED): (S.ABSENT, ()),
    (S.STOPPING, E.FAILED): (S.STOPPING, (A.WAIT,)),
    (S.STOPPING, E.RETRY): (S.STOPPING, (A.STOP,)),
}


class Found(enum.StrEnum):
    """What an agent finds of a sidecar that another one before it looked after."""

    NOTHING = "nothing"
    """No process."""
    BEFORE = "before"
    """The release serves from which the operation under way began; without an operation: whatever serves."""
    AFTER = "after"
    """The release serves to which it was to lead."""


RESUMED: Final[dict[tuple[State, Found], tuple[State, tuple[Action, ...]]]] = {
    (S.ABSENT, Found.NOTHING): (S.ABSENT, ()),
    (S.ABSENT, Found.BEFORE): (S.SERVING, (A.LOOK_AFTER,)),
    (S.FETCHING, Found.NOTHING): (S.FETCHING, (A.INSTALL,)),
    (S.STARTING, Found.NOTHING): (S.FETCHING, (A.INSTALL,)),
    (S.WAITING, Found.NOTHING): (S.FETCHING, (A.INSTALL,)),
    (S.SERVING, Found.NOTHING): (S.STARTING, (A.START,)),
    (S.SERVING, Found.BEFORE): (S.SERVING, (A.LOOK_AFTER,)),
    (S.FETCHING, Found.BEFORE): (S.SERVING, (A.LOOK_AFTER,)),
    (S.STARTING, Found.BEFORE): (S.SERVING, (A.LOOK_AFTER,)),
    (S.WAITING, Found.BEFORE): (S.SERVING, (A.LOOK_AFTER,)),
    (S.PREPARING, Found.NOTHING): (S.STARTING, (A.UNDO, A.START)),
    (S.PREPARING, Found.BEFORE): (S.SERVING, (A.UNDO, A.LOOK_AFTER)),
    (S.PREPARING, Found.AFTER): (S.BAKING, (A.BAKE,)),
    (S.REHEARSING, Found.NOTHING): (S.STARTING, (A.UNDO, A.START)),
    (S.REHEARSING, Found.BEFORE): (S.SERVING, (A.UNDO, A.LOOK_AFTER)),
    (S.REHEARSING, Found.AFTER): (S.BAKING, (A.BAKE,)),
    # Nobody heard how the handover ended. Either it came to nothing, which says nothing of the release, or it bakes.
    (S.MOVING, Found.NOTHING): (S.STARTING, (A.CONDEMN, A.START)),
    (S.MOVING, Found.BEFORE): (S.SERVING, (A.UNDO, A.LOOK_AFTER)),
    (S.MOVING, Found.AFTER): (S.BAKING, (A.BAKE,)),
    (S.BAKING, Found.NOTHING): (S.STARTING, (A.CONDEMN, A.START)),
    (S.BAKING, Found.BEFORE): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.BAKING, Found.AFTER): (S.BAKING, (A.BAKE,)),
    (S.RETURNING, Found.NOTHING): (S.STARTING, (A.CONDEMN, A.START)),
    (S.RETURNING, Found.BEFORE): (S.SERVING, (A.CONDEMN, A.LOOK_AFTER)),
    (S.RETURNING, Found.AFTER): (S.RETURNING, (A.GO_BACK,)),
    (S.STOPPING, Found.NOTHING): (S.STOPPING, (A.STOP,)),
    (S.STOPPING, Found.BEFORE): (S.STOPPING, (A.STOP,)),
}


def step(state: State, event: Event) -> tuple[State, tuple[Action, ...]] | None:
    """Where this leads; None: it says nothing in this state, and is ignored."""
    return TABLE.get((state, event))


def resume(state: State, found: Found, *, wanted: bool = True) -> tuple[State, tuple[Action, ...]]:
    """Where to go on after the agent was away. Without an operation under way there is no `AFTER`.

    What is not `wanted` any more and does not run is not started for that.
    """
    if found is Found.NOTHING and state is not State.ABSENT and not wanted:
        return State.STOPPING, (Action.UNDO, Action.STOP) if state in UPGRADING else (Action.STOP,)
    if found is Found.AFTER and state not in UPGRADING:
        found = Found.BEFORE
    return RESUMED[state, found]
