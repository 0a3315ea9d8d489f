"""A client's connection until its TLS handshake is done. Any protocol: it takes over then.

    accepted --> handshake (OpenSSL) --done--> the protocol's own connection, with the session
                    | alert, end or silence: closed

A handshake under way is no value: in a handover it is a straggler, served by the source to its end, and follows as a
finished one, which the destination takes on.
"""

from __future__ import annotations

from errno import EPROTO
from typing import TYPE_CHECKING, Any, ClassVar

from hotswap.swappable import Schema
from proxy.tls.handshake import Handshake
from proxy.tls.session import Session
from proxy.tls.stage import Stage

if TYPE_CHECKING:
    from proxy.calls import Calls
    from proxy.plane import Places


class Handshaking(Stage):
    """Its `tls` is a `Handshake`; a finished one's is a `Session`."""

    __slots__ = ()

    kind: ClassVar[str] = "tls.handshake"
    schema: ClassVar[Schema] = Schema(1, 1)

    def begin(self) -> None:
        """The ClientHello is due."""
        contexts = self.listener.tls
        if contexts is None:  # a reload took it away meanwhile
            self.close()
            return
        ssl = contexts.connection()
        self.tls = Handshake(ssl, server=True, refusal=contexts.refusal, identity=contexts.identity)
        self.expect_by(self.plane.now + contexts.config.handshake_timeout)

    def attached(self) -> None:
        """Count itself, and be known as what cannot move."""
        super().attached()
        self.plane.tls.handshaking.add(self.serial)

    def detached(self) -> None:
        """The counterpart."""
        super().detached()
        self.plane.tls.handshaking.discard(self.serial)

    def catch_up(self) -> None:
        """A finished one that came from the source: take it on."""
        self.plane.secured(self)

    def readable(self, calls: Calls, now: float) -> None:
        """The first bytes for a finished one can be here before `catch_up`: who takes it on reads them."""
        if isinstance(self.tls, Session) and not self.paused:
            self.catch_up()
        else:
            super().readable(calls, now)

    def ended(self) -> None:
        """A FIN in the middle: somebody looked whether we listen, or gave up."""
        self.listener.handshakes.end()
        self.close()

    def failed(self, errno: int) -> None:
        """A reset, or a handshake that cannot be, which is counted where it is known why."""
        if errno != EPROTO:
            self.listener.handshakes.end()

    def expired(self, now: float) -> None:
        """It takes too long."""
        self.listener.handshakes.delay()
        self.close()

    def stage(self) -> str:
        """See `Connection.stage`."""
        return "handshake"

    def load(self, state: bytes, now: float, places: Places) -> None:
        """Only a finished one is ever saved."""
        super().load(state, now, places)
        self.paused = self.serial in self.plane.tls.awaited  # on to the next generation, if that owns already

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {**super().describe(), "state": "handshake"}
