"""A base class with the quiet half of `Swappable`: right for a server whose connections all move."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hotswap.swappable import ListenerSpec, Saved, Schema, Tally, Took, Value, look_at_each


class Server:
    """Inherit, and write what `NotImplementedError` names; override the rest where it does not fit.

    What the defaults mean: everything moves, nothing waits, a drain ends when no connection is left.
    """

    retired = False

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Nothing of this server needs a loop of its own."""
        return asyncio.new_event_loop()

    def schemas(self) -> Mapping[str, Schema]:
        """See `Swappable`."""
        raise NotImplementedError

    def wanted(self) -> Sequence[ListenerSpec]:
        """See `Swappable`."""
        raise NotImplementedError

    def adopt(self, listeners: Mapping[str, int]) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def values(self) -> Mapping[int, Value]:
        """See `Swappable`."""
        raise NotImplementedError

    def survey(self, sent: dict[int, int]) -> tuple[Sequence[Value], Sequence[int]]:
        """Look at each of `values`."""
        return look_at_each(self.values(), sent)

    def restore(self, saved: Saved, now: float) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def forget(self, serial: int) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def freeze(self) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def thaw(self) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def start(self) -> None:
        """See `Swappable`."""
        raise NotImplementedError

    def count(self) -> int:
        """All are here."""
        return len(self.values())

    def gathered(self) -> bool:
        """All are here."""
        return True

    def unrestored(self) -> Mapping[int, str]:
        """`restore` said so itself."""
        return {}

    async def look(self) -> None:
        """All is known."""

    def guard(self, lock: int) -> None:
        """Nobody else gets the listeners."""

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        """One version of each kind: nothing to choose."""

    def descriptors(self) -> Mapping[str, int]:
        """Nothing but listeners and connections."""
        return {}

    def accept_descriptors(self, descriptors: Mapping[str, int]) -> None:
        """Nothing but listeners and connections: what came is not known here."""
        for fd in descriptors.values():
            os.close(fd)

    def save_shared(self, now: float) -> bytes:
        """Nothing but connections."""
        return b""

    def restore_shared(self, state: bytes, now: float) -> None:
        """Nothing but connections."""

    def owning(self, generation: int, how: str) -> None:
        """Nothing counts."""

    def took_over(self, took: Took) -> None:
        """Nothing counts."""

    def kept_on(self, how: str, *, thawed: bool) -> None:
        """Nothing counts."""

    def staying(self) -> Mapping[int, str]:
        """Everything moves."""
        return {}

    def keep(self, serials: Collection[int], reason: str) -> None:
        """A destination that cannot restore a value is wrong about this server: nothing is kept."""
        raise NotImplementedError(f"connections {list(serials)[:8]} cannot move: {reason}")

    def stragglers(self) -> Collection[int]:
        """Every connection is a value at any time."""
        return ()

    def expect_stragglers(self, serials: Collection[int]) -> None:
        """None will come."""

    def sharing(self, shared: bool) -> None:
        """Connections are always ended by shutdown first."""

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        """Everything moved, and the process is about to end: its copies go with it."""
        self.retired = True

    def abandon(self) -> None:
        """Drop every connection; a source that had given them away goes on with what comes new."""
        for serial in list(self.values()):
            self.forget(serial)
        if self.retired:
            self.retired = False
            self.thaw()

    def announce_drain(self) -> None:
        """Clients learn of it when their connection ends."""

    def drain(self, deadline: float) -> None:
        """Serve until nobody is left or the deadline ends it."""

    def reopen(self) -> None:
        """No files."""

    def close(self) -> None:
        """Nothing waits to be written."""

    def idle(self) -> bool:
        """Nobody is left."""
        return self.retired or not self.values()

    def in_flight(self) -> int:
        """Nothing that could be counted."""
        return 0

    def tally(self) -> Tally:
        """Nothing is counted, so a bake always passes."""
        return Tally()

    def status(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def connections(self) -> list[dict[str, Any]]:
        """One row a value."""
        return [{"serial": value.serial, "kind": value.kind, "fd": value.fd} for value in self.values().values()]
