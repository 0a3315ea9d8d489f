"""The byte that is ownership, in a pipe of one attempt.

    O   ownership. Put by the source after FINAL; whoever reads it owns. The kernel lets exactly one
        reader have it, pipe(7).
    A   abort. Put by the source before it closes the channel of a failed attempt.

The source holds both ends, so it can take O back; the destination holds the read end. A pipe serves
one attempt and is never reused: a destination that was stopped in an earlier attempt must wake up
to an A, never to the O of a later one.
"""

from __future__ import annotations

import os

from hotswap.handover.states import Event

OWNERSHIP = b"O"
ABORT = b"A"


class OwnershipPipe:
    """One end or both ends. `read_end` is for epoll and for passing on."""

    __slots__ = ("read_end", "write_end")

    def __init__(self, read_end: int, write_end: int = -1) -> None:
        self.read_end = read_end
        self.write_end = write_end

    @classmethod
    def fresh(cls) -> OwnershipPipe:
        """A new pipe, both ends close-on-exec and non-blocking."""
        return cls(*os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))

    def put(self) -> None:
        """Offer ownership."""
        os.write(self.write_end, OWNERSHIP)

    def put_abort(self) -> None:
        """Tell whoever reads later that this attempt is over."""
        os.write(self.write_end, ABORT)

    def take(self) -> Event:
        """Read one byte: `GOT_O`, `GOT_A`, or `EMPTY` (also if every writer is gone)."""
        try:
            byte = os.read(self.read_end, 1)
        except BlockingIOError:
            return Event.EMPTY
        if byte == ABORT:
            return Event.GOT_A
        return Event.GOT_O if byte == OWNERSHIP else Event.EMPTY

    def close(self) -> None:
        """Close what this process holds of it."""
        for fd in (self.read_end, self.write_end):
            if fd >= 0:
                os.close(fd)
        self.read_end = self.write_end = -1
