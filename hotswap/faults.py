"""Named fault points: places where a test can make a generation fail in a chosen way.

Every action of the two handover machines has two points, ``<role>.<action>.before`` and
``.after`` (`handover.states.fault_points` lists them all). They do nothing unless the process was started with
``HOTSWAP_FAULTS`` naming a file. That file is read when an attempt begins, so a test can arm the
next attempt of a running generation; its lines read ``<point>:<failure>``, for example::

    destination.take_byte.after:kill
    source.put_byte.before:stop

Failures: ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP to itself), ``hang`` (never returns, and logs that),
``corrupt`` (the next message goes out with bits flipped), ``raise`` (a bug: an exception).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from hotswap.log import fields

log = logging.getLogger("hotswap")

VARIABLE = "HOTSWAP_FAULTS"


class InjectedFault(Exception):
    """Raised by the failure ``raise``."""


def _hang() -> None:
    threading.Event().wait()


def _raise() -> None:
    raise InjectedFault("injected by a fault point")


FAILURES: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": _hang,
    "raise": _raise,
}


class Faults:
    """The armed points of one attempt. Empty outside tests, and then `hit` costs a dict lookup."""

    __slots__ = ("_armed", "corrupt_next")

    def __init__(self, lines: list[str]) -> None:
        self._armed: dict[str, str] = {}
        self.corrupt_next = False
        for line in lines:
            point, _, failure = line.strip().partition(":")
            if point:
                if failure != "corrupt" and failure not in FAILURES:
                    raise ValueError(f"unknown failure {failure!r} at fault point {point!r}")
                self._armed[point] = failure

    @classmethod
    def armed(cls) -> Faults:
        """Read the file that the environment names; without one nothing is armed."""
        path = os.environ.get(VARIABLE)
        if not path:
            return cls([])
        try:
            return cls(Path(path).read_text().splitlines())
        except FileNotFoundError:
            return cls([])

    def hit(self, point: str) -> None:
        """Fail here if a test armed this point. A point fails once."""
        failure = self._armed.pop(point, None)
        if failure == "corrupt":
            self.corrupt_next = True
        elif failure is not None:
            if failure == "hang":  # nobody outside could see that it does
                log.warning("a fault point hangs", extra=fields(point=point))
            FAILURES[failure]()
