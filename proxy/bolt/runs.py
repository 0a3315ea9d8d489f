"""Loops over runs of frames, nearly all that ever comes: the twin in Python of runs.pyx, with the same results.

A plain call or answer is a whole one, of a version that peers speak, with lengths and a CRC that are right. Whatever
else comes ends a run, and is somebody else's.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxy.bolt.frame import ANSWERS, CALLS, CRC_SIZE, LAYOUTS, U32, crc_fits, write_crc
from proxy.multiplexed.pending import Pending
from proxy.multiplexed.wire import LAST_ID, SAME, SINGLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.multiplexed.client import Client

    Observe = Callable[[float, float], object]
    """So many calls took so many seconds."""

_pack = U32.pack_into


class Sight:
    """One frame, as it was looked at last."""

    __slots__ = ("codec", "end", "header", "header_end", "number", "status", "ver1", "wanted")

    def __init__(self) -> None:
        self.end = 0
        """Where the next one begins."""
        self.header = 0
        """Where its header map begins."""
        self.header_end = 0
        self.codec = 0
        """With the switch as its low byte in version 2."""
        self.number = 0
        """Its id."""
        self.status = 0
        """Of an answer."""
        self.ver1 = 0
        """0 in version 1."""
        self.wanted = 0
        """How long it is if it is a plain one, but for what is missing still; else 0."""

    def call(self, buffer: bytearray, at: int) -> bool:
        """Look at what begins there. True if it is a plain call."""
        return self._see(buffer, at, 1)

    def answer(self, buffer: bytearray, at: int, version: int) -> bool:
        """The same for an answer of that version."""
        self.wanted = 0
        return buffer[at] == version and self._see(buffer, at, 0)

    def _see(self, buffer: bytearray, at: int, kind: int) -> bool:
        self.wanted = 0
        layout = LAYOUTS.get(buffer[at])
        if layout is None:
            return False
        form = layout.request if kind else layout.response
        if len(buffer) - at < form.size:
            return False
        first, self.number, self.codec, self.status, class_length, header_length, content_length = form.unpack_from(
            buffer, at
        )
        ver1 = (CALLS if kind else ANSWERS).get(first)
        if ver1 is None or (class_length | header_length) & 0x8000:
            return False
        self.ver1 = ver1
        self.header = at + form.size + class_length
        self.header_end = self.header + header_length
        self.end = self.header_end + content_length
        has_crc = ver1 == 2 and bool(self.codec & 1)
        if has_crc:
            self.end += CRC_SIZE
        if self.end > len(buffer):
            self.wanted = self.end - at
            return False
        return not has_crc or crc_fits(buffer, at, self.end)


class BoltCalls(Pending):
    """The calls under way on one connection, and the runs of frames that begin and end them."""

    __slots__ = ()

    def pass_on(
        self, buffer: bytearray, at: int, alike: int, caller: Client, route: str, now: float, patience: float
    ) -> int:
        """Add the plain calls of one version that begin there, and give them ids of ours. Returns where they end.

        `alike` tells how many of them: see `proxy.multiplexed.wire`.
        """
        layout = LAYOUTS[buffer[at]]
        version, id_at, form = layout.version, layout.id_at, layout.request
        fixed, unpack = form.size, form.unpack_from
        size = len(buffer)
        calls = self._calls
        last = self.last
        count = 0
        soonest = inf
        header = b""
        while size - at >= fixed and buffer[at] == version:
            first, number, codec, timeout, class_length, header_length, content_length = unpack(buffer, at)
            ver1 = CALLS.get(first)
            begun = at + fixed + class_length
            end = begun + header_length + content_length
            has_crc = ver1 == 2 and codec & 1
            if has_crc:
                end += CRC_SIZE
            if ver1 is None or end > size or (class_length | header_length) & 0x8000:
                break
            if alike == SAME:
                if not count:
                    header = bytes(buffer[begun : begun + header_length])
                elif buffer[begun : begun + header_length] != header:
                    break
            if has_crc and not crc_fits(buffer, at, end):
                break
            until = now + (timeout * 0.001 if timeout > 0 else patience)
            if until < soonest:  # noqa: PLR1730 - half the cost of min()
                soonest = until
            last += 1
            while last in calls or last > LAST_ID:
                last = last + 1 if last < LAST_ID else 1
            calls[last] = (caller, number, until, codec, ver1, None, now, route)
            count += 1
            _pack(buffer, at + id_at, last)
            if has_crc:
                write_crc(buffer, at, end)
            at = end
            if alike == SINGLE:
                break
        self.last, self.count, self.soonest = last, count, soonest
        return at

    def give_back(
        self, buffer: bytearray, at: int, version: int, now: float, observe: Observe
    ) -> int:
        """Take out the calls that the plain answers from there on are for, and give those the ids that they had.

        Only those of one client by one route, which nobody looks at. Returns where they end.
        """
        layout = LAYOUTS[version]
        id_at, form = layout.id_at, layout.response
        fixed, unpack = form.size, form.unpack_from
        size = len(buffer)
        calls = self._calls
        asker: Client | None = None
        route = ""
        count = wrong = alike = 0
        began = -1.0
        while size - at >= fixed and buffer[at] == version:
            first, number, codec, status, class_length, header_length, content_length = unpack(buffer, at)
            ver1 = ANSWERS.get(first)
            end = at + fixed + class_length + header_length + content_length
            has_crc = ver1 == 2 and codec & 1
            if has_crc:
                end += CRC_SIZE
            if ver1 is None or end > size or (class_length | header_length) & 0x8000:
                break
            call = calls.get(number)
            if call is None or call[0] is None or call[5] is not None:
                break
            if count and (call[0] is not asker or call[7] != route):
                break
            if has_crc and not crc_fits(buffer, at, end):
                break
            asker, route = call[0], call[7]
            del calls[number]
            count += 1
            wrong += status != 0
            if call[6] != began:
                if alike:
                    observe(now - began, alike)
                began, alike = call[6], 0
            alike += 1
            _pack(buffer, at + id_at, call[1])
            if has_crc:
                write_crc(buffer, at, end)
            at = end
        if alike:
            observe(now - began, alike)
        self.asker, self.route, self.count, self.wrong = asker, route, count, wrong
        return at
