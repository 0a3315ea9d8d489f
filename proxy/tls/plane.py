"""What the plane does for TLS: begins handshakes, cuts over, ends, and holds what all sessions need.

    accepted --> Handshaking --done--> the protocol's connection (`Acceptor.admit`)
    dialled  --> begin --> Handshake --done--> connected()
                              `--failed--> connect_failed()

`permit` says whether this generation owns: sessions seal and open under it alone. Giving connections away ends the
permit that they have, at once and for all of them; what stays gets a new one.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hotswap.errors import CannotRestore
from proxy.sides import Downstream, Upstream
from proxy.tls.errors import NotOwner, TlsError
from proxy.tls.farewell import Farewell
from proxy.tls.handshake import Handshake
from proxy.tls.handshaking import Handshaking
from proxy.tls.layer import Permit, Vault
from proxy.tls.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.connection import Connection
    from proxy.reactor import Reactor

MOST_STRAGGLERS: Final = 4096
"""As many as one message names, see `hotswap.handover.wire.Final`."""


class TlsPlane:
    """The TLS part of one reactor."""

    __slots__ = ("_reactor", "_spare", "_takings", "awaited", "expected", "giving", "handshaking", "permit", "taking")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.permit = Permit()
        self.giving = Vault()
        """The key of the attempt to give connections away: their secrets travel under it."""
        self.taking = Vault()
        """That of the attempt by which this generation got its own. Both may go on at a time, for stragglers."""
        self._takings: dict[int, Vault] = {}  # by the worker of the source
        self._spare = self.giving
        self.handshaking: set[int] = set()
        """Serials of connections of `Handshaking`."""
        self.awaited: frozenset[int] = frozenset()
        """Those that the destination waits for."""
        self.expected: frozenset[int] = frozenset()
        """Those that the source has still to send, and some that it has sent."""

    # ---- the life of a session ----

    def begin(self, connection: Connection) -> bool:
        """It was dialled. False if no TLS is wanted there."""
        if not isinstance(connection, Upstream):
            return False
        cluster = connection.endpoint.cluster
        contexts = cluster.tls
        if contexts is None or not cluster.switch.secures(connection, self._reactor.now):
            return False
        connection.secured = True
        connection.begin_secure()
        ssl = contexts.connection(connection.endpoint.host)
        handshake = Handshake(ssl, server=False, refusal=contexts.refusal, identity=contexts.identity)
        connection.tls = handshake
        try:
            handshake.begin(connection.preface)
        except TlsError as error:
            self.failed(connection, error)
        connection.touch()
        return True

    def done(self, connection: Connection, handshake: Handshake) -> None:
        """Its handshake is over: cut over to our record layer."""
        try:
            session = handshake.finish(self.permit)
        except TlsError as error:
            self.failed(connection, error)
            return
        connection.tls = session
        connection.touch()
        if session.error is not None:
            self.failed(connection, session.error)
        elif isinstance(connection, Handshaking):
            connection.listener.handshakes.succeed()
            if connection.serial in self.awaited:
                session.waiting = True
                connection.pause()  # it follows to the destination, which goes on with it
            else:
                self._reactor.acceptor.secured(connection)
        elif isinstance(connection, Upstream):
            connection.endpoint.cluster.handshakes.succeed()
            connection.connecting = False
            connection.active = self._reactor.now
            connection.recount()
            if not session.unheard:
                connection.accepted()
            connection.connected()

    def heard(self, connection: Connection) -> None:
        """The first byte came by TLS: whom we dialled has accepted us."""
        if isinstance(connection, Upstream):
            connection.accepted()

    def failed(self, connection: Connection, error: TlsError) -> None:
        """The connection cannot go on: send the alert that is sealed, if it can be sent, and end.

        Or go on without TLS, if this was the handshake and nobody insists.
        """
        reactor = self._reactor
        tls, now, connecting = connection.tls, reactor.now, connection.connecting
        if tls is not None and tls.sealed and connection.fd >= 0:
            with suppress(OSError):
                reactor.kernel.calls.write(connection.fd, tls.sealed)
        if isinstance(connection, Downstream):
            tally, listener = connection.listener.handshakes, connection.listener.name
            tell = tally.fail if isinstance(connection, Handshaking) else tally.break_off
            tell(now, str(error), listener=listener, remote=connection.remote)
        elif isinstance(connection, Upstream):
            endpoint = connection.endpoint
            tally = endpoint.cluster.handshakes
            tell = tally.fail if connecting else tally.break_off
            tell(now, str(error), cluster=endpoint.cluster.name, endpoint=endpoint.name)
        reactor.lose(connection, errno.EPROTO, str(error))

    def may_finish(self, connection: Connection) -> bool:
        """A FIN is to go out: whether our close_notify went before it. If not, it is on its way now."""
        session = connection.tls
        if not isinstance(session, Session):
            return True
        if not session.closed_out and not session.cut:
            session.close()
            self._reactor.unflushed.append(connection)
            return False
        if session.sealed:
            return False
        session.closed_out = True  # also without a close_notify: nothing can be sent behind the FIN
        return True

    def last_words(self, connection: Connection, *, reset: bool) -> bool:
        """It ends now. Write what the socket takes at once: for a reset all that is there, else a close_notify.

        Behind bytes that are dropped there is none: they must not look like all. True if the peer's is awaited: the
        layer is done with it then, and a `Farewell` has its descriptor.
        """
        session, calls = connection.tls, self._reactor.kernel.calls
        with suppress(OSError, NotOwner):
            if reset and connection.outbox:
                if session is None:
                    count = calls.write(connection.fd, connection.outbox)
                else:
                    count = session.write(calls, connection.fd, connection.outbox)
                connection.tally(connection.count_out, count)
            elif isinstance(session, Session) and connection.flushed and not (reset or session.cut):
                session.close()
                session.write(calls, connection.fd, b"")
                over = session.closed_in or connection.eof or connection.fin_sent  # after our FIN it was waited for
                if not (over or session.sealed or self._reactor.draining):
                    self._part_with(connection)
                    return True
        return False

    def _part_with(self, connection: Connection) -> None:
        connection.over()
        farewell = Farewell(self._reactor)
        self._reactor.replace(connection, farewell)
        farewell.begin()

    # ---- who owns ----

    def new_vault(self) -> int:
        """An attempt begins: a fresh key, and the descriptor of a memfd with it, which the caller closes."""
        self.giving.end()
        self.giving = Vault()
        fd = os.memfd_create("tls", os.MFD_CLOEXEC)
        self.giving.write(fd)
        return fd

    def spare_vault(self) -> int:
        """In a worker: a key for the next attempt, made before it begins. See `new_vault` for what is returned."""
        self._spare = Vault()
        fd = os.memfd_create("tls", os.MFD_CLOEXEC)
        self._spare.write(fd)
        return fd

    def use_spare(self) -> None:
        """That attempt begins. No two processes wrap under one key: they would count the same nonces."""
        self.giving.end()
        self.giving = self._spare

    def take_vault(self, fd: int, worker: int = 0) -> None:
        """The counterpart at the destination, for what comes from that worker. Raises `CannotRestore`."""
        former = self._takings.pop(worker, None)
        if former is not None:
            former.end()
        try:
            self.taking = self._takings[worker] = Vault.read(fd)
        except ValueError as error:
            raise CannotRestore(f"the key of the attempt cannot be used: {error}") from None

    def take_from(self, worker: int) -> None:
        """What comes next was wrapped by that worker of the source."""
        self.taking = self._takings.get(worker, self.taking)

    def part(self, kept: Iterable[Connection], awaited: Iterable[int]) -> None:
        """All but `kept` was given away: nobody seals under the old permit any more, what stays goes on under another.

        Those of the handshakes among them whose serials are `awaited` follow.
        """
        former, self.permit = self.permit, Permit()
        self.permit.grant()
        self.awaited = frozenset(awaited)
        for connection in kept:
            if isinstance(connection.tls, Session):
                connection.tls.layer.assign(self.permit)
                if connection.serial in self.awaited:
                    connection.pause()
        former.end()

    def stay(self) -> None:
        """Nobody waits for handshakes any more: take those on that are done."""
        awaited, self.awaited = self.awaited, frozenset()
        for serial in awaited:
            connection = self._reactor.connections.get(serial)
            if isinstance(connection, Downstream):
                connection.resume()

    def surplus(self) -> list[int]:
        """Serials of handshakes under way that cannot be announced with the others: there are too many."""
        return sorted(self.stragglers())[MOST_STRAGGLERS:]

    def stragglers(self) -> list[int]:
        """Serials of connections that are no value."""
        connections = self._reactor.connections
        found = [serial for serial in self.handshaking if isinstance(connections[serial].tls, Handshake)]
        return found + [serial for serial in self.expected if serial not in connections]
