"""The body of a response on its way to the client.

bytes --> length, chunks, or all up to the FIN --> client, which may pause the upstream
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.bulk import ENDLESS
from proxy.http1.body import Chunks
from proxy.http1.message import CHUNKED, UNTIL_CLOSE
from proxy.proxy_protocol.sending import Announced

if TYPE_CHECKING:
    from proxy.http1.exchange import Exchange
    from proxy.plane import Plane

MAX_HEAD: Final = 65536  # bytes of a response head, or of a trailer section
MAX_FIELDS: Final = 256
_TRAILER_LIMITS: Final = (MAX_HEAD, MAX_FIELDS)


class Download(Announced):
    """A connection to an endpoint whose response has a body. `Relay` serves its tunnel."""

    __slots__ = ("chunks", "keep", "left")

    peer: Exchange | None

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.keep = False  # the upstream keeps the connection after this response
        self.left = 0  # bytes of the response body still to come, or CHUNKED or UNTIL_CLOSE
        self.chunks: Chunks | None = None

    def _begin_body(self, length: int) -> None:
        self.left = length
        self.chunks = Chunks() if length == CHUNKED else None

    def _take_body(self, data: bytes) -> None:
        exchange = self.peer
        if exchange is None:
            self.close()
            return
        left = self.left
        if exchange.record is not None:
            exchange.record.sent += len(data) if left < 0 else min(left, len(data))
        if left > len(data):
            self.left = left - len(data)
            exchange.send(data)
        elif left >= 0:
            self.left = 0
            if len(data) > left:
                self.keep = False
                data = data[:left]
            exchange.send(data)
            self._complete(exchange)
            return
        elif self.chunks is not None:
            piece = self.chunks.feed(data, _TRAILER_LIMITS, bare=not exchange.minor)
            if piece:
                exchange.send(piece)
            if self.chunks.broken is not None:
                self._break_off(exchange)
                return
            if self.chunks.done:
                if self.chunks.trailer:
                    exchange.trailers(self.chunks.trailer)
                self.keep = self.keep and not self.chunks.rest
                self.chunks = None
                self._complete(exchange)
                return
        else:
            exchange.send(data)
        if exchange.clogged:
            self.pause()

    def ahead(self) -> int:
        """The body up to its last byte, or the data of a chunk: what follows is looked at."""
        if self.left == UNTIL_CLOSE:
            return ENDLESS
        if self.chunks is not None:
            return self.chunks.ahead()
        return self.left - 1

    def carried(self, size: int) -> None:
        """A part of the body went to the client."""
        if self.peer is not None and self.peer.record is not None:
            self.peer.record.sent += size
        if self.left > 0:
            self.left -= size
        elif self.chunks is not None:
            self.chunks.left -= size

    def _break_off(self, exchange: Exchange) -> None:
        bare = self.bare
        self.drop()
        exchange.listener.failed += 1
        exchange.listener.meters.broken_off.inc()
        exchange.break_off(bare=bare)

    @property
    def bare(self) -> bool:
        """The end of the response would be told by the end of the client's connection alone."""
        return self.left == UNTIL_CLOSE or (self.peer is not None and not self.peer.minor and self.left == CHUNKED)

    def drop(self) -> None:
        """Nobody wants the response any more."""
        raise NotImplementedError

    def _complete(self, exchange: Exchange) -> None:
        raise NotImplementedError
