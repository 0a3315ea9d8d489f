"""The streams of a client connection: the owner of its session (`proxy.http2.owner`), and a table of exchanges.

    Session --headers, body, trailers, cut--> Streams --> Http2Exchange
            <--send_headers, send_body, consumed--------------'

What a stream is to the rest of the proxy: `proxy.http2.exchange`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.guests import HOSTED
from proxy.http1 import forward
from proxy.http2.budget import Limits
from proxy.http2.errors import NO_ERROR
from proxy.http2.exchange import Http2Exchange
from proxy.http2.owner import Owner
from proxy.http2.session import Session
from proxy.http2.settings import Settings
from proxy.http2.stream import LOCAL_ENDED

if TYPE_CHECKING:
    from proxy.http2.downstream import Http2Downstream
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field
    from proxy.http2.session import SessionState
    from proxy.http2.state import ExchangeState
    from proxy.plane import Places

LIMITS: Final = Limits()
MOMENT: Final = 0.05
"""Seconds between an answer that came before its request was complete, and the end of that."""


class Streams(Owner):
    """Those of one connection, its `host`."""

    __slots__ = ("closing", "host", "requests", "session", "table", "tail")

    def __init__(self, host: Http2Downstream) -> None:
        self.host = host
        self.session = Session(self, Settings(connect=True), LIMITS, server=True)
        self.table: dict[int, Http2Exchange] = {}
        """By their ids."""
        self.closing: dict[int, float] = {}
        """Those whose answer is complete, and their request perhaps is not; when they are reset, inf: not known yet."""
        self.requests = 0
        self.tail = b""
        """What we add to the heads of this client's requests. Derived."""

    def __bool__(self) -> bool:
        return bool(self.table or self.closing)

    # ---- the session's owner ----

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        """A request."""
        host = self.host
        self.requests += 1
        host.deadline = inf
        stream = Http2Exchange.__new__(Http2Exchange)  # for C: 0.2 us less than to call the class
        stream.fresh(host.plane)
        self._seat(stream, stream_id)
        host.plane.host(stream)
        if host.listener.draining:
            host.leave()
        stream.open(head, end)

    def _seat(self, stream: Http2Exchange, number: int) -> None:
        host = self.host
        stream.host, stream.number, stream.fd = host, number, HOSTED
        stream.listener, stream.remote = host.listener, host.remote
        stream.introduced, stream.destination, stream.server_name = host.introduced, host.destination, ""
        if not self.tail:
            tail = forward.request_tail(host.remote, secure=host.tls is not None)
            self.tail = tail.replace(b"Via: 1.1 ", b"Via: 2 ")
        stream.tail = self.tail
        self.table[number] = stream

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        """A piece of a request's body."""
        stream = self.table.get(stream_id)
        if stream is not None:
            stream.body(piece, end)
        else:
            session = self.session
            session.consumed(stream_id, len(piece))

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        """A request's end."""
        stream = self.table.get(stream_id)
        if stream is not None:
            stream.ended_by(fields)

    def reset(self, stream_id: int, code: int) -> None:
        """The client, or the session, gave a stream up. To the other side that is the same, whatever the `code`."""
        self.closing.pop(stream_id, None)
        stream = self.table.pop(stream_id, None)
        if stream is not None:
            host = self.host
            host.plane.unhost(stream)
            host.changes += 1
            stream.gone()

    def refused(self, stream_id: int, status: int) -> None:
        """The session answered a request that never became one."""
        host = self.host
        listener = host.listener
        listener.answered += 1
        host.tally(listener.meters.unrouted.codes[status // 100], 1)

    def writable(self, stream_id: int) -> None:
        """All of a stream is on its way."""
        stream = self.table.get(stream_id)
        if stream is not None and not self.host.clogged:
            stream.writable()

    def settled(self) -> None:
        """The client's settings concern the session alone."""

    def pong(self) -> None:
        """We ask nobody."""

    def goaway(self, last: int, code: int) -> None:
        """The client opens no further streams; it will close when it has its answers."""

    def broken(self, code: int, reason: str) -> None:
        """The client broke the protocol. GOAWAY says so, and that is the end of the connection."""
        host = self.host
        host.tally(host.listener.meters.unrouted.codes[4], 1)
        self.closing.clear()
        self.lose()
        host.end()

    # ---- for the connection ----

    def done(self, stream: Http2Exchange, code: int) -> None:
        """A stream is over on our side; with NO_ERROR its answer is complete, though perhaps not sent."""
        number, session, host = stream.number, self.session, self.host
        self.table.pop(number, None)
        host.plane.unhost(stream)
        host.changes += 1
        if code != NO_ERROR:
            session.reset(number, code)
        elif number in session.streams:
            self.closing[number] = inf

    def close_those_done(self, now: float) -> None:
        """A request whose answer is sent is of no interest any more (RFC 9113 section 8.1).

        It is reset a moment later: curl 7.88 knows nothing of an answer that comes in one read with RST_STREAM.
        """
        host, session = self.host, self.session
        for number, until in list(self.closing.items()):
            stream = session.streams.get(number)
            if stream is None or until <= now:
                del self.closing[number]
                session.reset(number, NO_ERROR)
            elif until == inf and stream.flags & LOCAL_ENDED:
                self.closing[number] = now + MOMENT
                host.wake(now + MOMENT)

    def lose(self) -> None:
        """The client is gone, and nobody wants the answers."""
        table, self.table = self.table, {}
        for stream in table.values():
            self.host.plane.unhost(stream)
            stream.gone()

    def flow(self) -> None:
        """The client took what it was sent: there is room for those that had to wait for that."""
        for stream in list(self.table.values()):
            waiting = self.session.streams.get(stream.number)
            if waiting is None or not waiting.queue:
                stream.writable()

    # ---- the value ----

    def save(self, now: float) -> tuple[ExchangeState, ...]:
        """Those under way."""
        return tuple([stream.saved(now) for stream in self.table.values()])

    def load(self, session: SessionState, streams: tuple[ExchangeState, ...], now: float, places: Places) -> None:
        """The counterpart, over whatever an earlier round brought."""
        self.session = Session.load(session, self, LIMITS, now)
        before, self.table = self.table, {}
        for saved in streams:
            stream = before.pop(saved.number, None)
            known = stream is not None and stream.serial == saved.serial
            if stream is not None and not known:
                places.unhosted(stream)
            if stream is None or not known:
                stream = Http2Exchange(self.host.plane)
                stream.serial = saved.serial
            self._seat(stream, saved.number)
            stream.load_from(saved, now, places)
            if not known:
                places.hosted(stream)
            stream.wake(stream.due())
        for stream in before.values():
            places.unhosted(stream)

    def load_closing(self, numbers: tuple[int, ...], now: float) -> None:
        """Those of an answer that is complete; when they are reset follows from their streams."""
        open_still = {one.id for one in self.session.streams.values() if not one.flags & LOCAL_ENDED}
        self.closing = {number: inf if number in open_still else now + MOMENT for number in numbers}
