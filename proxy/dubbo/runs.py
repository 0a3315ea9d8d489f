"""Loops over runs of frames, nearly all that ever comes: the twin in Python of runs.pyx, with the same results.

A plain call or answer is a whole one that is not too long. Whatever else comes ends a run, and is somebody else's.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxy.dubbo.frame import CALL, EVENT, HEAD, ID, ID_AT, MAGIC, OK, REQUEST, SERIALIZATION, SIZE
from proxy.multiplexed.pending import Pending
from proxy.multiplexed.wire import LAST_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.multiplexed.client import Client

    Observe = Callable[[float, float], object]
    """So many calls took so many seconds."""

_OTHER = REQUEST | EVENT
_unpack = HEAD.unpack_from
_pack = ID.pack_into


class Sight:
    """One frame, as it was looked at last."""

    __slots__ = ("end", "number", "status", "wanted")

    def __init__(self) -> None:
        self.end = 0
        """Where the next one begins."""
        self.number = 0
        """Its id."""
        self.status = 0
        """Of an answer."""
        self.wanted = 0
        """How long it is if it is a plain one, but for what is missing still; else 0."""

    def call(self, buffer: bytearray, at: int, limit: int) -> bool:
        """Look at what begins there, of which there is a head. True if it is a plain call of so many bytes at most."""
        magic, flags, self.status, self.number, length = _unpack(buffer, at)
        self.end = at + SIZE + length
        return self._whole(buffer, at, magic == MAGIC and flags & ~SERIALIZATION == CALL and length + SIZE <= limit)

    def answer(self, buffer: bytearray, at: int, limit: int) -> bool:
        """The same for an answer, with so many bytes behind its head."""
        magic, flags, self.status, self.number, length = _unpack(buffer, at)
        self.end = at + SIZE + length
        return self._whole(buffer, at, magic == MAGIC and not flags & _OTHER and length <= limit)

    def _whole(self, buffer: bytearray, at: int, plain: bool) -> bool:
        cut = self.end > len(buffer)
        self.wanted = self.end - at if plain and cut else 0
        return plain and not cut


class DubboCalls(Pending):
    """The calls under way on one connection, and the runs of frames that begin and end them."""

    __slots__ = ()

    def pass_on(
        self, buffer: bytearray, at: int, same: int, limit: int, caller: Client, route: str, now: float, until: float
    ) -> int:
        """Add the plain calls that begin there, and give them ids of ours. Returns where they end.

        `same` tells how many: those that begin with so many bytes of the first one's body; -1: all of them; 0: one.
        `limit` is the length of the longest frame. All end by the same moment.
        """
        size = len(buffer)
        calls = self._calls
        last = self.last
        count = 0
        text = buffer[at + SIZE : at + SIZE + same] if same > 0 else b""
        while size - at >= SIZE:
            magic, flags, _, number, length = _unpack(buffer, at)
            end = at + SIZE + length
            if magic != MAGIC or flags & ~SERIALIZATION != CALL or end > size or length + SIZE > limit:
                break
            if count and same > 0 and (length < same or buffer[at + SIZE : at + SIZE + same] != text):
                break
            last += 1
            while last in calls or last > LAST_ID:
                last = last + 1 if last < LAST_ID else 1
            calls[last] = (caller, number, until, 0, 0, None, now, route)
            count += 1
            _pack(buffer, at + ID_AT, last)
            at = end
            if not same:
                break
        self.last, self.count, self.soonest = last, count, until if count else inf
        return at

    def give_back(self, buffer: bytearray, at: int, limit: int, now: float, observe: Observe) -> int:
        """Take out the calls that the plain answers from there on are for, and give those the ids that they had.

        Only those of one client by one route, which nobody looks at. Returns where they end.
        """
        size = len(buffer)
        calls = self._calls
        asker: Client | None = None
        route = ""
        count = wrong = alike = 0
        began = -1.0
        while size - at >= SIZE:
            magic, flags, status, number, length = _unpack(buffer, at)
            end = at + SIZE + length
            if magic != MAGIC or flags & _OTHER or end > size or length > limit:
                break
            call = calls.get(number)
            if call is None or call[0] is None or call[5] is not None:
                break
            if not count:
                asker, route = call[0], call[7]
            elif call[0] is not asker or call[7] != route:
                break
            del calls[number]
            count += 1
            wrong += status != OK
            if call[6] != began:
                if alike:
                    observe(now - began, alike)
                began, alike = call[6], 0
            alike += 1
            _pack(buffer, at + ID_AT, call[1])
            at = end
        if alike:
            observe(now - began, alike)
        self.asker, self.route, self.count, self.wrong = asker, route, count, wrong
        return at
