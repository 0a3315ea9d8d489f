"""Who has how many clients, in memory that all workers of a crew share: so that none takes more than its part.

All poll the same listening sockets, so nothing that waits in a queue is ever lost; who is awake first takes it. In a
burst that is the same one again and again, for a process that is awake is faster than one that has to be woken. So a
worker that has more than another one looks away for a moment (`proxy.acceptor`), once: who does not come for it in
that time has better things to do, or is stuck, and clients do not wait for him.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

SLACK: Final = 4
"""Clients more than another one that are no reason to look away, and one in sixteen."""
ABSENT: Final = -1
LOOK_AWAY: Final = 0.002
"""Seconds for which a worker that has more clients than others leaves what comes to them."""
BELATED: Final = 8
"""Clients that it takes then, if nobody came."""


class Scales:
    """One worker's view; `number` is its own. The descriptor stays the caller's."""

    def __init__(self, fd: int, number: int) -> None:
        self._counts = memoryview(mmap.mmap(fd, 0)).cast("q")
        self.number = number
        self.looked_away = False
        """It left a client to others, and comes back for it."""

    def most(self, count: int) -> int:
        """How many clients to take now: one, for the others are being woken as well; 0: look away for a moment."""
        heavy = self.weigh(count)
        if self.looked_away:
            self.looked_away = False
            return BELATED
        self.looked_away = heavy
        return 0 if heavy else 1

    def weigh(self, count: int) -> bool:
        """Say how many this one has. True if another one should take what comes next."""
        counts = self._counts
        counts[self.number] = count
        least = count
        for other in counts:
            if ABSENT < other < least:
                least = other
        return count > least + SLACK + least // 16

    def leave(self) -> None:
        """This one takes none any more."""
        self.absent(self.number)

    def absent(self, number: int) -> None:
        """That one is not there: nobody looks away for it."""
        self._counts[number] = ABSENT


def made(workers: int) -> int:
    """Memory for so many, all absent: its descriptor."""
    fd = os.memfd_create("scales", os.MFD_CLOEXEC)
    os.ftruncate(fd, 8 * workers)
    absent = ABSENT.to_bytes(8, "little", signed=True)
    os.pwrite(fd, absent * workers, 0)
    return fd
