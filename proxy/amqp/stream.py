"""A stream cut into frames: what both sides of the AMQP relay have in common.

Frames are passed on when they are complete, in runs. So whatever was sent ends with a frame, and a frame of our own can
follow at any time. What is there of the next one waits in `inbox`.

The loops over frames are not here: each side has its own, though both look alike. They touch each frame, some 1 us of
work, and one loop for both would ask for each of them in which direction it goes and what its side calls things.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.amqp.frame import BEAT, EXTRA, FRAME_ERROR, BadFrame
from proxy.connection import Connection

if TYPE_CHECKING:
    from proxy.plane import Plane

GOODBYE: Final = 5.0
"""Seconds that a peer has to take note of connection.close."""


class Framed(Connection):
    """A connection that speaks AMQP.

    No `__slots__` here: of two bases only one may have any. The classes of both sides list these fields in theirs.
    """

    inbox: bytearray
    """The beginning of a frame."""
    wanted: int
    """Bytes of `inbox` that are worth a look. Derived."""
    heard: float
    """When bytes last came, monotonic seconds."""
    spoke: float
    """When something was last sent."""
    closing_by: float
    """It was told that this is the end, and may take until then; inf: it was not."""
    passed: int
    """Bytes that came."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.inbox = bytearray()
        self.wanted = 0
        self.heard = self.spoke = plane.now
        self.closing_by = inf

    def received(self, data: bytes) -> None:
        """Bytes of frames."""
        self.passed += len(data)
        self.heard = self.plane.now
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
            self.give_up(why.code, str(why))

    def take(self, buffer: bytearray) -> None:
        """Use the frames in the buffer, which is given away. Raises `BadFrame`."""
        raise NotImplementedError

    def give_up(self, code: int, reason: str) -> None:
        """The stream cannot be followed."""
        raise NotImplementedError

    def hold(self, buffer: bytearray, at: int) -> None:
        """Keep what is there of the next frame."""
        self.inbox = buffer[at:]

    def pass_on(self, run: bytearray) -> None:
        """Append frames to the outbox."""
        self.spoke = self.plane.now
        out = self.outbox
        if self.shutting:
            return
        if not out:  # `send` spelled out for the common case
            if self.fd >= 0:
                self.outbox = run
                self.plane.unflushed.append(self)
        else:
            self.send(bytes(run))

    def tell(self, words: bytes) -> None:
        """A frame of our own; nothing, once a FIN follows what was sent."""
        if not self.shutting:
            self.send(words)

    def beat(self, now: float) -> None:
        """Nothing was sent for a while: show that there is somebody. What waits in the outbox does so, too."""
        self.spoke = now
        self.changes += 1
        if not self.outbox:
            self.tell(BEAT)


def too_long(length: int, limit: int) -> BadFrame:
    """A frame over the limit."""
    return BadFrame(FRAME_ERROR, f"a frame of {length + EXTRA} bytes, {limit} were agreed on")
