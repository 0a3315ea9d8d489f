"""A connection that a filter holds back before its protocol begins (docs/filters.md).

    accepted --filters--> none: the protocol's own connection begins        abort: reset
                ^ `-----> delay: an `Entry` has the descriptor, unread
                `-------- the deadline passed: on with the next filter

It knows nothing of the protocol, so that every protocol can be delayed and none has to know of it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.filtered import FilteredDownstream
from proxy.filters.api import Delay
from proxy.sides import Downstream
from proxy.state import EntryState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.filters.chain import Notes
    from proxy.plane import Places, Plane

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(EntryState).decode


def enter(connection: Downstream, now: float) -> None:
    """A connection was accepted and its listener has filters: it begins, ends, or waits."""
    _pass(connection, {}, 0, now)


def _pass(connection: Downstream, notes: Notes, first: int, now: float) -> None:
    """On with filter number `first`. `connection` is an `Entry`, or the protocol's own."""
    listener, plane = connection.listener, connection.plane
    chain = listener.filters
    verdict, number = (None, 0) if chain is None else chain.admit(connection.remote, notes, first, now)
    if isinstance(verdict, Delay):
        entry = connection if isinstance(connection, Entry) else Entry(plane)
        entry.wait(connection, notes, number + 1, now + verdict.seconds)
    elif verdict is not None:
        connection.reset()
    else:
        own = connection
        if isinstance(connection, Entry):
            own = listener.downstream(plane)
            own.listener, own.remote = listener, connection.remote
            own.introduced, own.destination = connection.introduced, connection.destination
            own.server_name = connection.server_name
            plane.replace(connection, own)
        if isinstance(own, FilteredDownstream):
            own.notes = notes
        own.begin()
        if own is not connection and listener.draining:
            own.drain()


class Entry(Downstream):
    """Waits for `deadline`, and is replaced then."""

    __slots__ = ("deadline", "next", "notes")

    kind: ClassVar[str] = "entry"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.deadline = inf
        self.next = 0
        """The filter that is next."""
        self.notes: Notes = {}

    def wait(self, connection: Downstream, notes: Notes, following: int, until: float) -> None:
        """Hold `connection` back, which may be this one."""
        if connection is not self:
            self.listener, self.remote = connection.listener, connection.remote
            self.introduced, self.destination = connection.introduced, connection.destination
            self.server_name = connection.server_name
            self.plane.replace(connection, self)
            self.pause()
        self.notes, self.next, self.deadline = notes, following, until
        self.touch()
        self.wake(until)

    def due(self) -> float:
        """The end of the delay."""
        return self.deadline

    def expired(self, now: float) -> None:
        """On with the next filter."""
        _pass(self, self.notes, self.next, now)

    def save(self, now: float) -> bytes:
        """See `proxy.state.EntryState`."""
        listener = self.listener
        return _encode(
            EntryState(
                self.transport(now),
                listener.name,
                listener.address,
                listener.config.protocol,
                self.remote,
                remaining(self.deadline, now),
                self.next,
                self.notes,
                self.introduced,
                self.destination,
                self.server_name,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, saved.protocol)
        self.load_transport(saved.transport, now, places)
        self.remote = saved.remote
        self.deadline = deadline(saved.left, now)
        self.next = saved.next
        self.notes = saved.notes
        self.introduced = saved.introduced
        self.destination = saved.destination
        self.server_name = saved.server_name

    def describe(self) -> dict[str, Any]:
        """It is held back."""
        return {**super().describe(), "state": "delayed"}
