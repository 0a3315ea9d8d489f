"""A stream cut into frames: what both sides have in common.

A frame is passed on when it is complete, for the connection that it goes to is shared. What is there of the next
one waits in an `Inbox`; a frame over the limit is dropped as it comes, for the stream behind it is good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from proxy.calls import Calls
    from proxy.connection import Connection

CHUNK = 65536
"""Bytes of a read."""
MUCH = 16384
"""More than that are read to where they stay, and not copied there."""


class Inbox:
    """What came and was not used yet. Its length is that of the beginning of a frame."""

    __slots__ = ("much", "rest", "skip", "wanted")

    def __init__(self) -> None:
        self.rest = bytearray()
        """The beginning of a frame."""
        self.skip = 0
        """Bytes of a frame over the limit that are still to be dropped."""
        self.wanted = 0
        """Bytes of it that are worth a look. Derived."""
        self.much = False
        """Much came the last time. Derived."""

    def __len__(self) -> int:
        return len(self.rest)

    def read(self, connection: Connection, calls: Calls, now: float) -> bool:
        """See `Connection.readable`. Many frames come at a time here: one large read, the rest in another batch.

        True if anything came, or the end.
        """
        plane = connection.plane
        if connection.paused:
            plane.unread(connection)
            return False
        tls = connection.tls
        data: Any = b""  # `received` of both sides takes a bytearray, too, which spares a copy
        try:
            if tls is not None:
                data = calls.read(connection.fd, CHUNK)
                size = len(data)
            elif self.rest and not self.skip:  # what comes belongs to what is there
                size = calls.append(connection.fd, self.rest, CHUNK, self.much)
            else:
                data = bytearray()
                size = calls.append(connection.fd, data, CHUNK, self.much)
        except OSError as error:
            plane.io_failed(connection, error)
            return False
        self.much = size > MUCH
        connection.active = now
        connection.changes += 1
        if size == CHUNK:
            plane.unread(connection)
        if not size:
            plane.at_end(connection)
        elif tls is not None:
            tls.arrived(connection, data)
        else:
            connection.tally(connection.count_in, size)
            connection.received(data)
        return True

    def add(self, data: bytes | bytearray) -> bytearray | None:
        """All that is worth a look now, which is given away: what is left of it comes back as `rest`. None: nothing.

        Of what was read behind the rest there is no `data` any more.
        """
        if self.skip:
            dropped = min(self.skip, len(data))
            self.skip -= dropped
            data = data[dropped:]
            if not data:
                return None
        rest = self.rest
        if not rest:
            return data if isinstance(data, bytearray) else bytearray(data)
        rest += data
        if len(rest) < self.wanted:
            return None
        self.rest = bytearray()
        self.wanted = 0
        return rest

    def load(self, rest: bytes, skip: int) -> None:
        """Take over what was saved."""
        self.rest = bytearray(rest)
        self.skip = skip
        self.wanted = 0

    def skip_frame(self, buffer: bytearray, at: int, length: int) -> int:
        """Drop a frame over the limit. Returns where the next one begins in the buffer."""
        end = at + length
        if end > len(buffer):
            self.skip = end - len(buffer)
            end = len(buffer)
        return end
