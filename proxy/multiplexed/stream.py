"""A stream cut into frames: what both sides have in common.

A frame is passed on when it is complete, for the connection that it goes to is shared. What is there of the next
one waits in `inbox`; a frame over the limit is dropped as it comes, for the stream behind it is good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from proxy.connection import Connection
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from proxy.multiplexed.wire import Wire
    from proxy.plane import Plane, Read

CHUNK = 65536
"""Bytes of a read."""


class Framed(Connection):
    """A connection that speaks such a protocol.

    No `__slots__` here: of two bases only one may have any. The classes of both sides list these fields in theirs.
    """

    wire: ClassVar[Wire]
    """What is spoken."""
    heard: float
    """When bytes last came, monotonic seconds."""
    inbox: bytearray
    """The beginning of a frame."""
    skip: int
    """Bytes of a frame over the limit that are still to be dropped."""
    wanted: int
    """Bytes of `inbox` that are worth a look. Derived."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.heard = plane.now
        self.inbox = bytearray()
        self.skip = 0
        self.wanted = 0

    def readable(self, read: Read, now: float) -> None:
        """See `Connection.readable`. Many frames come at a time here: one large read, the rest in another batch."""
        if self.paused:
            self.plane.unread(self)
            return
        try:
            data = read(self.fd, CHUNK)
        except OSError as error:
            self.plane.io_failed(self, error)
            return
        self.active = self.heard = now
        self.changes += 1
        if len(data) == CHUNK:
            self.plane.unread(self)
        if data and self.tls is not None:
            self.tls.arrived(self, data)
        elif data:
            count_in = self.count_in  # see `Connection.readable`
            count_in(len(data))
            self.received(data)
        else:
            self.plane.at_end(self)

    def received(self, data: bytes) -> None:
        """Bytes of frames."""
        if self.skip:
            dropped = min(self.skip, len(data))
            self.skip -= dropped
            data = data[dropped:]
            if not data:
                return
        buffer = self.inbox
        if buffer:
            buffer += data
            if len(buffer) < self.wanted:
                return
            self.inbox = bytearray()
            self.wanted = 0
        else:
            buffer = bytearray(data)
        try:
            self.take(buffer)
        except BadFrame as why:
            self.give_up(str(why))
        if self.clogged and not self.closed:
            self.stuffed()

    def take(self, buffer: bytearray) -> None:
        """Use the frames in the buffer, which is given away. Raises `BadFrame`."""
        raise NotImplementedError

    def stuffed(self) -> None:
        """What came was perhaps answered here, and the other side does not read: there is a limit to that."""
        raise NotImplementedError

    def give_up(self, reason: str) -> None:
        """The stream cannot be followed: end this connection, and only this one."""
        raise NotImplementedError

    def skip_frame(self, buffer: bytearray, at: int, length: int) -> int:
        """Drop a frame over the limit. Returns where the next one begins in the buffer."""
        end = at + length
        if end > len(buffer):
            self.skip = end - len(buffer)
            end = len(buffer)
        return end
