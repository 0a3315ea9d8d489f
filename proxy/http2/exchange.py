"""One stream of a client: an exchange like that of an HTTP/1.1 connection, on a transport that it shares.

    HEADERS --text--> Http1Downstream._serve --> Http1Upstream (whatever that is)
    DATA    --body or chunks--> Upload                |
                                                      |  answer, body, trailers
    HEADERS, DATA, trailers  <------------------------'

To all between the two sides it is a client of HTTP/1.0: it asks once, and the end of what it is sent is the end of its
connection; so the bare data of a body arrives here, whatever framed it. What it sends is put in frames by its `host`,
the connection; what would be a FIN is END_STREAM, what would be a reset is RST_STREAM.

It is a value within that of its host (`proxy.http2.state`), with a serial of its own, by which its upstream knows it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.http1 import forward
from proxy.http1.downstream import Http1Downstream
from proxy.http1.errors import BadMessage
from proxy.http1.parser import parse_request
from proxy.http1.replies import reply
from proxy.http1.states import MOVES, Event, Step
from proxy.http2.errors import CANCEL, INTERNAL_ERROR, NO_ERROR
from proxy.http2.state import ExchangeState
from proxy.http2.text import chunk, last_chunk, request_text, response_fields, trailer_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.http1.filtered import Passage
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.http2.downstream import Http2Downstream
    from proxy.http2.hpack import Field
    from proxy.plane import Places, Plane, Write

HOSTED: Final = 1 << 30
"""In place of a descriptor: it lives, and has none."""


class Http2Exchange(Http1Downstream):
    """A stream that a client opened."""

    __slots__ = ("host", "number", "owed", "trailing", "unread")

    kind: ClassVar[str] = "http2.stream"

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.host: Http2Downstream | None = None
        """The connection; None once it is over."""
        self.number = 0
        """The id of the stream."""
        self.owed = 0
        """Bytes of its window that the client gets back when they are passed on."""
        self.unread = b""
        """What came while it was paused."""
        self.trailing: list[Field] = []
        """The trailers of its response."""

    # ---- what comes from the client ----

    def open(self, fields: Sequence[Field], *, ended: bool) -> None:
        """The request's head."""
        listener = self.listener
        self.meters = listener.meters.unrouted
        tail = forward.request_tail(self.remote, secure=self.host is not None and self.host.tls is not None)
        self.tail = tail.replace(b"Via: 1.1 ", b"Via: 2 ")
        self.began = self.plane.now
        try:
            text = request_text(fields, ended=ended)
            if listener.filters is None:
                self._serve(parse_request(text, listener.config.max_headers), b"")
            else:
                self._filter(text, b"")
        except BadMessage as why:
            self.meters = listener.meters.unrouted
            self._reply(why.status, why.reason, keep=False)

    def _serve(self, head: RequestHead, data: bytes, passage: Passage | None = None) -> bytes:
        head.minor, head.keep = 0, False
        return super()._serve(head, data, passage)

    def body(self, piece: bytes, *, end: bool) -> None:
        """A piece of the request's body."""
        self.owed += len(piece)
        if end and self.upgrade:  # a tunnel: this is a FIN
            self.eof = True
        if self.chunks is not None:
            piece = chunk(piece) if piece else b""
            if end:
                piece += last_chunk(())
        self._arrived(piece)

    def ended_by(self, trailers: Sequence[Field]) -> None:
        """The request ends with these."""
        if self.chunks is not None:
            self._arrived(last_chunk(trailers))

    def _arrived(self, data: bytes) -> None:
        if self.paused:
            self.unread += data
        elif data:
            self.active = self.plane.now
            self.received(data)
        if self.eof and self.step is Step.TUNNEL and self.peer is not None:
            self.peer.shut()
        self._give_back()

    def _give_back(self) -> None:
        """The client may send more of what was passed on."""
        if self.owed and not self.paused and self.host is not None:
            owed, self.owed = self.owed, 0
            self.host.streams.session.consumed(self.number, owed)
            self.host.stir()

    def resume(self) -> None:
        """Read again, first what came meanwhile."""
        super().resume()
        if self.unread:
            data, self.unread = self.unread, b""
            self.received(data)
        self._give_back()

    # ---- what goes to the client ----

    def answer(self, head: ResponseHead) -> bytes:
        """See `Exchange.answer`: the head goes as HEADERS, nothing of it before the body."""
        super().answer(head)
        if self.host is not None:
            none = head.length == 0 or self.method == b"HEAD"
            self.host.streams.session.send_headers(self.number, response_fields(head.status, head.raw), none)
            self.fin_sent = none
            self.host.stir()
        return b""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response."""
        self.held = b""
        self.changes += 1
        if head.status == 100:
            self.expects = False
        if self.host is not None:
            self.host.streams.session.send_headers(self.number, response_fields(head.status, head.raw), False)
            self.host.stir()

    def switch(self, head: ResponseHead) -> bool:
        """See `Exchange.switch`: to the client a tunnel is a 200 (RFC 8441 section 5)."""
        upstream, host = self.peer, self.host
        if not self.upgrade or not head.upgrade or self.step is not Step.WAIT or upstream is None or host is None:
            return False
        self.step = MOVES[Event.SWITCH][self.step]
        self.meters.codes[1].inc()
        self.held = b""
        if self.record is not None:
            self.record.status = head.status
            self.record.received += len(self.inbox)
        told = {b"sec-websocket-accept", b"connection", b"upgrade"}
        fields = [field for field in response_fields(200, head.raw) if field[0] not in told]
        host.streams.session.send_headers(self.number, fields, False)
        if self.inbox:
            upstream.send(self.inbox)
            self.inbox = b""
        if self.eof:
            upstream.shut()
        self.resume()
        self.wake(self.due())
        host.stir()
        return True

    def trailers(self, section: bytes) -> None:
        """See `Exchange.trailers`."""
        self.trailing = trailer_fields(section)

    def _say(self, status: int, detail: str, *, keep: bool, text: str, fields: str) -> None:
        if self.host is None:
            return
        whole = reply(status, detail, head_only=False, minor=1, keep=True, text=text, fields=fields)
        head, _, body = whole.partition(b"\r\n\r\n")
        none = self.method == b"HEAD" or not body
        self.host.streams.session.send_headers(self.number, response_fields(status, head), none)
        self.fin_sent = none
        self.host.stir()
        if not none:
            self.send(body)

    def flush(self, write: Write, now: float) -> None:
        """Give what was sent to the session; then the end, if that is next."""
        host = self.host
        if host is None:
            return
        out = self.outbox
        over = self.shutting and not self.fin_sent
        if out or over:
            self.outbox = b""
            self.changes += 1
            self.active = now
            session = host.streams.session
            last = over and not self.trailing
            room = session.send_body(self.number, bytes(out), last) if out or last else True
            if over:
                self.fin_sent = True
                if self.trailing:
                    session.send_trailers(self.number, self.trailing)
            host.stir()
            if out and not over and (not room or host.clogged):
                self.clogged = True
        if self.shutting and self.fin_sent and host is self.host:
            self.finished()

    def writable(self) -> None:
        """All of it is on its way."""
        if self.clogged:
            self.clogged = False
            self.changes += 1
            self.drained()

    # ---- its end ----

    def finished(self) -> None:
        """The response is complete. A request that is not is of no interest any more (RFC 9113 section 8.1)."""
        host = self.host
        if self.step is Step.TUNNEL and self.peer is not None and not self.peer.fin_sent:
            return  # the client may go on
        if self.step is Step.TUNNEL and self.peer is not None:
            upstream = self.peer
            self.part()
            upstream.close()
        if host is not None:
            self._leave_host()
            host.streams.done(self, NO_ERROR)
            host.changes += 1
            host.stir()

    def break_off(self, *, bare: bool) -> None:
        """See `Ending.break_off`: nobody may take it for complete."""
        super().break_off(bare=True)

    def close(self) -> None:
        """End now: what was sent and has not left goes, too."""
        self._end(CANCEL)

    def reset(self) -> None:
        """The same: something went wrong."""
        self._end(INTERNAL_ERROR)

    def _end(self, code: int) -> None:
        host = self.host
        if host is not None:
            self.over()
            self._leave_host()
            host.streams.done(self, code)
            host.changes += 1
            host.stir()

    def gone(self) -> None:
        """The client reset it, or the connection ended."""
        if self.host is not None:
            self.over()
            self._leave_host()
            self.failed(0)

    def _leave_host(self) -> None:
        self.host, self.fd, self.alarm = None, -1, inf

    def attached(self) -> None:
        """It is no connection of the listener: its host counts."""

    def detached(self) -> None:
        """The same."""

    def due(self) -> float:
        """None once it is over."""
        return inf if self.host is None else super().due()

    # ---- the value ----

    def saved(self, now: float) -> ExchangeState:
        """See `proxy.http2.state.ExchangeState`."""
        trailing = tuple(self.trailing)
        return ExchangeState(self.serial, self.number, self.owed, self.unread, trailing, self.save(now))

    def load_from(self, saved: ExchangeState, now: float, places: Places) -> None:
        """The counterpart."""
        self.load(saved.exchange, now, places)
        self.tail = self.tail.replace(b"Via: 1.1 ", b"Via: 2 ")
        self.owed, self.unread, self.trailing = saved.owed, saved.unread, list(saved.trailing)

    @property
    def anchor(self) -> Http2Downstream | Http2Exchange:
        """See `Connection.anchor`."""
        return self if self.host is None else self.host
