"""How many of an endpoint's connections are encrypted, and whether that is as wanted: derived, hence not saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.sides import Upstream


class Mix:
    """Of one endpoint, all its guises included. Counted are connections that serve one use after the other."""

    __slots__ = ("owed", "plain", "secure", "settled", "spares")

    def __init__(self) -> None:
        self.plain = 0
        self.secure = 0
        self.settled = True
        """All of them are as wanted: whoever picks one need not compare."""
        self.spares: dict[int, Upstream] = {}
        """Those that are to take the place of another, and do not serve yet. By serial."""
        self.owed = 0
        """Successors that serve while the connection they replace is still in use. Counted from zero after a move."""

    def count(self, number: int, *, secure: bool) -> None:
        """So many more."""
        if secure:
            self.secure += number
        else:
            self.plain += number
