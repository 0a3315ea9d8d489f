"""A stream, as its session knows it (RFC 9113 section 5.1).

    idle          no record: the id is beyond those seen
    open          a record
    half-closed   a record with REMOTE_ENDED or LOCAL_ENDED
    closed        no record; those that we reset are remembered for a while, for what was on its way

Reserved streams do not exist: nobody may push.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from proxy.http2.hpack import Never

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.http2.hpack import Field

# The bits of `Stream.flags`: append only, older and newer generations read them.
REMOTE_ENDED: Final = 1
LOCAL_ENDED: Final = 2
HEAD_IN: Final = 4
"""The peer's head came, if a response's then the final one."""
HEAD_OUT: Final = 8
"""Ours was sent."""
BODYLESS: Final = 16
"""What we receive has no body, whatever its Content-Length says."""
ENDING: Final = 32
"""END_STREAM follows what is queued."""
WAITING: Final = 64
"""The owner wants to know when the queue is empty."""
TUNNEL: Final = 128
"""CONNECT: no Content-Length."""
STUCK: Final = 256
"""Its queue did not move since it was looked at."""

EMPTY: Final = bytearray()
"""In place of one of its own where nothing waits: it is never added to."""


class FieldState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A field. Rules of compatibility: `proxy.state`."""

    name: bytes
    value: bytes
    never: bool = False


class StreamState(msgspec.Struct, array_like=True, frozen=True):
    """The value. Rules of compatibility: `proxy.state`."""

    id: int
    flags: int
    send_window: int
    receive_window: int
    held: int
    owed: int
    left: int
    queue: bytes = b""
    trailers: tuple[FieldState, ...] | None = None


class Stream:
    """A record."""

    __slots__ = ("flags", "held", "id", "left", "owed", "queue", "receive_window", "send_window", "trailers")

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.fresh(stream_id, send_window, receive_window)

    def fresh(self, stream_id: int, send_window: int, receive_window: int) -> None:
        """Its fields at first."""
        self.id = stream_id
        self.flags = 0
        self.send_window = send_window
        self.receive_window = receive_window
        """What the peer may send by the latest word it has of us."""
        self.held = 0
        """Bytes that the owner has not consumed."""
        self.owed = 0
        """Bytes that it consumed and the peer has not been told."""
        self.left = -1
        """Bytes of the body still to come, by Content-Length; -1 without one."""
        self.queue = EMPTY
        """The owner's, waiting for room in a window."""
        self.trailers: Sequence[Field] | None = None
        """What follows the queue."""

    def save(self) -> StreamState:
        """The value."""
        trailers = self.trailers
        fields = None
        if trailers is not None:
            fields = tuple([FieldState(*field, isinstance(field, Never)) for field in trailers])
        return StreamState(
            self.id,
            self.flags,
            self.send_window,
            self.receive_window,
            self.held,
            self.owed,
            self.left,
            bytes(self.queue),
            fields,
        )


def opened(stream_id: int, send_window: int, receive_window: int) -> Stream:
    """A new one. For C: `Stream(...)` would make objects of the numbers, 0.2 us."""
    stream = Stream.__new__(Stream)
    stream.fresh(stream_id, send_window, receive_window)
    return stream


def restored(state: StreamState) -> Stream:
    """The counterpart of `Stream.save`."""
    stream = Stream(state.id, state.send_window, state.receive_window)
    stream.flags, stream.held, stream.owed, stream.left = state.flags, state.held, state.owed, state.left
    stream.queue = bytearray(state.queue)
    if state.trailers is not None:
        stream.trailers = [Never(one.name, one.value) if one.never else (one.name, one.value) for one in state.trailers]
    return stream
