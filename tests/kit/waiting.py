"""Deadlines. Tests wait for events; where the system offers none to wait on, they look again until a deadline."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

GLANCE = 0.01  # seconds between two looks at a condition that sends no event


class Late(AssertionError):
    """Something did not happen before its deadline."""


class Deadline:
    """A moment on the monotonic clock, `within` seconds from now."""

    __slots__ = ("_end", "within")

    def __init__(self, within: float) -> None:
        self.within = within
        self._end = time.monotonic() + within

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """True from the deadline on."""
        return self.remaining == 0.0


def eventually(check: Callable[[], T], *, within: float, what: str) -> T:
    """Return the first true answer of `check`. Raises `Late`, saying `what` was awaited."""
    deadline = Deadline(within)
    pause = threading.Event()
    while True:
        answer = check()
        if answer:
            return answer
        if deadline.passed:
            raise Late(f"{what}: not within {within:g} s")
        pause.wait(GLANCE)


def ever_longer(seconds: float) -> Iterator[float]:
    """A time in which a slow machine may not get done what a test wants to do meanwhile; then twice that, and so on.

    The test leaves the loop when it was done in time. Raises `Late` after 32 times as long.
    """
    for doubled in range(6):
        yield seconds * 2**doubled
    raise Late(f"not done within {seconds * 2**doubled:g} s either")


def readable(fd: int, *, within: float) -> bool:
    """Wait until `fd` is readable or ended; False if the deadline passes first."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(within * 1000))
