"""Copying in rounds: what the destination has, what is dirty, and when to stop and copy the rest.

Round 1 copies every value while the source serves; each further round copies what changed since;
the last pass runs frozen. Nothing here does I/O: a `Copier` makes messages, a `Holdings` takes them in.

The proof that nothing was missed is a digest over (serial, change count) of all that moves. The source
takes it from its live values and the destination from what it restored, so a value that changed
without being copied again shows up as a mismatch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import msgspec

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.handover.channel import from_memfd, to_memfd
from hotswap.swappable import OTHER, Passed, Reason, Saved, Swappable, Value

_ITEM_OVERHEAD = 48  # bytes beside kind and state, generous: three integers, flags, lengths
_BATCH_BYTES = wire.MAX_MESSAGE - wire.INLINE_VALUE - 1024  # then one more value still fits
_SERIALS_PER_MESSAGE = 4096
SMALL = 8192  # bytes of a message of the last pass: the destination restores one while the source saves the next
_REASON = 200  # characters of four bytes at most, so that
_PROBLEMS_PER_MESSAGE = 64  # of them fit into one message


class Limits(msgspec.Struct, frozen=True):
    """How long things may take and how much may be left for the freeze. Seconds unless named otherwise."""

    attempt: float = 30.0  # from HELLO to OWNED
    freeze: float = 1.0  # from the last tick to OWNED; then the byte is taken back
    grace: float = 2.0  # with the byte gone and no OWNED, before a spawned destination is killed
    stragglers: float = 30.0  # from OWNED, for what could not be a value at the freeze
    release: float = 5.0  # from BYE to RELEASED
    drain: float = 60.0  # after SIGTERM, for the work under way
    farewell: float = 600.0  # after giving everything away, for what could not move
    rounds: int = 6  # copying passes while serving, at most
    budget: float = 0.001  # what the last pass may cost, by estimate
    value_cost: float = 6e-6  # of one dirty value in the last pass: save, send, restore
    slice: float = 0.001  # of a tick, for copying
    drain_delay: float = 0.0  # of a drain: between the announcement and the end of accepting


class Proof:
    """The digest over all (serial, change count), in ascending order of serials.

    The serials come first, so what they come to is known before the freeze: in it few come or go, as a rule.

    MessagePack only because it writes 18,000 integers in a tenth of a millisecond.
    """

    __slots__ = ("_start",)

    def __init__(self, serials: Sequence[int]) -> None:
        self._start = hashlib.blake2b(msgspec.msgpack.encode(serials), digest_size=16)

    def digest(self, changes: Sequence[int]) -> bytes:
        """`changes`: in the order of the serials."""
        state = self._start.copy()
        state.update(msgspec.msgpack.encode(changes))
        return state.digest()


class Batch(NamedTuple):
    """A message of values; those of `fds` that are `spent` are to be closed once it is sent, the others stay open."""

    message: wire.Values
    fds: tuple[int, ...]
    spent: tuple[int, ...]


class Copier:
    """The source's side: which value was sent at which change count."""

    __slots__ = ("_counts", "_excluded", "_proof", "_queue", "_server", "_values", "copied", "gone", "sent", "staying")

    def __init__(self, server: Swappable) -> None:
        self._server = server
        self.sent: dict[int, int] = {}
        self.staying: dict[int, str] = {}
        self.gone: list[int] = []
        self.copied = 0
        self._excluded: set[int] = set()
        self._queue: list[Value] = []
        self._values: Mapping[int, Value] = {}
        self._proof: Proof | None = None  # over `sent`
        self._counts: Sequence[int] = ()

    def begin(self) -> int:
        """Start a round; returns how many values are dirty. `gone` lists what to take back.

        All of this runs in the freeze as well, over every live connection: whatever can wait is left to `proof`.
        """
        server, sent = self._server, self.sent
        self.staying = dict(server.staying())
        self._excluded = excluded = {*self.staying, *server.stragglers()}
        self._values = values = server.values()
        dirty, self._counts = server.survey(sent)
        if excluded:
            dirty = [value for value in dirty if value.serial not in excluded]
        fresh = sum(value.serial not in sent for value in dirty) if sent else len(dirty)
        self._queue = list(reversed(dirty))  # taken from the end
        moving = len(values) - sum(serial in values for serial in excluded)
        gone = len(sent) != moving - fresh
        self.gone = [serial for serial in sent if serial not in values or serial in excluded] if gone else []
        for serial in self.gone:
            del sent[serial]
        if fresh or gone:
            self._proof = None
        self.copied = 0
        return len(dirty)

    def closed_messages(self) -> list[wire.Closed]:
        """What the destination shall forget."""
        gone = self.gone
        return [wire.Closed(gone[at : at + _SERIALS_PER_MESSAGE]) for at in range(0, len(gone), _SERIALS_PER_MESSAGE)]

    @property
    def left(self) -> int:
        """Values of this round still to be sent."""
        return len(self._queue)

    def next_batch(self, now: float, limit: int = _BATCH_BYTES) -> Batch | None:
        """The next message of this round, of about `limit` bytes; None at its end. `now`: when the round began."""
        queue, values, sent = self._queue, self._values, self.sent
        items: list[wire.Item] = []
        fds: list[int] = []
        spent: list[int] = []
        size = 0
        while queue and size < limit and len(fds) < wire.MAX_FDS - 1:
            value = queue.pop()
            serial = value.serial
            if values.get(serial) is not value:
                continue  # closed since the round began
            state = value.save(now)
            changes = value.changes
            with_fd = serial not in sent
            in_memfd = len(state) > wire.INLINE_VALUE
            worker = 0
            if isinstance(value, Passed):
                worker = value.worker
                if with_fd:
                    spent.append(value.release())
                    fds.append(spent[-1])
            elif with_fd:
                fds.append(value.fd)
            if in_memfd:
                spent.append(to_memfd(state))
                fds.append(spent[-1])
                state = b""
            items.append(wire.Item(value.kind, serial, changes, state, with_fd, in_memfd, worker))
            sent[serial] = changes
            size += len(state) + len(value.kind) + _ITEM_OVERHEAD
        if not items:
            return None
        self.copied += len(items)
        return Batch(wire.Values(items), tuple(fds), tuple(spent))

    def dirty(self) -> int:
        """How many values the next round would have to copy."""
        self._server.values()  # see there: it may have to bring them up to date
        dirty, _ = self._server.survey(self.sent)
        return sum(value.serial not in self._excluded for value in dirty)

    def words(self) -> Counter[str]:
        """How many stayed in the last round, by the words of the reasons."""
        found: Counter[str] = Counter()
        for reason, count in Counter(self.staying.values()).items():
            found[reason.word if isinstance(reason, Reason) else OTHER] += count
        return found

    def proof(self) -> tuple[int, bytes]:
        """How many values move, and the digest over them as they were at `begin`: nothing may have ticked since."""
        counts = self._counts
        if self._excluded:
            counts = list(compress(counts, [serial not in self._excluded for serial in self._values]))
        return len(counts), self.prove().digest(counts)

    def prove(self) -> Proof:
        """Take what can be taken of the proof by now: a round is sent, and the next one may be the last."""
        if self._proof is None:
            self._proof = Proof(sorted(self.sent))
        return self._proof


def converged(limits: Limits, number: int, copied: int, dirty: int) -> bool:
    """Whether it is time to freeze, after round `number` copied `copied` values and left `dirty`.

    Yes if the rest fits the budget, if rounds ran out, or if they gain nothing any more.
    """
    if dirty * limits.value_cost <= limits.budget or number >= limits.rounds:
        return True
    return number > 1 and dirty > copied * 0.7


class Holdings:
    """The destination's side: what it has restored at which change count."""

    __slots__ = ("_newest", "_ordered", "_proof", "_server", "changes", "problems", "refused")

    def __init__(self, server: Swappable) -> None:
        self._server = server
        self.changes: dict[int, int] = {}  # in the order in which they came first
        self._newest, self._ordered = 0, True
        self._proof: Proof | None = None  # over `changes`
        self.problems: list[wire.Problem] = []  # of which the source does not know yet
        self.refused: set[int] = set()

    def have(self, item: wire.Item) -> None:
        """It is restored."""
        if item.with_fd:
            self._ordered = self._ordered and item.serial > self._newest
            self._newest = item.serial
            self._proof = None
        self.changes[item.serial] = item.changes

    def refuse(self, serial: int, reason: str) -> None:
        """This one cannot be restored here: the source shall keep it."""
        self.forget([serial])
        self.refused.add(serial)
        self.problems.append(wire.Problem(serial, reason[:_REASON]))

    def reported(self) -> list[wire.Problem]:
        """As many problems as fit a message; the source goes on with rounds until it has heard them all."""
        problems = self.problems[:_PROBLEMS_PER_MESSAGE]
        del self.problems[:_PROBLEMS_PER_MESSAGE]
        return problems

    def forget(self, serials: list[int]) -> None:
        """The source closed these, or keeps them."""
        for serial in serials:
            if self.changes.pop(serial, None) is not None:
                self._proof = None
                self._server.forget(serial)

    def take(self, item: wire.Item, fds: list[int], now: float) -> Saved:
        """The value of an item; consumes its fds. Raises `ProtocolError` if they are not as announced."""
        if len(fds) < item.with_fd + item.in_memfd:
            raise ProtocolError("a value without its descriptors")
        state = from_memfd(fds.pop(item.with_fd)) if item.in_memfd else item.state
        return Saved(item.kind, item.serial, item.changes, state, fds.pop(0) if item.with_fd else -1, item.worker)

    def matches(self, final: wire.Final) -> bool:
        """Count and digest are those of the source."""
        if len(self.changes) != final.connections:
            return False
        if self._ordered:
            changes = list(self.changes.values())
        else:  # a value was kept at first, or a server does not keep to the order
            changes = [self.changes[serial] for serial in sorted(self.changes)]
        return self.prove().digest(changes) == final.digest

    def prove(self) -> Proof:
        """Take what can be taken of the proof by now: the end of a round, and the next one may be the last."""
        if self._proof is None:
            self._proof = Proof(sorted(self.changes))
        return self._proof
