"""Copying in rounds: what the destination has, what is dirty, and when to stop and copy the rest.

Round 1 copies every value while the source serves; each further round copies what changed since;
the last pass runs frozen. Nothing here does I/O: a `Copier` makes messages, a `Holdings` takes them in.

The proof that nothing was missed is a digest over (serial, change count) of all that moves. The source
takes it from its live values and the destination from what it restored, so a value that changed
without being copied again shows up as a mismatch.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from hotswap.handover import wire
from hotswap.handover.channel import from_memfd, to_memfd
from hotswap.swappable import Saved, Swappable, Value

_BATCH_BYTES = 56 * 1024
_ITEM_OVERHEAD = 64  # bytes, generous: tag, kind, two integers, flags
_SERIALS_PER_MESSAGE = 4096


class Limits(msgspec.Struct, frozen=True):
    """How long things may take and how much may be left for the freeze. Seconds unless named otherwise."""

    attempt: float = 30.0  # from HELLO to OWNED
    freeze: float = 1.0  # from the last tick to OWNED; then the byte is taken back
    grace: float = 2.0  # with the byte gone and no OWNED, before a spawned destination is killed
    release: float = 5.0  # from BYE to RELEASED
    drain: float = 60.0  # for what cannot move
    rounds: int = 6  # copying passes while serving, at most
    budget: float = 0.002  # what the last pass may cost, by estimate
    value_cost: float = 6e-6  # of one dirty value in the last pass: save, send, restore
    slice: float = 0.001  # of a tick, for copying


def digest(changes: Mapping[int, int]) -> bytes:
    """Over all (serial, change count), in the order of serials."""
    order = sorted(changes)
    state = hashlib.blake2b(array("Q", order).tobytes(), digest_size=16)
    state.update(array("Q", [changes[serial] for serial in order]).tobytes())
    return state.digest()


class Batch(NamedTuple):
    """A message of values; `memfds` are to be closed once it is sent, the other fds stay open."""

    message: wire.Values
    fds: tuple[int, ...]
    memfds: tuple[int, ...]


class Copier:
    """The source's side: which value was sent at which change count."""

    __slots__ = ("_excluded", "_queue", "_server", "_values", "copied", "gone", "sent", "staying")

    def __init__(self, server: Swappable) -> None:
        self._server = server
        self.sent: dict[int, int] = {}
        self.staying: dict[int, str] = {}
        self.gone: list[int] = []
        self.copied = 0
        self._queue: list[Value] = []
        self._values: Mapping[int, Value] = {}
        self._excluded: set[int] = set()

    def begin(self) -> int:
        """Start a round; returns how many values are dirty. `gone` lists what to take back."""
        server, sent = self._server, self.sent
        self.staying = dict(server.staying())
        self._excluded = excluded = {*self.staying, *server.stragglers()}
        self._values = values = server.values()
        dirty = [value for serial, value in values.items() if sent.get(serial) != value.changes]
        if excluded:
            dirty = [value for value in dirty if value.serial not in excluded]
        dirty.reverse()  # taken from the end
        self._queue = dirty
        self.gone = [serial for serial in sent if serial not in values or serial in excluded]
        for serial in self.gone:
            del sent[serial]
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

    def next_batch(self, now: float) -> Batch | None:
        """The next message of this round, None at its end. `now`: when the round began."""
        queue, values, sent = self._queue, self._values, self.sent
        items: list[wire.Item] = []
        fds: list[int] = []
        memfds: list[int] = []
        size = 0
        while queue and size < _BATCH_BYTES and len(fds) < wire.MAX_FDS - 1:
            value = queue.pop()
            serial = value.serial
            if values.get(serial) is not value:
                continue  # closed since the round began
            state = value.save(now)
            changes = value.changes
            with_fd = serial not in sent
            in_memfd = len(state) > wire.INLINE_VALUE
            if with_fd:
                fds.append(value.fd)
            if in_memfd:
                memfds.append(to_memfd(state))
                fds.append(memfds[-1])
                state = b""
            items.append(wire.Item(value.kind, serial, changes, state, with_fd, in_memfd))
            sent[serial] = changes
            size += len(state) + _ITEM_OVERHEAD
        if not items:
            return None
        self.copied += len(items)
        return Batch(wire.Values(items), tuple(fds), tuple(memfds))

    def dirty(self) -> int:
        """How many values the next round would have to copy."""
        sent = self.sent
        return sum(1 for serial, value in self._server.values().items() if sent.get(serial) != value.changes)

    def final_changes(self) -> dict[int, int]:
        """(serial, change count) of every live value that moves; call it in the freeze."""
        changes = {serial: value.changes for serial, value in self._server.values().items()}
        for serial in self._excluded:
            changes.pop(serial, None)
        return changes


def converged(limits: Limits, number: int, copied: int, dirty: int) -> bool:
    """Whether it is time to freeze, after round `number` copied `copied` values and left `dirty`.

    Yes if the rest fits the budget, if rounds ran out, or if they gain nothing any more.
    """
    if dirty * limits.value_cost <= limits.budget or number >= limits.rounds:
        return True
    return number > 1 and dirty > copied * 0.7


class Holdings:
    """The destination's side: what it has restored at which change count."""

    __slots__ = ("_server", "changes", "problems")

    def __init__(self, server: Swappable) -> None:
        self._server = server
        self.changes: dict[int, int] = {}
        self.problems: list[wire.Problem] = []

    def forget(self, serials: list[int]) -> None:
        """The source closed these, or keeps them."""
        for serial in serials:
            if self.changes.pop(serial, None) is not None:
                self._server.forget(serial)

    def take(self, item: wire.Item, fds: list[int], now: float) -> Saved:
        """The value of an item; consumes its fds. Raises `ProtocolError` if a memfd is not as agreed."""
        fd = fds.pop(0) if item.with_fd and fds else -1
        state = from_memfd(fds.pop(0)) if item.in_memfd and fds else item.state
        return Saved(item.kind, item.serial, item.changes, state, fd, item.worker)

    def matches(self, final: wire.Final) -> bool:
        """Count and digest are those of the source."""
        return len(self.changes) == final.connections and digest(self.changes) == final.digest
