"""Protocol ``tcp`` with filters that look at the bytes (docs/filters.md).

    client -- received --> filters in order -----> peer.outbox
    client <- outbox ----- filters in reverse <-- received -- upstream

A relay of its own kind, so that the other does not even look whether there are filters. Which of the two a connection
is, its listener decides on accepting: filters that come later with a reload would see a stream from its middle.
What filters remember of a connection is held by the client's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from proxy.state import FilteredState
from proxy.tcp import TcpDownstream, TcpUpstream

if TYPE_CHECKING:
    from proxy.connection import Connection
    from proxy.filters.chain import Notes, Way
    from proxy.plane import Places, Plane

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FilteredState).decode


class FilteredDownstream(TcpDownstream):
    """The client's side."""

    __slots__ = ("notes",)

    kind: ClassVar[str] = "tcp.filtered.downstream"

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.notes: Notes = {}

    def _other_side(self) -> TcpUpstream:
        return FilteredUpstream(self.plane)

    def received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.passed += len(data)
        self.filter("received", data, self, self.peer)

    def ended(self) -> None:
        """Filters may have kept bytes back."""
        peer = self.peer
        if self.filter("received", b"", self, peer):
            super().ended()

    def filter(self, way: Way, data: bytes, source: Connection, target: Connection) -> bool:
        """Pass on what filters make of it. False if that was to end the connection."""
        chain = self.listener.filters
        if chain is not None:
            passed = chain.relay(way, data, self.remote, self.notes, self.plane.now)
            self.changes += 1
            if passed is None:
                self.part()
                target.reset()
                source.reset()
                return False
            data = passed
        if data:
            target.send(data)
            if target.clogged:
                source.pause()
        return True

    def save(self, now: float) -> bytes:
        """See `proxy.state.FilteredState`."""
        return _encode(FilteredState(super().save(now), self.notes))

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        super().load(saved.inner, now, places)
        self.notes = saved.notes


class FilteredUpstream(TcpUpstream):
    """The endpoint's side."""

    __slots__ = ()

    kind: ClassVar[str] = "tcp.filtered.upstream"

    def received(self, data: bytes) -> None:
        """Bytes of the endpoint."""
        self.passed += len(data)
        client: FilteredDownstream = self.peer
        client.filter("sent", data, self, client)

    def ended(self) -> None:
        """Filters may have kept bytes back."""
        client: FilteredDownstream = self.peer
        if client.filter("sent", b"", self, client):
            super().ended()
        else:
            self.endpoint.answered(self.plane.now)
