"""One question to one server after the other, over UDP, and over TCP where an answer was cut short.

    UDP --answer--> OVER                        --late, bad, unreachable--> UDP, the next server
     | `--truncated--> TCP --answer--> OVER     --late, bad, unreachable, truncated--> UDP, the next server
     `--alias--> UDP, the next name (TCP, too)  --the same, no server left--> OVER
     `--stray--> UDP, wait on

Every attempt has a socket and an id of its own, both random (RFC 5452), and an answer counts only if it comes on that
socket, with that id, and repeats the question. Over UDP what does not is a stray, or forged, and the wait goes on; a
server that does so over TCP is broken. Servers are asked in turn, all of them `attempts` times (resolv.conf(5)).
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.dns.answer import Absent, Alias, Failed, Found, meaning
from proxy.dns.message import BadMessage, Message, Question, parse, query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotswap.address import Address


class State(Enum):
    """How it is asked."""

    UDP = auto()
    TCP = auto()
    OVER = auto()


class Event(Enum):
    """What came of it."""

    ANSWER = auto()
    ALIAS = auto()
    TRUNCATED = auto()
    STRAY = auto()
    BAD = auto()
    UNREACHABLE = auto()
    LATE = auto()


class Action(Enum):
    """What to do about it."""

    TELL = auto()
    WAIT = auto()
    AGAIN_BY_TCP = auto()
    NEXT_NAME = auto()
    NEXT_SERVER = auto()


_NEXT = (State.UDP, Action.NEXT_SERVER)

MOVES: Final[dict[State, dict[Event, tuple[State, Action]]]] = {
    State.UDP: {
        Event.ANSWER: (State.OVER, Action.TELL),
        Event.ALIAS: (State.UDP, Action.NEXT_NAME),
        Event.TRUNCATED: (State.TCP, Action.AGAIN_BY_TCP),
        Event.STRAY: (State.UDP, Action.WAIT),
        Event.BAD: _NEXT,
        Event.UNREACHABLE: _NEXT,
        Event.LATE: _NEXT,
    },
    State.TCP: {
        Event.ANSWER: (State.OVER, Action.TELL),
        Event.ALIAS: (State.UDP, Action.NEXT_NAME),
        Event.TRUNCATED: _NEXT,
        Event.STRAY: _NEXT,
        Event.BAD: _NEXT,
        Event.UNREACHABLE: _NEXT,
        Event.LATE: _NEXT,
    },
    State.OVER: {},
}
"""State -> event -> next state and action. What is not there cannot happen: an ended query hears nothing."""


class Attempt(NamedTuple):
    """What the driver does next: send these bytes there, and wait until `due`, monotonic seconds."""

    server: Address
    tcp: bool
    message: bytes
    due: float


class Query:
    """The driver carries out `attempt` and reports by `heard`, `unreachable` or `late` until `outcome`."""

    def __init__(
        self,
        question: Question,
        servers: Sequence[Address],
        attempts: int,
        timeout: float,
        random: Callable[[int], int],
    ) -> None:
        """`random` gives that many random bits. `timeout` is that of one attempt, seconds."""
        self.state = State.UDP
        self.outcome: Found | Absent | Failed | None = None
        self.attempt: Attempt | None = None
        """The one under way; another object for each."""
        self._question = question
        self._servers = servers
        self._left = len(servers) * attempts
        """Attempts that may still follow; one by TCP belongs to the one that was cut short."""
        self._turn = 0
        self._timeout = timeout
        self._random = random
        self._id = 0
        self._hops = 0
        self._ttl = inf

    def begin(self, now: float) -> None:
        """Make the first attempt."""
        self._next(now)

    def heard(self, data: bytes, now: float) -> None:
        """A datagram, or a whole message over TCP, came on the socket of the attempt."""
        try:
            message = parse(data)
        except BadMessage as error:
            # Who does not even know the id is no server of ours.
            stray = data[:2] != self._id.to_bytes(2, "big")
            self._move(Event.STRAY if stray else Event.BAD, now, f"its answer is malformed: {error}")
            return
        if message.id != self._id or message.question != self._question:
            self._move(Event.STRAY, now, "its answer belongs to another question")
        elif message.truncated:
            self._move(Event.TRUNCATED, now, "its answer is cut short even over TCP")
        else:
            self._understood(message, now)

    def _understood(self, message: Message, now: float) -> None:
        said = meaning(message, self._question, self._hops)
        if isinstance(said, Failed):
            self._move(Event.BAD, now, said.why)
            return
        ttl = said.ttl
        if isinstance(said, Alias):
            self._question = self._question._replace(name=said.name)
            self._hops = said.hops
            self._ttl = min(self._ttl, said.ttl)
            self._move(Event.ALIAS, now, "")
            return
        self.outcome = said if ttl is None else said._replace(ttl=int(min(ttl, self._ttl)))
        self._move(Event.ANSWER, now, "")

    def unreachable(self, why: str, now: float) -> None:
        """The system refused to send, or the connection failed or ended."""
        self._move(Event.UNREACHABLE, now, why)

    def late(self, now: float) -> None:
        """`due` has passed."""
        self._move(Event.LATE, now, f"no answer within {self._timeout:g} s")

    def _move(self, event: Event, now: float, why: str) -> None:
        attempt = self.attempt
        self.state, action = MOVES[self.state][event]
        if action is Action.TELL:
            self.attempt = None
        elif action is Action.NEXT_NAME:
            self._left = max(self._left, 1)
            self._turn -= 1  # the server that knew so much
            self._next(now)
        elif action is Action.NEXT_SERVER and not self._left:
            self.state, self.attempt = State.OVER, None
            self.outcome = Failed(f"{attempt.server}: {why}" if attempt is not None else why)
        elif action is Action.NEXT_SERVER:
            self._next(now)
        elif action is Action.AGAIN_BY_TCP and attempt is not None:
            self._ask(attempt.server, now, tcp=True)

    def _next(self, now: float) -> None:
        if not self._servers:
            self.state, self.outcome = State.OVER, Failed("no name server is configured")
            return
        self._left -= 1
        server = self._servers[self._turn % len(self._servers)]
        self._turn += 1
        self._ask(server, now, tcp=False)

    def _ask(self, server: Address, now: float, *, tcp: bool) -> None:
        self._id = self._random(16)
        self.attempt = Attempt(server, tcp, query(self._id, self._question), now + self._timeout)
