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
from typing import TYPE_CHECKING, ClassVar

from proxy.accesslog.record import OF_HTTP2
from proxy.http1.downstream import Http1Downstream
from proxy.http1.errors import BadMessage
from proxy.http1.replies import reply
from proxy.http1.states import ASKED, MOVES, UNDER_WAY, Event, Step
from proxy.http2.errors import CANCEL, INTERNAL_ERROR, NO_ERROR
from proxy.http2.grpc import DEADLINE_EXCEEDED, UNAVAILABLE, about, failure, only_answer, status_of
from proxy.http2.sealing import seal, sealed_of
from proxy.http2.state import ExchangeState
from proxy.http2.stream import EMPTY
from proxy.http2.text import answer_fields, chunk, last_chunk, request_head, request_text, trailer_fields
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.calls import Calls
    from proxy.http1.filtered import Passage
    from proxy.http1.message import RequestHead, ResponseHead
    from proxy.http2.downstream import Http2Downstream
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field
    from proxy.plane import Places, Plane

LAST, TUNNEL, WAIT = MOVES[Event.LAST], Step.TUNNEL, Step.WAIT


class Http2Exchange(Http1Downstream):
    """A stream that a client opened."""

    __slots__ = ("called", "concealed", "host", "number", "owed", "sealed", "trailing", "unread", "until")

    kind: ClassVar[str] = "http2.stream"

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.host: Http2Downstream | None = None
        """The connection; None once it is over."""
        self.number = 0
        """The id of the stream."""
        self.owed = 0
        """Bytes of its window that the client gets back when they are passed on."""
        self.unread = EMPTY
        """What came while it was paused."""
        self.trailing: Sequence[Field] = ()
        """The trailers of its response."""
        self.sealed: tuple[bytes, ...] = ()
        self.concealed: tuple[bytes, ...] = ()
        """Names of fields of the response that no table may hold."""
        self.called = False
        """It is a call of gRPC, so that what we say ourselves is said in its way."""
        self.until = inf
        """When its client gives up, as it told us."""

    # ---- what comes from the client ----

    def open(self, head: Head, ended: bool) -> None:
        """The request's head."""
        listener = self.listener
        self.began = self.plane.now
        self.sealed, self.called, patience = about(head)
        if patience is not None:
            self.until = self.plane.now + patience
            self.wake(self.until)
        try:
            if listener.filters is None:
                self._serve(request_head(head, listener.max_headers, ended), b"")
            else:
                self.meters = listener.meters.unrouted
                self._filter(request_text(head, ended), b"")
        except BadMessage as why:
            self.meters = listener.meters.unrouted
            self._reply(why.status, why.reason, keep=False)

    def _serve(self, head: RequestHead, data: bytes, passage: Passage | None = None) -> bytes:
        head.minor, head.keep = 0, False
        return super()._serve(head, data, passage)

    def body(self, piece: bytes, end: bool) -> None:
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
        self.sealed += sealed_of(trailers)
        if self.chunks is not None:
            self._arrived(last_chunk(trailers))

    def _arrived(self, data: bytes) -> None:
        if self.paused:
            self.unread = self.unread or bytearray()  # its own
            self.unread += data
        elif data:
            self.active = self.plane.now
            self.received(data)
        self._shut_tunnel()
        self._give_back()

    def _shut_tunnel(self) -> None:
        if self.eof and not self.unread and self.step is TUNNEL and self.peer is not None:
            self.peer.shut()

    def _give_back(self) -> None:
        """The client may send more of what was passed on."""
        host = self.host
        if self.owed and not self.paused and host is not None:
            owed, self.owed = self.owed, 0
            host.streams.session.consumed(self.number, owed)
            host.stir()

    def resume(self) -> None:
        """Read again, first what came meanwhile."""
        super().resume()
        if self.unread:
            data, self.unread = bytes(self.unread), EMPTY
            self.received(data)
            self._shut_tunnel()
        self._give_back()

    # ---- what goes to the client ----

    def answer(self, head: ResponseHead) -> bytes:
        """See `Exchange.answer`: the head goes as HEADERS, nothing of it before the body."""
        super().answer(head)
        host = self.host
        if host is not None:
            none = head.length == 0 or self.method == b"HEAD"
            session = host.streams.session
            # A filter may edit the text and not the status, so that the one does not stand for the other.
            plain = self.listener.filters is None and not (self.concealed or self.called)
            key = head.raw if plain else b""
            if not session.send_again(self.number, key, none):
                fields = answer_fields(head.status, head.raw, self.concealed, self.called)
                session.send_headers(self.number, fields, none, key)
            self.fin_sent = none
            host.later()
        return b""

    def complete(self) -> None:
        """See `Ending.complete`. Nearly all requests came whole, and there is nothing to wait for: done at once.

        The way by `shut` and the flush, as of a connection that lingers, takes 4 us more.
        """
        host = self.host
        if host is None or self.left or self.paused or self.unread or self.owed or self.trailing or self.copies:
            super().complete()
            return
        if self.record is not None:
            self.write_record("ok")
        self.meters.durations.observe(self.plane.now - self.began)
        out, self.outbox = self.outbox, b""
        host.streams.session.send_body(self.number, out if isinstance(out, bytes) else bytes(out), True)
        self.shutting = self.fin_sent = True
        self.step = LAST[self.step]
        self.finished()

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response."""
        self.held = b""
        self.changes += 1
        if head.status == 100:
            self.expects = False
        self._tell(answer_fields(head.status, head.raw, self.concealed, False), False)

    def _tell(self, fields: list[Field], end: bool) -> None:
        """HEADERS, at once."""
        host = self.host
        if host is not None:
            session = host.streams.session
            session.send_headers(self.number, fields, end)
            host.stir()

    def switch(self, head: ResponseHead) -> bool:
        """See `Exchange.switch`: to the client a tunnel is a 200 (RFC 8441 section 5)."""
        upstream = self.peer
        if not self.upgrade or not head.upgrade or self.step is not WAIT or upstream is None or self.host is None:
            return False
        self.step = MOVES[Event.SWITCH][self.step]
        self.tally(self.meters.codes[1], 1)
        self.held = b""
        if self.record is not None:
            self.record.status = head.status
            self.record.received += len(self.inbox)
        told = {b"sec-websocket-accept", b"connection", b"upgrade"}
        fields = answer_fields(200, head.raw, self.concealed, False)
        self._tell([field for field in fields if field[0] not in told], False)
        if self.inbox:
            upstream.send(self.inbox)
            self.inbox = b""
        if self.eof:
            upstream.shut()
        self.resume()
        self.wake(self.due())
        return True

    def conceal(self, names: Sequence[bytes]) -> None:
        """See `Exchange.conceal`."""
        self.concealed = (*self.concealed, *names)
        self.changes += 1

    def trailers(self, section: bytes) -> None:
        """See `Exchange.trailers`."""
        self.trailing = trailer_fields(section, self.concealed)

    def _say(self, status: int, detail: str, *, keep: bool, text: str, fields: str) -> None:
        if self.host is None:
            return
        if self.called:
            late = status == 504 and (self.step in ASKED or self.plane.now >= self.until)
            self.fin_sent = True
            self._tell(only_answer(status_of(status, late=late), text or detail), True)
            return
        whole = reply(status, detail, head_only=False, minor=1, keep=True, text=text, fields=fields)
        head, _, body = whole.partition(b"\r\n\r\n")
        none = self.method == b"HEAD" or not body
        self.fin_sent = none
        self._tell(answer_fields(status, head, (), False), none)
        if not none:
            self.send(body)

    def flush(self, calls: Calls, now: float) -> None:
        """Give what was sent to the session; then the end, if that is next."""
        host = self.host
        if host is None:
            return
        out, over = self.outbox, self.shutting and not self.fin_sent
        if out or over:
            self.outbox = b""
            self.changes += 1
            self.active = now
            session = host.streams.session
            last = over and not self.trailing
            piece = out if isinstance(out, bytes) else bytes(out)
            room = session.send_body(self.number, piece, last) if out or last else True
            if over:
                self.fin_sent = True
                if self.trailing:
                    session.send_trailers(self.number, self.trailing)
                host.later()
            else:
                host.stir()
                if out and (not room or host.clogged):
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

    def write_record(self, outcome: str) -> None:
        """See `Ending.write_record`: to others it is of HTTP/1.0, to people it is not."""
        if self.record is not None:
            self.record.minor = OF_HTTP2
        super().write_record(outcome)

    def finished(self) -> None:
        """The response is complete. A request that is not is of no interest any more (RFC 9113 section 8.1)."""
        host, upstream = self.host, self.peer
        if self.step is TUNNEL and upstream is not None:
            if not upstream.fin_sent:
                return  # the client may go on
            self.part()
            upstream.close()
        if host is not None:
            self._leave_host()
            host.streams.done(self, NO_ERROR)
            host.later()

    def break_off(self, *, bare: bool) -> None:
        """See `Ending.break_off`: nobody may take it for complete. A client of gRPC is told by a status."""
        if self.called:
            late = self.plane.now >= self.until
            why = "the deadline passed" if late else "the upstream broke off its answer"
            self.trailing = failure(DEADLINE_EXCEEDED if late else UNAVAILABLE, why)
        super().break_off(bare=not self.called)

    def close(self) -> None:
        """End now: what was sent and has not left goes, too. But of a tunnel that ended both ways, it goes its way."""
        self._end(NO_ERROR if self.fin_sent and self.eof else CANCEL)

    def reset(self) -> None:
        """The same: something went wrong."""
        self._end(INTERNAL_ERROR)

    def _end(self, code: int) -> None:
        host = self.host
        if host is not None:
            self.over()
            self._leave_host()
            host.streams.done(self, code)
            host.stir()

    def gone(self) -> None:
        """The client reset it, or the connection ended."""
        if self.host is not None:
            self.over()
            self._leave_host()
            self.failed(0)

    def _leave_host(self) -> None:
        host = self.host
        if self.owed and host is not None:
            host.streams.session.consumed(self.number, self.owed)
        self.host, self.fd, self.alarm = None, -1, inf

    def attached(self) -> None:
        """It is no connection of the listener: its host counts."""

    def detached(self) -> None:
        """The same."""

    def due(self) -> float:
        """None once it is over. A call of gRPC ends when its client gives up, and may be silent until then."""
        if self.host is None:
            return inf
        when = super().due()
        if not self.called:
            return when
        step = self.step
        if step is WAIT and self.until != inf and not (self.peer is not None and self.peer.inbox):
            when = self.expires
        elif step is Step.SEND:
            idle = (self.terms or self.cluster.config).idle_timeout
            heard = self.active if self.peer is None else max(self.active, self.peer.active)
            when = min(heard + idle, self.expires)
        return min(when, self.until) if step in UNDER_WAY else when

    def expired(self, now: float) -> None:
        """See `Http1Downstream`; a call that sends nothing for long is no upload that is too slow."""
        if self.called and self.step in ASKED:
            self._overdue(now)
        elif self.step is Step.DELAY and now >= self.until:
            self._reply(504, "the deadline passed", keep=False, late=True)
        else:
            super().expired(now)

    # ---- the value ----

    def saved(self, now: float) -> ExchangeState:
        """See `proxy.http2.state.ExchangeState`."""
        return ExchangeState(
            self.serial,
            self.number,
            self.owed,
            bytes(self.unread),
            tuple([(name, value) for name, value in self.trailing]),
            self.save(now),
            self.sealed,
            self.concealed,
            self.called,
            remaining(self.until, now),
        )

    def load_from(self, saved: ExchangeState, now: float, places: Places) -> None:
        """The counterpart."""
        tail = self.tail  # of its connection; what `load` makes of it is that of another protocol
        self.load(saved.exchange, now, places)
        self.tail = tail
        self.owed, self.unread = saved.owed, bytearray(saved.unread)
        self.sealed, self.concealed = saved.sealed, saved.concealed
        self.trailing = seal(list(saved.trailing), saved.concealed)
        self.called, self.until = saved.called, deadline(saved.until, now)

    @property
    def anchor(self) -> Http2Downstream | Http2Exchange:
        """See `Connection.anchor`."""
        return self if self.host is None else self.host
