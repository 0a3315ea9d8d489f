"""A reload with workers: all of them read and check the changed configuration, and then all apply it, or none does."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from hotswap.errors import Busy, HotswapError, Refused
from hotswap.reload import in_thread
from proxy.reload import ProxyReload
from proxy.tls.secrecy import keep_secrets
from proxy.workers import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotswap.handover.rounds import Limits
    from proxy.config.model import Config
    from proxy.server import ProxyServer
    from proxy.workers.crew import Crew
    from proxy.workers.line import Line

log = logging.getLogger("proxy")

PATIENCE: Final = 10.0
"""Seconds for all workers to look at it."""


def has_secrets(config: Config) -> bool:
    """There are private keys to be read."""
    return any(one.tls for one in config.listeners) or any(one.tls for one in config.clusters)


def find_room(sockets: int) -> None:
    """See that descriptors are free for so many: who cannot take one when it comes has to end. Raises `Refused`."""
    taken: list[int] = []
    try:
        while len(taken) < sockets:
            taken.append(os.eventfd(0))
    except OSError as error:
        raise Refused(f"a worker cannot take another listener ({error.strerror}): raise RLIMIT_NOFILE") from error
    finally:
        for fd in taken:
            os.close(fd)


class Planning:
    """A worker's part of it."""

    def __init__(self, server: ProxyServer, line: Line) -> None:
        self._server, self._line = server, line
        self._planned: ProxyReload | None = None
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    def plan(self, word: words.Plan) -> None:
        """Look at it, and tell. One that was looked at before, or still is, counts no more."""
        config: Config = pickle.loads(word.config)  # noqa: S301 - of the process that started this one
        self._planned, self._number = None, word.number
        self._task = asyncio.get_running_loop().create_task(self._look_at(word.number, config))

    async def _look_at(self, number: int, config: Config) -> None:
        planned, refusal = None, ""
        try:
            if has_secrets(config):
                keep_secrets()
            planned = await in_thread(lambda: ProxyReload(self._server, config, None))
            known = {listener.address for listener in self._server.listeners.values()}
            find_room(sum(str(spec.address) not in known for spec in planned.wanted))
        except HotswapError as error:
            refusal = str(error)
        except Exception as error:  # a bug: nothing is changed by it
            log.exception("a changed configuration cannot be looked at")
            refusal = repr(error)
        if number == self._number:
            self._planned = planned
            self._line.say(words.Planned(number, refusal))

    def apply(self, number: int, added: Mapping[str, int]) -> None:
        """Put it in force. Raises `HotswapError`: all others do, and this process must not serve something else."""
        # One that came while the others planned has none: the next one begins with what is in force now.
        if self._planned is None or number != self._number:
            raise HotswapError("a changed configuration was not seen in time")
        self._planned.apply(added)
        self._planned = None


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

        until = asyncio.get_running_loop().time() + PATIENCE

        def look() -> None:
            if all(hand.planned is not None or not hand.lives for hand in waiting):
                self._answers = [hand.planned or "" for hand in waiting]
                self._all_there.set()
            elif asyncio.get_running_loop().time() < until:
                asyncio.get_running_loop().call_later(0.002, look)

        look()

    def apply(self, added: Mapping[str, int]) -> None:
        """See `hotswap.reload.Reload`."""
        for hand in self._hands:
            hand.sockets(added, partial(words.Apply, hand.plans))
        super().apply(added)
