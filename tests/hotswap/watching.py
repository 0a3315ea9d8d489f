"""What tests of watches of files begin with."""

from __future__ import annotations

import asyncio
import os

from hotswap.filewatch import FileWatch

SOON = 10.0  # seconds in which a word has to come


class Told:
    """Counts the words of a watch, and waits for them."""

    def __init__(self) -> None:
        self.words = 0
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self.words += 1
        self._event.set()

    async def again(self) -> None:
        async with asyncio.timeout(SOON):
            await self._event.wait()
        self._event.clear()


def end(one: FileWatch) -> None:
    """A process does not do this: see `FileWatch._fd`."""
    one.stop()
    if one._fd >= 0:
        os.close(one._fd)
