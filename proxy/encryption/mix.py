"""How many of an endpoint's connections are encrypted, and whether that is as wanted: derived, hence not saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.sides import Upstream


class Mix:
    """Of one endpoint, all its guises included. Counted are connections that serve one use after the other."""

    __slots__ = ("coming", "not_before", "owed", "plain", "secure", "settled")

    def __init__(self) -> None:
        self.plain = 0
        self.secure = 0
        self.settled = True
        """All of them are as wanted: whoever picks one need not compare."""
        self.coming: dict[int, Upstream] = {}
        """Those that do not serve yet: being made, or successors that have to prove themselves. By serial."""
        self.owed = 0
        """Successors that serve while the connection they replace is still in use. Counted from zero after a move."""
        self.not_before = 0.0
        """No successor is dialled until then, monotonic seconds: the last one failed, and not for its TLS."""

    def count(self, number: int, *, secure: bool) -> None:
        """So many more."""
        if secure:
            self.secure += number
        else:
            self.plain += number

    @property
    def spares(self) -> list[Upstream]:
        """Successors under way."""
        return [one for one in self.coming.values() if one.spare]
