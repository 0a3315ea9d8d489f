"""Whether another process holds copies of our descriptors: that changes how connections are to be ended.

After an attempt that failed the destination has them until it is gone. Its death proves that; so does it that it stands
by, since a program that is executed inherits none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.spawn import on_death

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hotswap.handover.source import SourceAttempt
    from hotswap.swappable import Swappable


class Copies:
    """Those of attempts that failed. `busy`: another one is under way, which shares anew."""

    def __init__(self, server: Swappable, loop: asyncio.AbstractEventLoop, busy: Callable[[], bool]) -> None:
        self._server = server
        self._loop = loop
        self._busy = busy
        self._place = ""

    def left(self, attempt: SourceAttempt) -> None:
        """It failed, and its destination may live."""
        self._place = attempt.hello.place
        pidfd = attempt.detach_pidfd()
        if pidfd >= 0:
            on_death(self._loop, pidfd, self._gone)

    def stands_by(self, place: str) -> None:
        """Somebody in that container is nothing but idle."""
        if place and place == self._place:
            self._gone()

    def _gone(self) -> None:
        if not self._busy():
            self._server.sharing(False)
