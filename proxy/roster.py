"""Which connections are on the plane: by serial, by descriptor, and with which interest epoll knows them.

A descriptor is closed at the end of the batch (`Reactor.settle`), so no number is used again while events of the same
batch may name its former owner. EPOLL_CTL_DEL comes first: while another process holds a copy, a closed one goes on
telling. While `sharing`, close() would send no FIN, so a connection ends by shutdown.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from proxy.plane import Plane
from proxy.timers import Alarms

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.calls import Poller
    from proxy.connection import Connection
    from proxy.kernel import Kernel
    from proxy.origins import Origins

_UNREGISTERED = -1


class Roster(Plane):
    """Those of one reactor. Nothing here reads or writes."""

    __slots__ = ("_alarms", "_by_fd", "_closing", "connections", "epoll", "hosted", "origins", "past", "sharing")

    connections: dict[int, Connection]
    """All live ones by serial."""
    hosted: dict[int, Connection]
    """Those on the transport of another one: see `Guests`."""
    sharing: bool
    """Another process holds copies of our descriptors."""
    epoll: Poller
    past: Poller | None
    """The epoll before a handover, with all that moved; nobody asks it any more."""
    origins: Origins

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.now = kernel, kernel.clock()
        self.connections = {}
        self.sharing = False
        self.next_serial = 1
        self.epoll, self.past = kernel.epoll(), None
        self._by_fd: list[Connection | None] = [None] * 256
        self._alarms, self._closing = Alarms(), list[int]()

    # ---- coming ----

    def attach(self, connection: Connection, fd: int) -> None:
        """Take a new connection: accepted, or dialled (-1: that failed already)."""
        connection.serial = self.next_serial
        self.next_serial += 1
        connection.active = self.now
        self._place(connection, fd)
        self.unflushed.append(connection)  # registers it

    def replace(self, old: Connection, new: Connection) -> None:
        """See `Plane`. For a destination one connection ends and another comes."""
        fd, interest = old.fd, old.interest
        new.tls, old.tls = old.tls, None
        self._drop(old)
        new.interest = interest
        self.attach(new, fd)

    def _place(self, connection: Connection, fd: int) -> None:
        connection.fd = fd
        self.connections[connection.serial] = connection
        if fd >= 0:
            self._seat(connection)
        connection.attached()

    def _seat(self, connection: Connection) -> None:
        self.reserve(connection.fd)
        self._by_fd[connection.fd] = connection
        if self.origins.wanted:
            self.origins.placed(connection)

    def reseat(self, connection: Connection, fd: int) -> None:
        """Give it another descriptor (-1: there is none)."""
        self._unseat(connection)
        connection.fd, connection.interest = fd, _UNREGISTERED
        if fd >= 0:
            self._seat(connection)
            self.unflushed.append(connection)

    def reserve(self, fd: int) -> None:
        """Be ready for events of this descriptor."""
        while fd >= len(self._by_fd):
            self._by_fd.extend([None] * len(self._by_fd))

    def restore(self, connection: Connection, fd: int) -> None:
        """Take a loaded connection, inert: registered with epoll, it waits for the first tick."""
        self._place(connection, fd)
        self.restored(connection)

    def restored(self, connection: Connection) -> None:
        """The value was brought up to date: follow it with interest and alarm."""
        self._watch(connection)
        connection.wake(connection.due())
        if connection.tls is not None and connection.tls.waiting:
            self.unflushed.append(connection)  # there will be no event: the bytes are here

    # ---- being there ----

    def _watch(self, connection: Connection) -> None:
        """Make epoll's interest what the value asks for."""
        wanted = connection.events()
        interest = connection.interest
        if wanted == interest:
            return
        connection.interest = wanted
        if interest < 0:
            self.epoll.register(connection.fd, wanted)
        else:
            self.epoll.modify(connection.fd, wanted)

    def wake(self, connection: Connection, when: float) -> None:
        """Plan the next look at ``connection.due()``."""
        connection.alarm = when
        self._alarms.plan(when, connection.serial)
        if len(self._alarms) > 4 * (len(self.connections) + len(self.hosted)) + 1024:
            self._alarms.rebuild(chain(self.connections.values(), self.hosted.values()))

    def survey(self, sent: dict[int, int]) -> tuple[list[Connection], list[int]]:
        """Those whose change count is not the one that stands in `sent`, by serial; and the change counts of all.

        Typed, and both at once: most of the time goes into fetching 18,000 objects from memory.
        """
        dirty, counts = [], []
        for serial, connection in self.connections.items():
            changes = connection.changes
            counts.append(changes)
            known = sent.get(serial, -1)
            if changes != known:
                dirty.append(connection)
        return dirty, counts

    def under_way(self) -> int:
        """Requests under way on all of them: asked between two rounds of a handover, when nobody is served."""
        count = 0
        for connection in self.connections.values():
            count += connection.in_flight()
        return count

    # ---- going ----

    def _detach(self, connection: Connection) -> None:
        """Take a connection off the plane."""
        connection.over()
        if connection.fd >= 0:
            self._unseat(connection)
        self._drop(connection)

    def _unseat(self, connection: Connection) -> None:
        """Its descriptor is closed at the end of the batch."""
        fd = connection.fd
        if connection.interest >= 0:
            self.epoll.unregister(fd)
        self._by_fd[fd] = None
        if self.sharing:
            self.kernel.end_both(fd)
        self._closing.append(fd)

    def _drop(self, connection: Connection) -> None:
        del self.connections[connection.serial]
        connection.interest, connection.fd, connection.connecting = _UNREGISTERED, -1, False
        connection.detached()
        connection.outbox = b""
        if connection.tls is not None:
            connection.tls.end()
            connection.tls = None

    def forget(self, connection: Connection) -> None:
        """Drop the value and close the copy of its descriptor; the connection lives on elsewhere."""
        fd = connection.fd
        if connection.interest >= 0:
            self.epoll.unregister(fd)
        self._by_fd[fd] = None
        self._drop(connection)
        self.kernel.close(fd)

    def part(self, kept: Collection[int]) -> dict[int, Connection]:
        """All but `kept` belongs to another process. Returns the others as they were; only `past` knows them.

        Nothing is done for each, nor for one that waits for its first tick: the other process takes its first steps.
        To close an epoll with 18,000 connections takes the kernel 15 ms, so that comes later.
        """
        self.end_past()
        self.past, self.epoll = self.epoll, self.kernel.epoll()
        left = self.connections
        self.connections = {serial: left.pop(serial) for serial in sorted(kept) if serial in left}
        self._by_fd = [None] * 256
        self.guests.part(self.connections)
        for connection in self.connections.values():
            self._seat(connection)
            connection.interest = _UNREGISTERED
            self._watch(connection)
        self.unflushed = [one for one in self.unflushed if one.anchor.serial in self.connections]
        self.acceptor.lost_epoll()
        return left

    def end_past(self) -> None:
        """Close the epoll with what moved."""
        past, self.past = self.past, None
        if past is not None:
            past.close()
