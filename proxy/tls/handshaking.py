"""A client's connection until its TLS handshake is done. Any protocol: it takes over then.

    accepted --> handshake (OpenSSL) --done--> the protocol's own connection, with the session
                    | alert, end or silence: closed

A handshake under way is no value: in a handover it is a straggler, served by the source to its end, and follows as a
finished one, which the destination takes on.
"""

from __future__ import annotations

from errno import EPROTO
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.proxy_protocol.header import Pair
from proxy.sides import Downstream
from proxy.state import Transport
from proxy.timers import deadline, remaining
from proxy.tls.handshake import Handshake
from proxy.tls.session import Session

if TYPE_CHECKING:
    from proxy.plane import Places, Plane, Read


class HandshakingState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `Handshaking`: a finished one. The deadline is the seconds that remain."""

    transport: Transport
    listener: str
    address: str
    protocol: str
    remote: str
    left: float | None = None
    introduced: Pair | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HandshakingState).decode


class Handshaking(Downstream):
    """Its `tls` is a `Handshake`; a finished one's is a `Session`."""

    __slots__ = ("deadline",)

    kind: ClassVar[str] = "tls.handshake"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.deadline = inf

    def begin(self) -> None:
        """The ClientHello is due."""
        contexts = self.listener.tls
        if contexts is None:  # a reload took it away meanwhile
            self.close()
            return
        ssl = contexts.connection()
        self.tls = Handshake(ssl, server=True, refusal=contexts.refusal, identity=contexts.identity)
        self.deadline = self.plane.now + contexts.config.handshake_timeout
        self.wake(self.deadline)

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

    def readable(self, read: Read, now: float) -> None:
        """The first bytes for a finished one can be here before `catch_up`: who takes it on reads them."""
        if isinstance(self.tls, Session) and not self.paused:
            self.catch_up()
        else:
            super().readable(read, now)

    def ended(self) -> None:
        """A FIN in the middle: somebody looked whether we listen, or gave up."""
        self.listener.handshakes.ended += 1
        self.close()

    def failed(self, errno: int) -> None:
        """A reset, or a handshake that cannot be, which is counted where it is known why."""
        if errno != EPROTO:
            self.listener.handshakes.ended += 1

    def expired(self, now: float) -> None:
        """It takes too long."""
        self.listener.handshakes.late += 1
        self.close()

    def due(self) -> float:
        """When it takes too long."""
        return self.deadline

    def stage(self) -> str:
        """See `Connection.stage`."""
        return "handshake"

    def save(self, now: float) -> bytes:
        """See `HandshakingState`."""
        listener = self.listener
        return _encode(
            HandshakingState(
                self.transport(now),
                listener.name,
                listener.address,
                listener.config.protocol,
                self.remote,
                remaining(self.deadline, now),
                self.introduced,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, saved.protocol)
        self.load_transport(saved.transport, now, places)
        self.paused = self.serial in self.plane.tls.awaited  # on to the next generation, if that owns already
        self.remote = saved.remote
        self.deadline = deadline(saved.left, now)
        self.introduced, self.destination, self.server_name = saved.introduced, "", ""

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {**super().describe(), "state": "handshake"}
