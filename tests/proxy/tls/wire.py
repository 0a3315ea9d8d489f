"""What lies between a far end and the proxy: bytes are on their way for a while, and come in portions."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

from proxy.tls.errors import TlsError
from tests.proxy.tls.far import Far

if TYPE_CHECKING:
    from random import Random

    from tests.proxy.simulation import Socket

BROKEN = (ssl.SSLError, TlsError, ConnectionError)
"""What a far end raises that cannot go on."""
SIZES = (0, 1, 2, 5, 100, 5000, 1 << 20)


class Wire:
    """Stands for a `Socket` to a far end. What that sends arrives by and by, at `random`, or by `release`."""

    def __init__(self, socket: Socket, random: Random | None = None) -> None:
        """Without `random` it arrives at once."""
        self.socket = socket
        self._random = random
        self._waiting = bytearray()
        self._fin = False
        self.damages = False
        """One byte of what is sent next becomes another one."""
        self.skips_line = False
        """What comes begins with a line that is not for the far end."""

    def send(self, data: bytes) -> None:
        at = len(self._waiting)
        self._waiting += data
        if self.damages and data and self._random is not None:
            self.damages = False
            self._waiting[at + self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        self.release(len(self._waiting) if self._random is None else self._random.choice(SIZES))

    def take(self) -> bytes:
        if self.skips_line:
            _, end, rest = bytes(self.socket.outbox).partition(b"\r\n")
            if not end:
                return b""
            self.skips_line = False
            self.socket.outbox[:] = rest
        return self.socket.take()

    def fin(self) -> None:
        """Behind what waits."""
        self._fin = True
        self.release(0)

    def release(self, size: int) -> None:
        """Let so many bytes arrive."""
        portion = bytes(self._waiting[:size])
        del self._waiting[:size]
        if portion:
            self.socket.send(portion)
        if self._fin and not self._waiting and not self.socket.far_fin:
            self.socket.fin()


class FarEnd(Protocol):
    """One end of a connection to the proxy."""

    plain: bytes
    """What came, all of it."""

    @property
    def ended(self) -> bool:
        """There will be no more, and that was all."""

    def step(self) -> bool:
        """One flight of the handshake. True once it is done."""

    def send(self, data: bytes) -> None: ...

    def pull(self) -> None:
        """Take what came."""

    def goodbye(self) -> None:
        """Say that this was all, as far as the protocol can."""


class Plain:
    """Without TLS."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.plain = b""

    @property
    def ended(self) -> bool:
        return self.wire.socket.ended

    def step(self) -> bool:
        return True

    def send(self, data: bytes) -> None:
        self.wire.send(data)

    def pull(self) -> None:
        self.plain += self.wire.take()

    def goodbye(self) -> None:
        pass


class OnWire(Far):
    """Python's ssl on a wire."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, *, server: bool) -> None:
        super().__init__(wire, context, server=server, name="" if server else "edge.test")  # type: ignore[arg-type]

    def goodbye(self) -> None:
        """Python wants to have read everything before, and goes on reading afterwards."""
        self.pull()
        super().goodbye()
