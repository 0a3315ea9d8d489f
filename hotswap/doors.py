"""Where a generation that owns can be spoken to: control socket, admin address, and the way in for successors.

The sockets are the estate's and outlive this generation; here is who answers on them meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from hotswap.control import HttpServer, Route
from hotswap.handover.greeter import Greeter
from hotswap.peers import admitted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotswap.estate import Estate
    from hotswap.handover.greeter import Admit

    Routes = Mapping[tuple[str, str], Route]

FAREWELL_SECONDS: Final = 2.0
"""For answers under way at the end: no scrape is lost in a handover."""


class Doors:
    """Those of one generation; closed until `open`, and again after `close`."""

    def __init__(self, estate: Estate, control: Routes, admin: Routes, peers: frozenset[int] = frozenset()) -> None:
        """The control socket answers what the admin address does, and more. `peers` are other users let in by it."""
        self._estate = estate
        self._peers = peers
        self._control = HttpServer({**admin, **control}, allow_uids=admitted(peers))
        self._admin = HttpServer(admin)
        self._greeter: Greeter | None = None

    def open(self, admit: Admit, occupied: Callable[[], bool]) -> None:
        """Answer. For `admit` and `occupied` see `Greeter`."""
        estate = self._estate
        self._control.start(estate.control)
        self._greeter = Greeter(estate.handover, admit, occupied, self._peers)
        if estate.admin >= 0:
            self._admin.start(estate.admin)

    def pause(self) -> None:
        """Accept nobody for now. Answers under way go on.

        Two generations listen on these sockets: who comes waits in the kernel's queue for the one that owns in the end.
        """
        self._control.pause()
        self._admin.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._control.resume()
        self._admin.resume()

    def close(self) -> None:
        """Let nobody in any more. Answers under way go on."""
        self._control.stop()
        self._admin.stop()
        if self._greeter is not None:
            self._greeter.stop()
            self._greeter = None

    @property
    def answering(self) -> bool:
        """Somebody waits for an answer at the admin address, or is about to ask."""
        return self._admin.answering

    async def finish(self) -> None:
        """Let answers under way reach their readers."""
        self.close()
        await asyncio.gather(*(one.finish(FAREWELL_SECONDS) for one in (self._control, self._admin)))

    def move_admin(self, address: str, fd: int) -> None:
        """Answer on another admin address (empty: on none) from now on."""
        estate = self._estate
        if address == estate.admin_address:
            return
        self._admin.stop()
        if estate.admin >= 0:
            os.close(estate.admin)
        estate.admin, estate.admin_address = fd, address
        if fd >= 0:
            self._admin.start(fd)
