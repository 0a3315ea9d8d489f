"""Work that blocks, each in a thread of its own, waited for up to a deadline.

A thread that hangs, as one does that looks at a network file system whose server is gone, cannot be ended. It is left
alone, holds up neither the agent's end nor the threads that others use, and is not sent a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Overdue(Exception):
    """It did not come back in time, or still has not since an earlier time."""


class Errands:
    """All of one patrol. For one event loop."""

    def __init__(self) -> None:
        self._out: set[str] = set()

    async def run(self, name: str, work: Callable[[], T], seconds: float) -> T:
        """What `work` returns. Raises `Overdue`, and what it raises. One at a time under the same name."""
        if name in self._out:
            raise Overdue("it has not come back since an earlier patrol")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(give: Callable[[Any], None], value: Any) -> None:
            if not result.done():
                give(value)

        def threaded() -> None:
            give: Callable[[Any], None]
            value: Any
            try:
                give, value = result.set_result, work()
            except Exception as error:  # noqa: BLE001  it is raised where it is waited for
                give, value = result.set_exception, error
            self._out.discard(name)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, give, value)

        self._out.add(name)
        threading.Thread(target=threaded, name=f"patrol: {name}", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await result
        except TimeoutError:
            if result.done() and not result.cancelled():
                raise  # its own
            raise Overdue(f"it did not come back within {seconds:g} s") from None
