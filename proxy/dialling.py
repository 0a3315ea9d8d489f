"""Connections that we open: the dial, what comes of it, and the TLS handshake behind it."""

from __future__ import annotations

import errno
import os
from math import inf
from typing import TYPE_CHECKING

from proxy.encryption.reasons import LOST
from proxy.sides import Upstream
from proxy.tls.handshake import Anew, Handshake

if TYPE_CHECKING:
    from hotswap.address import Address
    from proxy.connection import Connection
    from proxy.reactor import Reactor


class Dials:
    """The dials of one reactor that ended and are not reported yet."""

    __slots__ = ("_reactor", "ended")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.ended: list[tuple[Connection, int]] = []
        """With the errno, 0 for a success."""

    def dial(self, connection: Upstream, address: Address) -> None:
        """See `Plane.dial`. A dial that ended at once is reported at the end of the batch."""
        fd, code = self._connect(connection, address)
        connection.connecting = True
        self._reactor.attach(connection, fd)
        if code != errno.EINPROGRESS:
            self.ended.append((connection, code))

    def _connect(self, connection: Upstream, address: Address) -> tuple[int, int]:
        mark = connection.endpoint.cluster.config.mark
        return self._reactor.kernel.dial(address, mark, connection.endpoint.source)

    def report(self) -> None:
        """Tell the layers."""
        ended, self.ended = self.ended, []
        for connection, code in ended:
            try:
                self._report(connection, code)
            except Exception as bug:  # noqa: BLE001 - see `Reactor.broken`
                self._reactor.broken(connection, bug)

    def _report(self, connection: Connection, code: int) -> None:
        if not connection.connecting:
            return  # closed meanwhile
        reactor = self._reactor
        connection.changes += 1
        if isinstance(connection.tls, Anew) and isinstance(connection, Upstream):
            connection.preface = connection.tls.preface
            self._again(connection)
            return
        if code:
            reactor.lose(connection, code)
            return
        if isinstance(connection, Upstream):
            connection.reached(reactor.now - connection.active)
        if not reactor.tls.begin(connection):
            connection.connecting = False
            connection.active = reactor.now
            reactor.unflushed.append(connection)
            if isinstance(connection, Upstream):
                connection.recount()
            connection.connected()

    def in_plaintext(self, connection: Connection, reason: str, code: int = 0) -> bool:
        """See `Plane.in_plaintext`. This is asked of every connection that is lost before it was there.

        Of a successor it only notes the failure: the old one serves on.
        """
        if not isinstance(connection, Upstream):
            return False
        if isinstance(connection.tls, Handshake):
            connection.secured = True
        elif code and connection.tls is None:
            connection.secured = False
        if not connection.secured and not connection.spare:
            return False
        reason = reason or f"{LOST}: {os.strerror(code).lower()}"
        if not connection.endpoint.cluster.switch.refused(connection, reason, self._reactor.now):
            return False
        connection.secured = False
        connection.give_time(self._reactor.now + connection.endpoint.cluster.config.connect_timeout)
        self._again(connection)
        return True

    def _again(self, connection: Upstream) -> None:
        """Its handshake failed, or was under way in the generation before: give the descriptor up for another dial.

        With it goes the serial: to a destination that has a copy by now this is another connection, for of each it gets
        a descriptor once.
        """
        reactor = self._reactor
        if connection.tls is not None:
            connection.tls.end()
            connection.tls = None
        connection.begin_anew()
        connection.active = reactor.now
        fd, code = self._connect(connection, connection.endpoint.address)
        former, connection.serial = connection.serial, reactor.next_serial
        reactor.next_serial += 1
        reactor.connections[connection.serial] = reactor.connections.pop(former)
        connection.renumbered(former)
        for one in connection.bonds():
            one.changes += 1
        connection.alarm = inf
        connection.wake(connection.due())
        reactor.reseat(connection, fd)
        if code != errno.EINPROGRESS:
            self.ended.append((connection, code))
