"""Processes in other containers that gave everything away, or came too late, and can be told to take over.

Each holds a request to the owner's control socket open (`hotswap.idle`), and hears on it, if ever::

    {"event": "take_over", "token": "9f..."}
    {"event": "ended"}

On the first it starts its program again, with the token, and what follows is a handover like any other. The second
tells that the owner ends on purpose. When another generation comes to own the answer ends, and who stands by asks that
one. If it ends, and nobody listens any more, and nobody said so, the owner died: then, too, the program starts again.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hotswap.errors import Busy
from hotswap.http import EventStream

LIMIT: Final = 16
Word = Annotated[str, Meta(max_length=256)]


class Standby(msgspec.Struct, frozen=True):
    """The body of POST /standby: who it was, or would be."""

    generation: int = 0  # that it had; 0: it never owned
    version: Word = ""
    build: Word = ""
    revision: int = -1
    place: Word = ""  # see `hotswap.place`


class Standbys:
    """Those of one owner."""

    def __init__(self) -> None:
        self._streams: list[tuple[Standby, EventStream]] = []

    def join(self, standby: Standby) -> EventStream:
        """From now on this one is there. Raises `Busy` if too many are."""
        if len(self.present()) >= LIMIT:
            raise Busy(f"{LIMIT} stand by already")
        stream = EventStream()
        stream.send({"event": "standing_by"})
        self._streams.append((standby, stream))
        return stream

    def present(self) -> list[Standby]:
        """Those that are there, in the order of their coming."""
        self._streams = [one for one in self._streams if not one[1].broken]
        return [standby for standby, _ in self._streams]

    def of(self, generation: int, build: str) -> Standby | None:
        """One of that build: the one that was that generation, or whose container was started again meanwhile.

        The number alone says nothing: after a crash they begin anew.
        """
        present = [one for one in self.present() if one.build == build]
        return next((one for one in present if one.generation == generation), next(iter(present), None))

    def latest(self) -> Standby | None:
        """The one to hand over to, if it must be anyone: who served last, else who came last."""
        return max(self.present(), key=lambda one: one.generation, default=None)

    def summon(self, standby: Standby, token: str) -> None:
        """Have it take over."""
        for one, stream in self._streams:
            if one is standby:
                stream.send({"event": "take_over", "token": token})
                stream.end()
        self._streams = [one for one in self._streams if one[0] is not standby]

    def dismiss(self, *, ended: bool) -> None:
        """Another one owns, or, with `ended`, nobody will."""
        for _, stream in self._streams:
            if ended:
                stream.send({"event": "ended"})
            stream.end()
        self._streams.clear()

    def facts(self) -> list[dict[str, Any]]:
        """For the status."""
        return [msgspec.structs.asdict(one) for one in self.present()]
