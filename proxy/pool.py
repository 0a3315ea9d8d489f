"""Idle upstream connections of one endpoint, waiting for the next request (exclusive use: http1).

A connection is in the pool or in use, never both. It watches itself: while idle, its layer's `due`
is ``active + pool.keepalive``, and when the upstream closes it, its layer calls `discard`, then closes.
The most recently used one is taken first, so that a surplus ages and goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.sides import Upstream


class Pool:
    """Idle connections, oldest first. Membership is not saved: a connection's own state says that it is idle."""

    __slots__ = ("_idle", "keepalive", "limit")

    def __init__(self, limit: int, keepalive: float) -> None:
        self._idle: dict[int, Upstream] = {}
        self.limit = limit
        """Connections kept idle at most; further ones are closed on release."""
        self.keepalive = keepalive
        """Seconds that an idle connection is kept at most."""

    def __len__(self) -> int:
        return len(self._idle)

    def __contains__(self, connection: object) -> bool:
        return getattr(connection, "serial", 0) in self._idle

    def acquire(self) -> Upstream | None:
        """Take the most recently used connection out; None if all must be dialled."""
        return self._idle.popitem()[1] if self._idle else None

    def release(self, connection: Upstream) -> bool:
        """Keep a connection for the next request. False if the pool is full: the caller closes it."""
        if len(self._idle) >= self.limit:
            return False
        self._idle[connection.serial] = connection
        return True

    def discard(self, connection: Upstream) -> None:
        """Take out a connection that ended or serves again; no harm if it is not there."""
        self._idle.pop(connection.serial, None)

    def restore(self, connection: Upstream, *, idle: bool) -> None:
        """Match the membership to a restored state; the limit does not apply to what exists already."""
        if idle:
            self._idle[connection.serial] = connection
        else:
            self._idle.pop(connection.serial, None)

    def connections(self) -> list[Upstream]:
        """All idle ones, oldest first."""
        return list(self._idle.values())


class Corner(Pool):
    """The part of a pool that only one client's requests may use, or only those to one destination.

    What is idle in it is in the whole pool, too, whose limit and time hold. A full one gives up the oldest, whosever
    that is: clients and destinations come and go without end, and none can keep the others out.
    """

    __slots__ = ("_whole",)

    def __init__(self, whole: Pool) -> None:
        super().__init__(whole.limit, whole.keepalive)
        self._whole = whole

    def acquire(self) -> Upstream | None:
        """See `Pool`."""
        connection = super().acquire()
        if connection is not None:
            self._whole.discard(connection)
        return connection

    def release(self, connection: Upstream) -> bool:
        """See `Pool`. False only if none at all may be kept."""
        whole = self._whole
        if not whole.limit:
            return False
        while not whole.release(connection):  # more than one, if a reload made the limit smaller
            whole.connections()[0].close()
        self._idle[connection.serial] = connection
        return True

    def discard(self, connection: Upstream) -> None:
        """See `Pool`."""
        super().discard(connection)
        self._whole.discard(connection)

    def restore(self, connection: Upstream, *, idle: bool) -> None:
        """See `Pool`."""
        super().restore(connection, idle=idle)
        self._whole.restore(connection, idle=idle)
