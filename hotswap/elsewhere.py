"""A successor that somebody else starts: another container, or a process that stands by in one.

To an upgrade under way it is what `hotswap.spawn.Spawned` is to one that starts its successor itself. But nobody here
can end it, or see it before it calls; what it says of its own accord comes by the control socket.
"""

from __future__ import annotations

import os
from typing import Final

from hotswap.errors import DestinationFailed, HotswapError


class Elsewhere:
    """Whoever comes with `token`; empty: whoever comes."""

    pid: Final = 0
    pidfd: Final = -1
    running: Final = True

    def __init__(self, token: str = "") -> None:
        self.token = token

    @classmethod
    def summoned(cls) -> Elsewhere:
        """One that is told the token."""
        return cls(os.urandom(16).hex())

    def kill(self) -> None:
        """Whoever started it does, or it ends by itself: it hears that the attempt is over."""

    def failure(self) -> HotswapError:
        """Why it ended, as far as can be known."""
        return DestinationFailed("the new generation hung up before it took over; look at the log of its container")

    def close(self) -> None:
        """Nothing is held."""
