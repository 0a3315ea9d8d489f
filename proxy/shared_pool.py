"""The connections to one endpoint, of one protocol or version of it, that all clients share.

There are `shared_connections` of them at most. Within one tick all calls take the same one, the one with the fewest
calls under way, so that they leave in one write; the next tick chooses anew. When another one is dialled each protocol
decides: bolt and Dubbo while the least busy one is not idle (`grows`), HTTP/2 when no stream is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.kernel import READING

if TYPE_CHECKING:
    from typing import Any

    from proxy.endpoint import Endpoint

PAUSE: Final = 1.0
"""Seconds after a failed dial in which no further connection is added to those that are there."""


class SharedPool:
    """The connections that take calls. Membership follows from the connections' own states."""

    __slots__ = ("_chosen", "members", "not_before")

    def __init__(self) -> None:
        self.members: dict[int, Any] = {}
        """By serial."""
        self.not_before = 0.0
        """When another connection may be added, monotonic seconds."""
        self._chosen: Any = None

    def __len__(self) -> int:
        return len(self.members)

    def choose(self) -> Any:
        """The connection for a call; None if there is none."""
        chosen = self._chosen
        if chosen is not None and chosen.outbox and chosen.interest == READING and not chosen.clogged:
            return chosen  # it will be written to at the end of this tick anyway
        best = None
        fewest = 0
        for one in self.members.values():
            busy = one.burden()
            if one.connecting or one.clogged:
                busy += 1 << 32
            if best is None or busy < fewest:
                best = one
                fewest = busy
        self._chosen = best
        return best

    def at_hand(self, endpoint: Endpoint, most: int, now: float) -> Any:
        """The one that takes all calls of this tick. None: there is something to be decided first.

        `most` is how many connections there may be. It would be chosen if everything was looked at, too.
        """
        chosen = self._chosen
        if chosen is None or not chosen.outbox or chosen.interest != READING or chosen.clogged or chosen.connecting:
            return None
        if len(self.members) < most or endpoint.rests_until > now or not endpoint.mix.settled:
            return None
        return chosen

    def grows(self, chosen: Any, now: float) -> bool:
        """Whether another connection is wanted beside the least busy one."""
        if not chosen.calls or now < self.not_before:
            return False
        return not any(one.connecting for one in self.members.values())

    def choose_for(self, endpoint: Endpoint, now: float) -> Any:
        """The same; while connections change over, one whose encryption may serve (`proxy.encryption`)."""
        chosen = self.choose()
        if chosen is None or endpoint.mix.settled or chosen.connecting:
            return chosen
        return chosen if endpoint.cluster.switch.admits(chosen, now) else self.choose()

    def add(self, connection: Any) -> None:
        """Let it take calls."""
        self.members[connection.serial] = connection

    def discard(self, connection: Any) -> None:
        """No further calls for it; no harm if it is not there."""
        self.members.pop(connection.serial, None)
        if self._chosen is connection:
            self._chosen = None
