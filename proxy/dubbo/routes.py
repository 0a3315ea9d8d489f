"""Which cluster serves a call: the first route, in the order of the configuration, that matches.

    interface, method, version, group   patterns with * and ?
    headers                             every one of these attachments is there with exactly this value

A listener whose first route takes everything never looks into a body. One whose routes name neither a group nor
headers reads the five texts at its beginning, where decisions are remembered by their bytes; only for the others the
arguments are skipped to see the attachments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.dubbo.body import MAX_INTRODUCTION, Introduction, behind_arguments, call_of, introduction
from proxy.multiplexed.routes import CallRoute, CallTable, Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.model import RouteConfig
    from proxy.dubbo.body import Call
    from proxy.split import Split, Splits

MAX_MEMO: Final = 1024
MAX_MEMO_KEY: Final = 512


class Route(CallRoute):
    """One compiled route."""

    __slots__ = ("_attachments", "_group", "_interface", "_method", "_version")

    def __init__(self, config: RouteConfig, split: Split | None) -> None:
        super().__init__(config, split)
        match = config.match
        self._interface = None if match.interface is None else Pattern(match.interface)
        self._method = None if match.method is None else Pattern(match.method)
        self._version = None if match.version is None else Pattern(match.version)
        self._group = None if match.group is None else Pattern(match.group)
        self._attachments = tuple((name.lower().encode(), value.encode()) for name, value in match.headers)

    @property
    def asks_attachments(self) -> bool:
        """What it wants to know stands behind the arguments."""
        return self._group is not None or bool(self._attachments)

    @property
    def takes_all(self) -> bool:
        """It has no condition."""
        conditions = (self._interface, self._method, self._version, self._group)
        return not self._attachments and all(one is None for one in conditions)

    def matches(self, call: Call) -> bool:
        """True if every condition holds."""
        if self._interface is not None and not self._interface.fits(call.interface):
            return False
        if self._method is not None and not self._method.fits(call.method):
            return False
        if self._version is not None and not self._version.fits(call.version):
            return False
        if self._group is not None and not self._group.fits(call.group):
            return False
        if not self._attachments:
            return True
        there = {name.lower(): value for name, value in call.attachments.items()}
        return all(there.get(name) == value for name, value in self._attachments)


class InvocationTable(CallTable[Route]):
    """The routes of one Dubbo listener."""

    __slots__ = ("_last", "_memo")

    def __init__(self, routes: Sequence[RouteConfig], splits: Splits) -> None:
        super().__init__(routes, splits, Route)
        deep = any(route.asks_attachments for route in self.routes)
        self.reach = None if deep else MAX_INTRODUCTION
        self._memo: dict[bytes, Route | None] = {}
        self._last: tuple[bytes, Introduction] = (b"\xff", Introduction(b"", b"", b"", b"", 0))
        """The beginning of the body before, and what it says. Texts tell where they end, so who begins so says so."""

    @property
    def same(self) -> int:
        """So many bytes tell who goes the way of the body before, unless it takes all of them."""
        return len(self._last[0])

    def route(self, text: bytes) -> Route | None:
        """The route of a call with this body, or with this beginning of one. Raises `ValueError`."""
        key, begun = self._last
        if not text.startswith(key):
            begun = introduction(text)
            key = text[: begun.end]
            self._last = key, begun
        if self.reach is None:
            call = call_of(begun, behind_arguments(text, begun).texts())
            return next((route for route in self.routes if route.matches(call)), None)
        if key in self._memo:
            return self._memo[key]
        call = call_of(begun, {})
        found = next((route for route in self.routes if route.matches(call)), None)
        if len(key) <= MAX_MEMO_KEY:
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[key] = found
        return found
