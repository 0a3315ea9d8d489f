"""One request to an endpoint that speaks HTTP/2: a connection like that of HTTP/1.1, on a transport that it shares.

    exchange --head, body or chunks--> [outbox] --flush--> HEADERS, DATA, trailers
    exchange <--answer, body, trailers-- received <--text-- HEADERS, DATA, trailers

To the exchange it is an `Http1Upstream`, whose reading of responses it has. What it is sent is put in frames by its
`host`, the connection; a FIN is END_STREAM, to close it is to reset the stream.

    waiting (DIAL) --connected, and there is room--> HEAD --> BODY or TUNNEL --> gone; it serves one request

It is a value within that of its host (`proxy.http2.state`), with a serial of its own.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.guests import HOSTED
from proxy.http1.body import Chunks
from proxy.http1.download import MAX_FIELDS, MAX_HEAD
from proxy.http1.message import CHUNKED
from proxy.http1.state import load_chunks, save_chunks
from proxy.http1.states import Use
from proxy.http1.upstream import Http1Upstream
from proxy.http2.errors import CANCEL, NO_ERROR
from proxy.http2.sealing import sealed_of
from proxy.http2.server_text import request_fields, response_text, switching_text
from proxy.http2.state import CallState
from proxy.http2.stream import EMPTY, LOCAL_ENDED
from proxy.http2.text import chunk, last_chunk, trailer_fields

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from proxy.calls import Calls
    from proxy.http1.exchange import Exchange
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field
    from proxy.http2.living import Living
    from proxy.plane import Places, Plane

DIAL, HEAD, TUNNEL = Use.DIAL, Use.HEAD, Use.TUNNEL
_LIMITS: Final = (MAX_HEAD, MAX_FIELDS)
_UNANSWERED: Final = frozenset({DIAL, HEAD})


class Http2Call(Http1Upstream):
    """A stream that we open."""

    __slots__ = ("host", "key", "number", "owed", "unread", "untouched", "uploading", "wanting", "wraps")

    kind: ClassVar[str] = "http2.call"
    pooled: ClassVar[bool] = False

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.host: Living | None = None
        """The connection; None once it is over."""
        self.number = 0
        """The id of the stream; 0 until its head is sent."""
        self.wanting = 0
        """Bytes of the request's body that are still to come, or CHUNKED."""
        self.uploading: Chunks | None = None
        """The request's chunks, which HTTP/2 does without."""
        self.key = b""
        """Of a WebSocket; empty: it is none."""
        self.wraps = False
        """The response's body is put in chunks."""
        self.owed = 0
        """Bytes of its window that the server gets back when they are passed on."""
        self.unread = EMPTY
        """What came while it was paused."""
        self.untouched = False
        """It ended before the server looked at it. Derived, at the end."""

    # ---- for the exchange ----

    def seat(self, host: Living, exchange: Exchange) -> None:
        """A new one, on this connection."""
        self.host, self.fd, self.endpoint = host, HOSTED, host.endpoint
        self.plane.host(self)
        self._join(exchange)
        host.requests.seat(self)

    def begins(self) -> None:
        """There is room for it; the head may be sent."""
        self.deadline = inf
        self.use = HEAD
        self.uses = 1
        self.since = self.plane.now

    def turn(self) -> None:
        """It waited long enough: as soon as this is called, there is room."""
        exchange = self.peer
        if self.use is not DIAL:
            self.plane.unflushed.append(self)
        elif exchange is not None:
            self.begins()
            exchange.dialled(self)

    @property
    def may_refuse(self) -> bool:
        """See `Http1Upstream`: a server may say that it did not look at a request."""
        return True

    # ---- what goes to the server ----

    def flush(self, calls: Calls, now: float) -> None:
        """Give what was sent to the session: the head, which comes whole and first, then the body."""
        host = self.host
        if host is None:
            return
        self.stale = False
        if not self.number and not (self.outbox and self._open(host, bytes(self.outbox))):
            return
        out = self.outbox if isinstance(self.outbox, bytes) else bytes(self.outbox)
        over = self.shutting and not self.fin_sent
        stream = host.requests.session.streams.get(self.number)
        room = stream is None or not stream.queue
        if out or over:
            self.outbox = b""
            self.changes += 1
            self.active = now
            room = self._upload(host, out, over)
        host.stir()
        if not room or host.clogged:
            self.clogged = True
        else:
            self.writable()

    def _open(self, host: Living, out: bytes) -> bool:
        """Send the head. False: there is no room any more, it waits or goes elsewhere; or nobody here serves it."""
        head, _, rest = out.partition(b"\r\n\r\n")
        session = host.requests.session
        sealed = () if self.peer is None else self.peer.sealed
        request = request_fields(head, host.tls is not None, sealed)
        if request.key and not session.theirs.connect and host.requests.is_told():
            self._fail("the endpoint takes no WebSocket over HTTP/2")
            return False
        if session.is_spent():
            self.lost(untouched=True)
            host.vacated()
            return False
        number = 0 if request.key and not host.requests.is_told() else host.requests.open(self)
        if not number:
            host.requests.wait(self)
            return False
        self.number, self.key, self.wanting = number, request.key, request.length
        self.uploading = Chunks() if request.length == CHUNKED and not request.key else None
        self.outbox = rest
        session.send_headers(number, request.fields, not request.length)
        return True

    def _upload(self, host: Living, out: bytes, end: bool) -> bool:
        """A piece of the request's body, or of a tunnel. False if it has to wait: then no more, please."""
        session, number, chunks = host.requests.session, self.number, self.uploading
        if self.key:
            return session.send_body(number, out, end)
        if chunks is None:
            self.wanting -= len(out)
            return session.send_body(number, out, not self.wanting)
        piece = chunks.feed(out, self._trailer_limits, bare=True)
        if not chunks.done:
            return session.send_body(number, piece, False) if piece else True
        self.uploading, self.wanting = None, 0
        trailers = trailer_fields(chunks.trailer, () if self.peer is None else self.peer.sealed)
        if not trailers:
            return session.send_body(number, piece, True)
        room = session.send_body(number, piece, False) if piece else True
        session.send_trailers(number, trailers)
        return room

    @property
    def _trailer_limits(self) -> tuple[int, int]:
        """Bytes and lines: those that the client was held to."""
        if self.peer is None:
            return _LIMITS
        config = self.peer.listener.config
        return config.max_header_bytes, config.max_headers

    def writable(self) -> None:
        """All of it is on its way."""
        if self.clogged:
            self.clogged = False
            self.changes += 1
            self.drained()
        if self.shutting and not self.fin_sent and self.host is not None:
            self._shut(self.host)

    def _shut(self, host: Living) -> None:
        """A tunnel's FIN is sent once nothing waits for the server's window: what does goes when this is closed."""
        stream = host.requests.session.streams.get(self.number)
        if stream is None or stream.flags & LOCAL_ENDED:
            self.fin_sent = True
            self.changes += 1
            self.finished()

    # ---- what comes from the server ----

    def headed(self, head: Head, ended: bool) -> None:
        """A response's head, 1xx ones included. `ended`: no body follows."""
        exchange = self.peer
        if exchange is None:
            return
        fields = head.fields
        self._conceal(exchange, fields)
        if self.key and 200 <= head.status < 300:
            self._arrived(switching_text(fields, self.key))
        else:
            if exchange.called:  # beside a length HTTP/1.1 has no trailers, and the session has seen to the length
                fields = [field for field in fields if field[0] != b"content-length"]
            text, self.wraps = response_text(fields, ended, exchange.method == b"HEAD")
            self._arrived(text)
        if ended:
            self._at_end()

    def body(self, piece: bytes, end: bool) -> None:
        """A piece of its body, or of a tunnel."""
        self.owed += len(piece)
        if self.wraps:
            piece = chunk(piece) if piece else b""
            if end:
                piece += last_chunk(())
        if piece:
            self._arrived(piece)
        if end:
            self._at_end()
        self._give_back()

    def ended_by(self, trailers: Sequence[Field]) -> None:
        """The response ends with these; only one without Content-Length can have them in HTTP/1.1."""
        if self.peer is not None:
            self._conceal(self.peer, trailers)
        if self.wraps:
            self._arrived(last_chunk(trailers))
        self._at_end()

    def _arrived(self, text: bytes) -> None:
        if self.paused:
            self.unread = self.unread or bytearray()  # its own
            self.unread += text
        else:
            self.active = self.plane.now
            self.received(text)

    def _at_end(self) -> None:
        """The server's FIN; of a response the text told its end already."""
        self.eof = True
        if self.use is TUNNEL and not self.unread and self.peer is not None:
            self.ended()

    @staticmethod
    def _conceal(exchange: Exchange, fields: Sequence[Field]) -> None:
        sealed = sealed_of(fields)
        if sealed:
            exchange.conceal(sealed)

    def resume(self) -> None:
        """Read again, first what came meanwhile."""
        super().resume()
        if self.unread:
            data, self.unread = bytes(self.unread), EMPTY
            self.received(data)
            if self.eof:
                self._at_end()
        self._give_back()

    def _give_back(self) -> None:
        """The server may send more of what was passed on."""
        host = self.host
        if self.owed and not self.paused and host is not None:
            owed, self.owed = self.owed, 0
            host.requests.session.consumed(self.number, owed)
            host.stir()

    # ---- its end ----

    def _complete(self, exchange: Exchange) -> None:
        """The end of the response: it is not used again."""
        exchange.peer = self.peer = None
        self.endpoint.meters.durations.observe(self.plane.now - self.since)
        self._leave(CANCEL if self.wanting else NO_ERROR)
        exchange.complete()

    def close(self) -> None:
        """Nobody wants the rest."""
        self._leave(CANCEL)

    def reset(self) -> None:
        """The same."""
        self._leave(CANCEL)

    def _leave(self, code: int) -> None:
        host = self.host
        if host is not None:
            self.gone()
            host.requests.left(self, code)
            host.stir()

    def gone(self) -> None:
        """It has no connection any more."""
        self.host, self.fd, self.alarm = None, -1, inf
        self._count(in_use=False)

    def lost(self, *, untouched: bool) -> None:
        """Its stream ended too early, or the connection did. `untouched`: nobody looked at the request."""
        if self.host is not None and self.eof and self.unread and self.use is not TUNNEL:
            # The whole response is here, for a slow client.
            data, self.unread, self.paused = bytes(self.unread), EMPTY, False
            self.received(data)
        host = self.host
        if host is None:
            return
        host.requests.forget(self)
        self.gone()
        self.untouched = untouched and self.use in _UNANSWERED and not self.answered  # whatever the server says
        self.failed(0)

    def refused(self) -> bool:
        """See `Upstream`: here a server says so of single requests."""
        return self.untouched

    def not_there(self, *, late: bool) -> None:
        """Its endpoint cannot be connected to, or has no room."""
        exchange = self.peer
        self.drop()
        if exchange is not None:
            exchange.try_next(self.endpoint.name, timed_out=late)

    def due(self) -> float:
        """How long it waits for room."""
        return self.deadline if self.host is not None else inf

    def expired(self, now: float) -> None:
        """There is none."""
        host = self.host
        if self.use is DIAL:
            self.not_there(late=True)
        elif host is not None and host.requests.is_told():
            self.lost(untouched=True)
        elif self.peer is not None:
            self.deadline = inf
            self._fail("the endpoint did not say in time whether it takes WebSocket over HTTP/2")

    # ---- it is no connection: its host counts ----

    def attached(self) -> None:
        """See `Connection`."""

    def detached(self) -> None:
        """See `Connection`."""

    def recount(self) -> None:
        """See `Upstream`."""

    # ---- the value ----

    def saved(self, now: float) -> CallState:
        """See `proxy.http2.state.CallState`."""
        waits = self.host is not None and self.serial in self.host.requests.waiting
        return CallState(
            self.serial,
            self.number,
            self.wanting,
            save_chunks(self.uploading),
            self.key,
            self.wraps,
            self.owed,
            bytes(self.unread),
            waits,
            self.save(now),
        )

    def load_from(self, saved: CallState, now: float, places: Places) -> None:
        """The counterpart."""
        self.load(saved.call, now, places)
        self.number, self.wanting, self.uploading = saved.number, saved.wanting, load_chunks(saved.uploading)
        self.key, self.wraps, self.owed, self.unread = saved.key, saved.wraps, saved.owed, bytearray(saved.unread)

    @property
    def anchor(self) -> Living | Http2Call:
        """See `Connection.anchor`."""
        return self if self.host is None else self.host

    def describe(self) -> dict[str, Any]:
        """For people."""
        step = "waiting" if self.use is DIAL else self.use.name.lower()
        client = None if self.peer is None else self.peer.serial
        return {"stream": self.number, "use": step, "client": client}
