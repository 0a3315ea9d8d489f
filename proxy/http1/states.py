"""What affects the state of an HTTP/1.1 session, all of it: the states, the events, the moves between them.

Downstream, one `Step` at a time. The upper row is a request without a body, or whose body came with its head.

    IDLE -> HEAD -> DIAL -> WAIT ----------> REPLY -> IDLE, or LINGER if the connection ends here
                    |        ^   `-> TUNNEL    ^
                    `------> SEND -----------> BOTH -> DISCARD -> IDLE
                             body under way    ... and the response too

A request that a filter delays goes from IDLE or HEAD to DELAY, and from there where it would have gone at once.

A step that is skipped is passed through in the same moment: a complete head with an idle upstream at
hand goes from IDLE to WAIT at once. An event that the table does not name for a step cannot happen there:
`KeyError` is a bug.

Upstream, one `Use` at a time.

    DIAL -> HEAD -> BODY -> IDLE (in the pool) -> HEAD ...
             `-> TUNNEL
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Step(IntEnum):
    """Where a downstream connection is."""

    IDLE = 0
    """Between two requests: not a byte of the next is there."""
    HEAD = 1
    """A part of a head is there."""
    DIAL = 2
    """A request waits for an upstream connection."""
    SEND = 3
    """The request goes upstream, its body is not complete; no final response yet."""
    WAIT = 4
    """The request went upstream whole; no final response yet."""
    BOTH = 5
    """The response began before the request body was complete."""
    REPLY = 6
    """The response is under way."""
    DISCARD = 7
    """The response is complete before the request body was: the rest of that is read and dropped."""
    TUNNEL = 8
    """Bytes both ways after 101."""
    LINGER = 9
    """The last response is written, or broken off: a FIN follows, and what still comes is dropped."""
    DELAY = 10
    """A filter holds the request back until a deadline. The next filters, the route and the body wait."""


class Event(IntEnum):
    """What moves a downstream connection."""

    PART = 0
    """Bytes that are no complete head yet."""
    NOTHING = 1
    """The bytes were empty lines before a head, which do not count (RFC 9112 section 2.2)."""
    REQUEST = 2
    """A complete head, without an upstream connection to send it on yet."""
    SENT_HEAD = 3
    """The head was given to an upstream connection, its body is to follow."""
    SENT = 4
    """The last of the request was given to the upstream connection, or was dropped."""
    LOST = 5
    """The upstream connection is gone, and the request goes to another one."""
    RESPONSE = 6
    """The final response's head."""
    COMPLETE = 7
    """The end of the response to a complete request, and the connection is kept."""
    EARLY = 8
    """The end of the response, with a part of the request body still to come, and the connection is kept."""
    LAST = 9
    """The end of what is sent: a response after which the connection ends, or one broken off."""
    SWITCH = 10
    """101 was forwarded."""
    DELAY = 11
    """A filter wants the request to wait."""


ASKED: Final = frozenset({Step.SEND, Step.WAIT})
"""An upstream has the request, or a part of it."""
UNDER_WAY: Final = ASKED | {Step.DELAY, Step.DIAL, Step.BOTH, Step.REPLY}
"""A request is, which a tunnel is not."""

S = Step
MOVES: Final[dict[Event, dict[Step, Step]]] = {
    Event.PART: {S.IDLE: S.HEAD, S.HEAD: S.HEAD},
    Event.NOTHING: {S.IDLE: S.IDLE, S.HEAD: S.IDLE},
    Event.REQUEST: {S.IDLE: S.DIAL, S.HEAD: S.DIAL, S.DELAY: S.DIAL},
    Event.SENT_HEAD: {S.IDLE: S.SEND, S.HEAD: S.SEND, S.DELAY: S.SEND, S.DIAL: S.SEND},
    Event.SENT: {
        S.IDLE: S.WAIT,
        S.HEAD: S.WAIT,
        S.DELAY: S.WAIT,
        S.DIAL: S.WAIT,
        S.SEND: S.WAIT,
        S.BOTH: S.REPLY,
        S.DISCARD: S.IDLE,
    },
    Event.LOST: {S.SEND: S.DIAL, S.WAIT: S.DIAL, S.DIAL: S.DIAL},
    Event.RESPONSE: {S.SEND: S.BOTH, S.WAIT: S.REPLY},
    Event.COMPLETE: {S.DIAL: S.IDLE, S.WAIT: S.IDLE, S.REPLY: S.IDLE},
    Event.EARLY: {S.DIAL: S.DISCARD, S.SEND: S.DISCARD, S.BOTH: S.DISCARD},
    Event.LAST: {step: S.LINGER for step in Step if step not in {S.LINGER, S.TUNNEL}},
    Event.SWITCH: {S.WAIT: S.TUNNEL},
    Event.DELAY: {S.IDLE: S.DELAY, S.HEAD: S.DELAY, S.DELAY: S.DELAY},
}


class Use(IntEnum):
    """What an upstream connection is used for."""

    DIAL = 0
    """Being connected."""
    IDLE = 1
    """Waiting in its endpoint's pool."""
    HEAD = 2
    """A request was sent: the head of its response is due."""
    BODY = 3
    """The response's body is under way."""
    TUNNEL = 4
    """Bytes both ways after 101."""


U = Use
USES: Final[dict[Use, frozenset[Use]]] = {
    U.DIAL: frozenset({U.HEAD}),
    U.IDLE: frozenset({U.HEAD}),
    U.HEAD: frozenset({U.BODY, U.TUNNEL, U.IDLE}),
    U.BODY: frozenset({U.IDLE}),
    U.TUNNEL: frozenset(),
}
"""The moves of an upstream connection; it may end at any time."""
