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

from proxy.connection import Connection


class Relay(Connection):
    """One side of a pair; `peer` is the other side, or None when the pair came apart."""

    __slots__ = ()

    def received(self, data: bytes) -> None:
        """Pass bytes on; stop reading while the other side cannot get rid of them."""
        peer: Connection = self.peer
        if not peer.outbox:  # `send` spelled out for the common case
            peer.outbox = data
            self.plane.unflushed.append(peer)
            return
        peer.send(data)
        if peer.clogged:
            self.pause()

    def drained(self) -> None:
        """There is room again."""
        if self.peer is not None:
            self.peer.resume()

    def ended(self) -> None:
        """Pass a FIN on."""
        if self.tls is not None:
            self.tls.pass_on(self.peer)
        self.peer.shut()

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
