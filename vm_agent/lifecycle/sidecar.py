"""One running sidecar, as its control socket shows it: who serves, which release that is, and orders to it.

The client blocks, so it runs in threads. Whose answer breaks off is looked up, not guessed (`hotswap.attempt`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotswap import errors
from hotswap.attempt import Attempt, Event
from hotswap.control_client import ControlClient
from hotswap.orders import Order

_POLL_SECONDS = 0.1
_SETTLE_SECONDS = 60.0  # for a handover that goes on without us
_ANSWER_SECONDS = 5.0


class Sidecar:
    """Asks and orders. `releases`: the directory of all releases; `link`: the sidecar's own ``current``."""

    def __init__(self, name: str, runtime_dir: Path, releases: Path, link: Path) -> None:
        self.name = name
        self._runtime_dir = runtime_dir
        self._releases = releases
        self._link = link

    def _client(self, seconds: float = _ANSWER_SECONDS) -> ControlClient:
        return ControlClient(self._runtime_dir, self.name, seconds)

    async def status(self, *, brief: bool = True) -> dict[str, Any]:
        """Who serves. Raises `HotswapError` if nobody answers."""
        return await asyncio.to_thread(self._client().get, "/status?brief=1" if brief else "/status")

    async def settled(self) -> dict[str, Any] | None:
        """The status once no handover is under way; None if nothing runs under this name.

        Raises `HotswapError` if somebody is there and does not answer in time.
        """
        deadline = asyncio.get_running_loop().time() + _SETTLE_SECONDS
        while True:
            try:
                status = await self.status()
            except errors.NotRunning:
                return None
            if status.get("state") != "handover" or asyncio.get_running_loop().time() > deadline:
                return status
            await asyncio.sleep(_POLL_SECONDS)

    async def history(self) -> list[dict[str, Any]]:
        """The chain of generations. Raises `HotswapError`."""
        answer = await asyncio.to_thread(self._client().get, "/history")
        return [record for record in answer.get("history") or [] if isinstance(record, dict)]

    async def release(self, status: dict[str, Any]) -> str:
        """The release that serves by this status; empty: none that the agent installed. Raises `HotswapError`."""
        record = served(await self.history(), status.get("generation"))
        return release_of(record, self._releases, self._link)

    async def metrics(self) -> bytes:
        """What it counts, as JSON. Raises `HotswapError`."""
        return await asyncio.to_thread(self._client().fetch, "/metrics", "application/json")

    async def upgrade(self, order: Order, watch: Callable[[Event], None]) -> Event:
        """Carry an order out; the last event. Its bake is not waited for. Raises `HotswapError` before it began."""
        loop = asyncio.get_running_loop()

        def told(event: Event) -> None:
            loop.call_soon_threadsafe(watch, event)

        attempt = Attempt(self._client(), order, follow_bake=False)
        return await asyncio.to_thread(attempt.run, told)

    async def reload(self) -> dict[str, Any]:
        """Take the configuration as it is on disk. Raises `HotswapError`: refused, serving as before."""
        return await asyncio.to_thread(self._client(30.0).post, "/reload", {})


def served(history: list[dict[str, Any]], generation: object) -> dict[str, Any]:
    """The record of the generation with this number that came to own; empty if there is none."""
    mine = [one for one in history if one.get("generation") == generation]
    owners = [one for one in mine if not str(one.get("outcome")).startswith("failed")]
    return owners[-1] if owners else {}


def release_of(record: dict[str, Any], releases: Path, link: Path) -> str:
    """The release that a recorded command names: by its directory, or by the link.

    What was started by the link is what it names: it moves only once a process serves that the directory was named to.
    """
    words = [str(word) for word in record.get("command") or []]
    for word in words:
        found = _below(word, releases)
        if found:
            return found
    for word in words:
        if word.startswith(f"{link}/"):
            return _below(os.path.realpath(link), releases)
    return ""


def _below(word: str, releases: Path) -> str:
    prefix = f"{releases}/"
    return word.removeprefix(prefix).partition("/")[0] if word.startswith(prefix) else ""
