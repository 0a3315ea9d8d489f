"""What a server must offer so that it can be replaced while it serves.

A server keeps every live connection as a *value*: plain fields that `save` writes down and
`restore` rebuilds. `hotswap.Generation` drives these methods; the server never sees the protocol.
All methods are called from one thread, between two ticks of the server, and must not block.

The order of calls at a source that gives everything away::

    agree() descriptors() sharing(True)   values() ...   freeze()   values() save_shared()   retire(kept)
                                          `- rounds, -'             `--- stop-and-copy --'
                                             serving

and ``thaw()`` instead of ``retire()`` if the attempt is taken back, then ``kept_on()``. At a destination::

    agree() accept_descriptors() adopt(listeners)   restore() ... expect_stragglers() restore_shared()  owning() start()
    `------------------------------- inert: no I/O on any of them ----------------------------------'

and ``took_over()`` at the source's goodbye. A cold start is ``adopt(listeners)``, ``owning()``, ``start()``.

Deadlines travel as remaining time. `now` in ``save`` and ``restore`` is the moment at which the
round began on the respective side (seconds, monotonic clock of that process), so
``remaining = deadline - now`` at the source and ``deadline = now + remaining`` at the destination.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import msgspec

from hotswap.address import Address

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Schema(msgspec.Struct, frozen=True, array_like=True):
    """The versions of one state kind that this build understands: reads oldest..newest."""

    oldest: int
    newest: int


class ListenerSpec(NamedTuple):
    """A listener the server wants: matched by address across generations, never by name."""

    name: str
    address: Address
    backlog: int = 4096


class Saved(NamedTuple):
    """One value as it travels. `fd` is -1 where the destination holds the descriptor already."""

    kind: str
    serial: int
    changes: int
    state: bytes
    fd: int = -1
    worker: int = 0


class Passed:
    """A value of another process of the same generation, which saved it and gave its descriptor along.

    `worker` tells which: connections that belong together come from the same one.
    """

    __slots__ = ("changes", "fd", "kind", "serial", "state", "worker")

    def __init__(self, saved: Saved) -> None:
        self.kind, self.serial, self.changes, self.state, self.fd, self.worker = saved

    def save(self, _now: float) -> bytes:
        """As it was when it came."""
        return self.state

    def release(self) -> int:
        """Its descriptor, which is the caller's from here on."""
        fd, self.fd = self.fd, -1
        return fd


class Tally(NamedTuple):
    """What a generation did since it owns. A bake is judged by it."""

    requests: int = 0
    """Requests answered, and streams that came about or could not, whoever received them."""
    failed: int = 0
    """Those among them that failed by our fault or the upstream's: 5xx, refused, broken off."""
    crashes: int = 0
    """Bugs of this generation that showed."""


class Reason(str):
    """Why a connection stays: a text for people, and a `word` for counters, one of few."""

    __slots__ = ("word",)

    word: str

    def __new__(cls, text: str, word: str) -> Self:
        """`word`: a name as metrics have them, such as ``removed_listener``. What is too long of it goes."""
        reason = super().__new__(cls, text)
        reason.word = word[:64]
        return reason


REFUSED = "refused"
"""The word of what the destination could not restore."""
STRAGGLERS = "stragglers"
"""The word of those that were announced as stragglers and did not become a value in time."""
OTHER = "other"
"""The word of a reason that is a text only."""


class Took(NamedTuple):
    """What a handover came to, as its source saw it. Times are seconds."""

    downtime: float
    phases: Mapping[str, float]
    """Of the downtime: copy, check, byte."""
    stayed: Mapping[str, int]
    """Connections that stayed with the source, by the word of the reason."""
    lost: int = 0
    """Stragglers that followed and could not be restored here."""


class Value(Protocol):
    """One live connection."""

    @property
    def kind(self) -> str:
        """The state kind, a key of `Swappable.schemas`."""

    @property
    def serial(self) -> int:
        """64-bit identity, never reused in the chain of generations; never the fd number."""

    @property
    def changes(self) -> int:
        """Grows whenever anything happens that alters what `save` would return."""

    @property
    def fd(self) -> int:
        """The open descriptor."""

    def save(self, now: float) -> bytes:
        """The whole state, without side effects; the connection serves on."""


def look_at_each(values: Mapping[int, Value], sent: Mapping[int, int]) -> tuple[list[Value], list[int]]:
    """What `Swappable.survey` is to find, in the plainest way."""
    counts = [value.changes for value in values.values()]
    return list(compress(values.values(), map(ne, counts, map(sent.get, values)))), counts


class Swappable(Protocol):
    """A server that can be replaced while it serves. See the module text for the order of calls."""

    def new_loop(self) -> AbstractEventLoop:
        """The event loop that the generation is to run in."""

    def schemas(self) -> Mapping[str, Schema]:
        """State kinds with the versions this build reads and writes."""

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        """An attempt begins. `chosen`: the schema versions to write (source) or expect (destination).

        `wanted` are the addresses (`str(Address)`) that the destination listens on; a source
        knows from it which of its connections, new ones too, will have no home there.
        """

    def wanted(self) -> Sequence[ListenerSpec]:
        """The listeners of the configuration."""

    def descriptors(self) -> Mapping[str, int]:
        """Descriptors of the server's own for the destination, by name, asked after `agree`. They are closed once sent.

        A destination that does not know a name ignores it.
        """

    def accept_descriptors(self, descriptors: Mapping[str, int]) -> None:
        """The counterpart, before the first `restore`; they belong to the server. Raises `CannotRestore`."""

    def guard(self, lock: int) -> None:
        """Before `adopt`. Whoever else gets the listeners gets a copy of this lock, too, and keeps it for life.

        It stays the caller's. Nobody starts cold while anybody has it, so nobody finds an address in use by the dead.
        """

    def adopt(self, listeners: Mapping[str, int]) -> None:
        """Take bound, non-blocking sockets by listener name. Do not poll them before `start`."""

    def values(self) -> Mapping[int, Value]:
        """Every live connection by serial, in ascending order of serials."""

    def survey(self, sent: dict[int, int]) -> tuple[Sequence[Value], Sequence[int]]:
        """Those of `values` whose change count is not the one that stands in `sent`; and the change counts of all.

        Both in the order of `values`. It is asked for in the freeze, and may be about 18,000 of them.
        """

    def count(self) -> int:
        """How many connections live, also in other processes of this generation."""

    def gathered(self) -> bool:
        """Whether `values` shows all there is by now: other processes may have to bring theirs first.

        Raises `HotswapError` if they cannot.
        """

    def unrestored(self) -> Mapping[int, str]:
        """Values of this round that another process of this generation could not restore, each with the reason.

        Returns when all of them have answered. Raises `HotswapError` if one does not.
        """

    async def look(self) -> None:
        """Somebody is about to ask: bring up to date what other processes of this generation tell of themselves."""

    def restore(self, saved: Saved, now: float) -> None:
        """Rebuild a value, inert, or bring the one with this serial up to date.

        The descriptor, if one came, belongs to the server from here on. Allowed on it: epoll_ctl,
        fstat, getsockname, getpeername. Raises `CannotRestore`, and then has closed
        the descriptor, if this generation has no place for it.
        """

    def forget(self, serial: int) -> None:
        """The source closed this one, or keeps it: drop the value, close the copy, no shutdown."""

    def save_shared(self, now: float) -> bytes:
        """State that belongs to no connection: balancing, counters, the next serial."""

    def restore_shared(self, state: bytes, now: float) -> None:
        """The counterpart, once, after the last `restore` and before `start`."""

    def owning(self, generation: int, how: str) -> None:
        """This generation owns: called before `start`, in the downtime. `how` it came about, in a word.

        cold, upgrade, takeover or rollback; crash: the source died, its listeners are all that came, and
        `abandon` was called.
        """

    def took_over(self, took: Took) -> None:
        """The source said goodbye: after `start` and the last straggler; never, if it died before that."""

    def kept_on(self, how: str, *, thawed: bool) -> None:
        """An attempt to replace this generation failed, and it serves on. `how`: upgrade, takeover or rollback.

        `thawed`: it had been frozen, and then nothing was lost. If the other died as owner, `abandon` was called.
        """

    def staying(self) -> Mapping[int, str]:
        """Serials of connections that cannot move in this attempt, each with the reason for people (`Reason`).

        Complete with whatever must stay with them: the other side of a relay, the upstream
        connection that carries their calls. Asked anew in each round.
        """

    def keep(self, serials: Collection[int], reason: str) -> None:
        """The destination could not restore these: from now on they are among `staying`."""

    def stragglers(self) -> Collection[int]:
        """Serials that are no value yet (a TLS handshake under way) and follow after the commit."""

    def expect_stragglers(self, serials: Collection[int]) -> None:
        """These stragglers are still to come from the source; called again with none of them once no more will.

        Until then they are among the `stragglers` of this generation, too, should it be replaced meanwhile.
        """

    def sharing(self, shared: bool) -> None:
        """Another process holds copies of our descriptors: end connections by shutdown first."""

    def freeze(self) -> None:
        """Start no further tick. Everything stays as it is."""

    def thaw(self) -> None:
        """Undo `freeze`."""

    def start(self) -> None:
        """This generation owns: poll the listeners (they listen already) and the connections."""

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        """All but `kept` belongs to another process now: never touch it again, shut nothing down.

        Go on serving `kept`, and accept what still waits in the queues of the `removed` listeners
        (by name). Both drain.
        """

    def abandon(self) -> None:
        """Every connection is lost, the listeners are ours: reset all, then go on accepting."""

    def announce_drain(self) -> None:
        """A drain was ordered and will come, perhaps after a delay: accept on, and tell clients to go elsewhere."""

    def drain(self, deadline: float) -> None:
        """Close the listeners, once their queues are served out; let the work finish.

        `deadline` on the monotonic clock. Nothing will ask for the listeners any more.
        """

    def reopen(self) -> None:
        """SIGUSR1: open files that are written to anew, by their names."""

    def close(self) -> None:
        """The process is about to end. May take seconds."""

    def idle(self) -> bool:
        """True once a drain or a retirement has nothing left to do."""

    def in_flight(self) -> int:
        """Requests under way."""

    def tally(self) -> Tally:
        """What this generation did since it owns."""

    def status(self) -> dict[str, Any]:
        """For people and `--json`: what this server wants to tell about itself."""

    def connections(self) -> list[dict[str, Any]]:
        """One entry a live connection, for `hotswap connections`."""
