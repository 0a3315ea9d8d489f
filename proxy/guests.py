"""What lives on another's transport, such as the streams of HTTP/2.

It has a serial, alarms and a place in the flush, but no descriptor, and travels within the value of the connection that
it is a part of (`Connection.anchor`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.connection import Connection
    from proxy.plane import Plane

HOSTED: Final = 1 << 30
"""In place of a descriptor: it lives, and has none."""


class Guests:
    """Those of a reactor. `host` and `unhost` are verbs of `proxy.plane.Plane`."""

    __slots__ = ("_reactor", "by_serial")

    def __init__(self, reactor: Plane) -> None:
        self._reactor = reactor
        self.by_serial: dict[int, Connection] = {}

    def host(self, connection: Connection) -> None:
        """A new one."""
        reactor = self._reactor
        connection.serial = reactor.next_serial
        reactor.next_serial += 1
        connection.active = reactor.now
        self.by_serial[connection.serial] = connection

    def unhost(self, connection: Connection) -> None:
        """It is over."""
        self.by_serial.pop(connection.serial, None)

    def reckon(self) -> None:
        """What changed in them changed their hosts' values, which are compared next."""
        for one in self.by_serial.values():
            if one.changes:
                one.anchor.changes += one.changes
                one.changes = 0

    def part(self, kept: Collection[int]) -> None:
        """All but those of these connections belong to another process."""
        gone = [serial for serial, one in self.by_serial.items() if one.anchor.serial not in kept]
        for serial in gone:
            del self.by_serial[serial]
