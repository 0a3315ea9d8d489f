"""A connection whose layer is done with it: our close_notify and our FIN went out, the peer's are awaited.

The peer answers with a close_notify of its own (RFC 8446 section 6.1). To a descriptor that is closed by then the
kernel says RST, which the peer may take for the loss of what it was sent before. So it stays open until the peer closes
it, or LINGER is over.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.connection import Connection
from proxy.state import Transport
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.plane import Places, Plane

LINGER: Final = 2.0
"""Seconds."""


class FarewellState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `Farewell`. `left`: seconds that remain."""

    transport: Transport
    left: float | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FarewellState).decode


class Farewell(Connection):
    """It belongs to nobody any more."""

    __slots__ = ("until",)

    kind: ClassVar[str] = "tls.farewell"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.until = inf

    def begin(self) -> None:
        """It took the place of another, whose close_notify is on its way."""
        self.until = self.plane.now + LINGER
        self.wake(self.until)
        self.shut()

    def received(self, data: bytes) -> None:
        """Nobody wants it."""

    def ended(self) -> None:
        """That was all."""
        self.close()

    def due(self) -> float:
        """When it is not worth the wait any more."""
        return self.until

    def expired(self, now: float) -> None:
        """The peer does not close."""
        self.close()

    def drain(self) -> None:
        """Nobody is waited for."""
        self.close()

    def save(self, now: float) -> bytes:
        """See `FarewellState`."""
        return _encode(FarewellState(self.transport(now), remaining(self.until, now)))

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.load_transport(saved.transport, now, places)
        self.until = deadline(saved.left, now)
