"""Links between connections while they are being restored, in whatever order they come."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING

from hotswap.errors import CannotRestore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxy.connection import Connection


class Links:
    """Peers by serial: the other side may come later, or be another one in a later round."""

    def __init__(self, connections: Mapping[int, Connection], hosted: Mapping[int, Connection]) -> None:
        # Neither is written to.
        self._connections: ChainMap[int, Connection] = ChainMap(connections, hosted)  # type: ignore[arg-type]
        self._wants: dict[int, int] = {}
        self._wanted: dict[int, int] = {}
        self._expects: dict[int, set[int]] = {}
        self._expected: dict[int, set[int]] = {}

    def link(self, connection: Connection, serial: int) -> None:
        """Set the peer, or remember to."""
        known = connection.peer
        if known is not None and known.serial == serial:
            return
        waited_for = self._wants.pop(connection.serial, None)
        if waited_for is not None:
            self._wanted.pop(waited_for, None)
        peer = self._connections.get(serial)
        connection.peer = peer
        if serial and peer is None:
            self._wants[connection.serial] = serial
            self._wanted[serial] = connection.serial

    def expect(self, connection: Connection, serials: Collection[int]) -> dict[int, Connection]:
        """Those that are there; the others are announced to ``connection.met`` later. Replaces what it expected."""
        for serial in self._expects.pop(connection.serial, ()):
            self._expected[serial].discard(connection.serial)
        there = {}
        for serial in serials:
            other = self._connections.get(serial)
            if other is not None:
                there[serial] = other
            else:
                self._expects.setdefault(connection.serial, set()).add(serial)
                self._expected.setdefault(serial, set()).add(connection.serial)
        return there

    def arrived(self, connection: Connection) -> None:
        """Link whoever waited for this one. Its deadline may depend on its peer."""
        waiting = self._wanted.pop(connection.serial, None)
        if waiting is not None:
            del self._wants[waiting]
            other = self._connections[waiting]
            other.peer = connection
            other.wake(other.due())
        for serial in sorted(self._expected.pop(connection.serial, ())):
            expects = self._expects[serial]
            expects.discard(connection.serial)
            if not expects:
                del self._expects[serial]
            self._connections[serial].met(connection)

    def gone(self, connection: Connection) -> None:
        """Forget a connection on both sides."""
        peer = connection.peer
        if peer is not None and peer.peer is connection:
            peer.peer = None
        self.link(connection, 0)
        self.expect(connection, ())

    def check(self) -> None:
        """All links must have been made once everything has come."""
        pairs = [*self._wants.items(), *((one, min(serials)) for one, serials in self._expects.items())]
        for waiting, serial in pairs:
            raise CannotRestore(f"connection {waiting} belongs to connection {serial}, which never came")
