"""Two connections that pass on each other's bytes, FINs and resets.

    client                 downstream      upstream                 server
      | --- bytes -->  received --> peer.outbox  --- bytes --->        |
      | --- FIN ---->  ended    --> peer.shut()  --- FIN ----->        |   half-closed: the other way goes on
      |  <--- bytes ---     outbox <-- received      <--- bytes ---    |
      |  <--- FIN ----      shut() <-- ended         <--- FIN -----    |   both FINs sent: both are closed
      | --- RST ---->  failed   --> peer.reset() --- RST ----->        |

A FIN never overtakes bytes; a reset does. With TLS a FIN stands for close_notify and FIN; one that came without
close_notify is passed on without, so that nobody takes a stream that was cut off for the whole. The pair stays together
until both directions are closed, so it moves to another process as one. Http1 uses it, too, for tunnels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.bulk import ENDLESS, carry
from proxy.connection import CHUNK, Connection
from proxy.kernel import READING

if TYPE_CHECKING:
    from proxy.calls import Calls
    from proxy.plane import Plane


class Relay(Connection):
    """One side of a pair; `peer` is the other side, or None when the pair came apart."""

    __slots__ = ("passed", "unseen")

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.passed = 0
        """Bytes that were taken from this side, to be passed on."""
        self.unseen = False
        """What comes is passed on and nothing else, so there is no need to look at it. Derived."""

    def readable(self, calls: Calls, now: float) -> None:
        """See `Connection.readable`. What nobody looks at is not even made an object: 0.4 us of 7."""
        if self.bulk:
            if not carry(self, calls, now):
                super().readable(calls, now)
            return
        peer: Connection | None = self.peer
        if not self.unseen or self.paused or peer is None or peer.outbox or self.tls is not None:
            super().readable(calls, now)
            return
        if peer.tls is not None or peer.interest != READING:
            super().readable(calls, now)
            return
        try:
            size = calls.relay(self.fd, peer.fd, CHUNK)
        except OSError as error:
            self.plane.io_failed(self, error)
            return
        self.active = now
        self.changes += 1
        if not size:
            self.plane.at_end(self)
            return
        self.passed += size
        self.tally(self.count_in, size)
        left = calls.left
        sent = size - len(left)
        if sent:
            peer.active = now
            peer.changes += 1
            peer.tally(peer.count_out, sent)
        if left:
            peer.outbox = left
            self.plane.unflushed.append(peer)
        if size == CHUNK:
            self.plane.read_on(self)

    def received(self, data: bytes) -> None:
        """Pass bytes on; stop reading while the other side cannot get rid of them. Without one they are dropped."""
        peer: Connection | None = self.peer
        if peer is None:
            return
        self.passed += len(data)
        if not peer.outbox:  # `send` spelled out for the common case
            peer.outbox = data
            self.plane.unflushed.append(peer)
            return
        peer.send(data)
        if peer.clogged:
            self.pause()

    def ahead(self) -> int:
        """How many of the next bytes are passed on as they are, whatever they are, with more to come behind them.

        At least so many; `ENDLESS` up to the end of the connection.
        """
        return ENDLESS if self.unseen else 0

    def carried(self, size: int) -> None:
        """So many of them were passed on by `proxy.bulk`. For a layer that is as if it had received them."""
        self.passed += size

    def drained(self) -> None:
        """There is room again."""
        if self.peer is not None:
            self.peer.resume()

    def ended(self) -> None:
        """Pass a FIN on."""
        peer = self.peer
        if peer is None:
            return
        tls = self.tls
        if tls is not None:
            tls.pass_on(peer)
        peer.shut()

    def finished(self) -> None:
        """Both FINs sent: nothing can come any more."""
        peer = self.peer
        if peer is not None and peer.fin_sent:
            self.part()
            peer.close()
            self.close()

    def failed(self, errno: int) -> None:
        """Pass a reset on."""
        peer = self.peer
        if peer is not None:
            self.part()
            peer.reset()

    def part(self) -> None:
        """Undo the link on both sides."""
        self.peer.peer = None
        self.peer = None
