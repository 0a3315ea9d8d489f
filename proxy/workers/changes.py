"""A reload with workers: all of them read and check the changed configuration, and then all apply it, or none does."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from hotswap.errors import Busy, Refused
from proxy.reload import ProxyReload
from proxy.workers import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.handover.rounds import Limits
    from proxy.config.model import Config
    from proxy.workers.crew import Crew

PATIENCE: Final = 10.0
"""Seconds for all workers to look at it."""


class CrewReload(ProxyReload):
    """Implements `hotswap.reload.Reload`, in a thread until `apply`. Raises `Refused` if any worker refuses."""

    def __init__(self, crew: Crew, config: Config, limits: Limits) -> None:
        super().__init__(crew, config, limits)
        self._hands = crew.hands
        self._answers: list[str] = []
        self._all_there = threading.Event()
        crew.loop.call_soon_threadsafe(self._ask)
        if not self._all_there.wait(PATIENCE):
            raise Busy("not all workers looked at the changed configuration in time; try again")
        for refusal in filter(None, self._answers):
            raise Refused(refusal)

    def _ask(self) -> None:
        """In the loop, where workers are spoken to."""
        waiting = [*self._hands]
        for hand in waiting:
            hand.plan(self._config)

        def look() -> None:
            if all(hand.planned is not None or not hand.lives for hand in waiting):
                self._answers = [hand.planned or "" for hand in waiting]
                self._all_there.set()
            elif not self._all_there.is_set():
                asyncio.get_running_loop().call_later(0.002, look)

        look()

    def apply(self, added: Mapping[str, int]) -> None:
        """See `hotswap.reload.Reload`."""
        for hand in self._hands:
            hand.say(words.Apply([*added]), tuple(added.values()))
        super().apply(added)
