"""Links between connections while they are being restored, in whatever order they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.errors import CannotRestore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.connection import Connection


class Links:
    """Peers by serial: the other side may come later, or be another one in a later round."""

    def __init__(self, connections: Mapping[int, Connection]) -> None:
        self._connections = connections
        self._wants: dict[int, int] = {}
        self._wanted: dict[int, int] = {}

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

    def arrived(self, connection: Connection) -> None:
        """Link whoever waited for this one. Its deadline may depend on its peer."""
        waiting = self._wanted.pop(connection.serial, None)
        if waiting is not None:
            del self._wants[waiting]
            other = self._connections[waiting]
            other.peer = connection
            other.wake(other.due())

    def gone(self, connection: Connection) -> None:
        """Forget a connection on both sides."""
        peer = connection.peer
        if peer is not None and peer.peer is connection:
            peer.peer = None
        self.link(connection, 0)

    def check(self) -> None:
        """All links must have been made once everything has come."""
        for waiting, serial in self._wants.items():
            raise CannotRestore(f"connection {waiting} belongs to connection {serial}, which never came")
