"""What a crew and its workers say to each other. Both are processes of one generation and run the same code.

So there are no versions here, and nothing is untrusted; it is typed all the same, because bugs are.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from proxy.encryption.control import TlsOrder
from proxy.state import AppState

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.model import Config
    from proxy.voice import Voice

Message = wire.Message
_PART = wire.MAX_MESSAGE - 64


class Commission(NamedTuple):
    """What a worker is to be. It travels pickled: from a process to its own child."""

    config: Config
    number: int
    build: str
    directory: Path | None
    voice: Voice

    def pack(self) -> bytes:
        """The bytes of it."""
        return pickle.dumps(self)

    @classmethod
    def unpack(cls, data: bytes) -> Commission:
        """The counterpart. `data` comes from the process that started this one, over a socket pair."""
        found: Commission = pickle.loads(data)  # noqa: S301 - see above
        return found


# ---- from the crew ----


class Hire(Message, frozen=True, tag="HIRE"):
    """The first word. fds: a memfd with a `Commission`, and the memory of `Scales`."""


class Sockets(Message, frozen=True, tag="SOCKETS"):
    """Listeners, by name. fds: theirs."""

    names: list[str]
    last: bool


class Guard(Message, frozen=True, tag="GUARD"):
    """fd: the lock of the name, to be kept for life."""


class Metrics(Message, frozen=True, tag="METRICS"):
    """fd: the segment to count in."""


class Key(Message, frozen=True, tag="KEY"):
    """fd: the key under which secrets of TLS come from that worker of the source."""

    worker: int


class Deliver(Message, frozen=True, tag="DELIVER"):
    """Values to be restored; `now`: when their round began, on the clock that all processes of a machine share."""

    now: float
    items: list[wire.Item]


class Settle(Message, frozen=True, tag="SETTLE"):
    """Answer `Settled` when all that was delivered is restored, and the shared state if it comes along."""

    number: int
    now: float
    shared: bytes | None = None


class Own(Message, frozen=True, tag="OWN"):
    """This generation owns: tick. Serials begin at `first`."""

    generation: int
    first: int


class Agree(Message, frozen=True, tag="AGREE"):
    """An attempt begins: say `Began`, and give away what there is, and what changes, until told otherwise."""

    attempt: int
    chosen: dict[str, int]
    wanted: list[str]


class NewKey(Message, frozen=True, tag="NEW_KEY"):
    """`Spare` did not arrive: make another one."""


class Keep(Message, frozen=True, tag="KEEP"):
    """The destination could not restore these."""

    serials: list[int]
    reason: str
    word: str


class Freeze(Message, frozen=True, tag="FREEZE"):
    """Tick no more, give what is still dirty, and say `Frozen`."""


class Thaw(Message, frozen=True, tag="THAW"):
    """Tick again."""


class Retire(Message, frozen=True, tag="RETIRE"):
    """All but `kept` belongs to another generation now."""

    kept: list[int]
    removed: list[str]


class Sharing(Message, frozen=True, tag="SHARING"):
    """See `hotswap.Swappable.sharing`."""

    shared: bool


class Abandon(Message, frozen=True, tag="ABANDON"):
    """See `hotswap.Swappable.abandon`."""


class Announce(Message, frozen=True, tag="ANNOUNCE"):
    """See `hotswap.Swappable.announce_drain`."""


class Drain(Message, frozen=True, tag="DRAIN"):
    """See `hotswap.Swappable.drain`; on the shared clock."""

    deadline: float


class Reopen(Message, frozen=True, tag="REOPEN"):
    """See `hotswap.Swappable.reopen`."""


class Plan(Message, frozen=True, tag="PLAN"):
    """Look at a changed configuration, a pickled `Config`, and say `Planned` with this number."""

    number: int
    config: bytes


class Apply(Message, frozen=True, tag="APPLY"):
    """Put that one in force. `added`: listeners that are new. fds: theirs."""

    number: int
    added: list[str]
    last: bool


class Beat(Message, frozen=True, tag="BEAT"):
    """What is known of the application."""

    state: AppState


class Obey(Message, frozen=True, tag="OBEY"):
    """An order about encryption, which the crew has carried out."""

    order: TlsOrder


class Look(Message, frozen=True, tag="LOOK"):
    """Set the gauges and say `Told` with this number."""

    number: int
    rows: bool = False


class End(Message, frozen=True, tag="END"):
    """Close files and leave."""


# ---- from a worker ----


class Ready(Message, frozen=True, tag="READY"):
    """It has its configuration, and can be given anything."""


class Spare(Message, frozen=True, tag="SPARE"):
    """fd: the key under which this worker will give secrets of TLS, in the next attempt."""


class Began(Message, frozen=True, tag="BEGAN"):
    """Whatever is given from here on is for that attempt."""

    attempt: int


class Failed(Message, frozen=True, tag="FAILED"):
    """It cannot give what it has; it serves on."""

    reason: str


class RoundOver(Message, frozen=True, tag="ROUND_OVER"):
    """All that was dirty was given."""

    staying: dict[int, tuple[str, str]]  # text and word of the reason
    stragglers: list[int]


class Frozen(Message, frozen=True, tag="FROZEN"):
    """The same for the last time: it ticks no more."""

    staying: dict[int, tuple[str, str]]
    stragglers: list[int]


class Follow(Message, frozen=True, tag="FOLLOW"):
    """A straggler that has become a value. fd: its descriptor."""

    item: wire.Item


class Waiting(Message, frozen=True, tag="WAITING"):
    """The stragglers that are still to come."""

    serials: list[int]


class Planned(Message, frozen=True, tag="PLANNED"):
    """Why a changed configuration cannot be used; empty if it can."""

    number: int
    refusal: str


class Settled(Message, frozen=True, tag="SETTLED"):
    """What could not be restored of what came since the last one, and why."""

    number: int
    problems: dict[int, str]
    failure: str = ""


class Rows(msgspec.Struct):
    """What is long of what a worker tells."""

    connections: list[dict[str, Any]] = []
    clusters: list[dict[str, Any]] = []
    """Of those that know TLS, see `proxy.encryption.control.entries`."""


class Told(Message, frozen=True, tag="TOLD"):
    """What a worker tells of itself, unasked several times a second, and with rows if it was asked for them."""

    number: int = 0
    connections: int = 0
    in_flight: int = 0
    accepted: int = 0
    answered: int = 0
    failed: int = 0
    bugs: int = 0
    cpu: float = 0.0
    idle: bool = False
    rows: Rows | None = None
    listeners: Mapping[str, tuple[int, int, int]] = {}  # by address: connections, answered, failed


# ---- of the line itself ----


class Part(Message, frozen=True, tag="PART"):
    """Bytes of a word that is longer than a message may be, and goes on in the next one."""

    data: bytes


class Rest(Message, frozen=True, tag="REST"):
    """The last bytes of it. fds: those of the word."""

    data: bytes


class Short(Message, frozen=True, tag="SHORT"):
    """Never sent: it stands for a word that lost descriptors on the way, for this process may have no more."""


AnyWord = (
    wire.Ack
    | wire.Values
    | wire.Closed
    | Hire
    | Sockets
    | Guard
    | Metrics
    | Key
    | Deliver
    | Settle
    | Own
    | Agree
    | NewKey
    | Keep
    | Freeze
    | Thaw
    | Retire
    | Sharing
    | Abandon
    | Announce
    | Drain
    | Reopen
    | Plan
    | Planned
    | Apply
    | Beat
    | Obey
    | Look
    | End
    | Ready
    | Spare
    | Began
    | Failed
    | RoundOver
    | Frozen
    | Follow
    | Waiting
    | Settled
    | Told
    | Part
    | Rest
    | Short
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyWord)


def encode(word: Message) -> list[bytes]:
    """The messages of a word: itself, or `Part`s and a `Rest`. What it tells of all connections may be long."""
    whole = _encoder.encode(word)
    if len(whole) <= wire.MAX_MESSAGE:
        return [whole]
    pieces = [whole[at : at + _PART] for at in range(0, len(whole), _PART)]
    return [*(_encoder.encode(Part(piece)) for piece in pieces[:-1]), _encoder.encode(Rest(pieces[-1]))]


def decode(data: bytes) -> AnyWord:
    """A word from its bytes. Raises `ProtocolError`."""
    try:
        word: AnyWord = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a word between a crew and its workers: {error}") from None
    return word
