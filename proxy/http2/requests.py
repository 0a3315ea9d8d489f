"""The requests that share a connection to an endpoint: the owner of its session, and who waits for a stream.

    seat --room?--> begins --flush--> open, a number --answers--> left
          `-------> waiting --somebody left, or settings came--> turn

What a request is to the rest of the proxy: `proxy.http2.call`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.guests import HOSTED
from proxy.http2.budget import Limits
from proxy.http2.call import Http2Call
from proxy.http2.errors import CANCEL, NO_ERROR, REFUSED_STREAM, name_of
from proxy.http2.outgoing import SETTINGS
from proxy.http2.owner import Owner
from proxy.http2.session import Session
from proxy.http2.settings import Settings
from proxy.http2.stream import LOCAL_ENDED

if TYPE_CHECKING:
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field
    from proxy.http2.living import Living
    from proxy.http2.session import SessionState
    from proxy.http2.state import CallState
    from proxy.plane import Places

LIMITS: Final = Limits()
WINDOW: Final = 1 << 28
"""Bytes of all streams together that a server may send before they are passed on: 2048 of them at their limit, since
they are those of many clients, and who does not read must not keep the others waiting."""
CLOSING: Final = 5.0
"""Seconds for a server to end a stream whose response was complete by its Content-Length."""


class Requests(Owner):
    """Those of one connection, its `host`."""

    __slots__ = ("closing", "host", "lively", "seated", "session", "table", "waiting")

    def __init__(self, host: Living) -> None:
        self.host = host
        self.session = Session(self, Settings(connection=WINDOW), LIMITS, server=False)
        self.seated: dict[int, Http2Call] = {}
        """All, by serial."""
        self.table: dict[int, Http2Call] = {}
        """Those whose head was sent, by the id of the stream."""
        self.waiting: dict[int, Http2Call] = {}
        """Those that wait for a stream, by serial, in turn."""
        self.closing: dict[int, float] = {}
        """Streams whose response is complete, though they have not ended; until when they may take."""
        self.lively = False
        """Something but the echo of a heartbeat came since the last one."""

    # ---- seats ----

    def is_told(self) -> bool:
        """The server's settings are known."""
        return self.session.expecting != SETTINGS

    def has_room(self) -> bool:
        """For one more."""
        session = self.session
        return len(self.seated) + len(self.closing) < session.theirs.streams and not session.is_spent()

    def seat(self, call: Http2Call) -> None:
        """It may begin at once, or waits."""
        host = self.host
        room = self.has_room() and host.is_ready()
        self.seated[call.serial] = call
        host.changes += 1
        if room:
            call.begins()
            host.busy()
        else:
            self.wait(call)

    def wait(self, call: Http2Call) -> None:
        """Until somebody leaves, or settings come. While the connection is made, its dial has the deadline."""
        self.waiting[call.serial] = call
        host = self.host
        host.changes += 1
        if host.is_ready() and call.deadline == inf:
            call.deadline = host.plane.now + host.endpoint.cluster.config.connect_timeout
            call.wake(call.deadline)

    def serve(self) -> None:
        """Those that waited, as far as there is room."""
        session = self.session
        begun = len(self.seated) - len(self.waiting) + len(self.closing)
        room = session.theirs.streams - begun  # not all of these have their stream yet
        for call in list(self.waiting.values()):
            if room <= 0 or session.is_spent():
                if call.deadline == inf:
                    self.wait(call)
                continue
            room -= 1
            del self.waiting[call.serial]
            self.host.changes += 1
            call.turn()

    def open(self, call: Http2Call) -> int:
        """The id of its stream; 0 if there is none at the moment."""
        session, host = self.session, self.host
        number = session.open()
        if number:
            self.table[number] = call
            call.deadline = inf
            self.waiting.pop(call.serial, None)
            host.changes += 1
            if session.is_spent():
                host.exhausted()
        return number

    def left(self, call: Http2Call, code: int) -> None:
        """It needs its stream no longer; with NO_ERROR it got all, and sent all."""
        session, number, host = self.session, call.number, self.host
        if call.owed:
            session.consumed(number, call.owed)
        self.forget(call)
        stream = session.streams.get(number)
        if stream is not None and code == NO_ERROR and stream.flags & LOCAL_ENDED:
            until = host.plane.now + CLOSING
            self.closing[number] = until
            host.wake(until)
        elif stream is not None:
            session.reset(number, CANCEL)  # perhaps with some of it still waiting for the window
        host.vacated()

    def forget(self, call: Http2Call) -> None:
        """It is gone, and so is its stream."""
        self.seated.pop(call.serial, None)
        self.waiting.pop(call.serial, None)
        self.table.pop(call.number, None)
        host = self.host
        host.plane.unhost(call)
        host.changes += 1

    def lose(self, *, untouched: bool) -> None:
        """The connection is gone."""
        for call in list(self.seated.values()):
            call.lost(untouched=untouched or not call.number)

    def disappoint(self, *, late: bool) -> None:
        """The connection could not be made."""
        for call in list(self.seated.values()):
            call.not_there(late=late)

    def flow(self) -> None:
        """The server took what it was sent: there is room for those that had to wait for that."""
        for call in list(self.table.values()):
            stream = self.session.streams.get(call.number)
            if stream is None or not stream.queue:
                call.writable()

    def close_late(self, now: float) -> None:
        """Streams that should have ended."""
        host, session = self.host, self.session
        for number in [number for number, until in self.closing.items() if until <= now]:
            del self.closing[number]
            session.reset(number, NO_ERROR)
            host.vacated()
            host.stir()

    # ---- the session's owner ----

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        """A response."""
        self.lively = True
        call = self.table.get(stream_id)
        if call is not None:
            call.headed(head, end)
        if end:
            self._ended(stream_id)

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        """A piece of a response's body."""
        self.lively = True
        call = self.table.get(stream_id)
        if call is not None:
            call.body(piece, end)
        else:
            session = self.session
            session.consumed(stream_id, len(piece))
        if end:
            self._ended(stream_id)

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        """A response's end."""
        self.lively = True
        call = self.table.get(stream_id)
        if call is not None:
            call.ended_by(fields)
        self._ended(stream_id)

    def _ended(self, stream_id: int) -> None:
        if self.closing.pop(stream_id, None) is not None:
            host = self.host
            host.vacated()

    def reset(self, stream_id: int, code: int) -> None:
        """The server gave a stream up, or the session did for what it sent."""
        self._ended(stream_id)
        call = self.table.get(stream_id)
        if call is not None:
            call.lost(untouched=code == REFUSED_STREAM)
            host = self.host
            host.vacated()

    def refused(self, stream_id: int, status: int) -> None:
        """Servers ask us nothing."""

    def writable(self, stream_id: int) -> None:
        """All of a stream is on its way."""
        call = self.table.get(stream_id)
        if call is not None and not self.host.clogged:
            call.writable()

    def settled(self) -> None:
        """There may be more room, or less."""
        host = self.host
        host.settled()

    def pong(self) -> None:
        """It lives."""
        host = self.host
        host.pong()

    def goaway(self, last: int, code: int) -> None:
        """No further streams; those beyond `last` are reset next."""
        host = self.host
        host.told_to_go(name_of(code))

    def broken(self, code: int, reason: str) -> None:
        """The server broke the protocol. GOAWAY says so, and that is the end of the connection."""
        host = self.host
        host.broke(f"{name_of(code)}: {reason}")

    # ---- the value ----

    def save(self, now: float) -> tuple[CallState, ...]:
        """Those under way."""
        return tuple([call.saved(now) for call in self.seated.values()])

    def load(self, session: SessionState, calls: tuple[CallState, ...], now: float, places: Places) -> None:
        """The counterpart, over whatever an earlier round brought."""
        host = self.host
        self.session = Session.load(session, self, LIMITS, now)
        before, self.seated = self.seated, {}
        self.table, self.waiting = {}, {}
        for saved in calls:
            call = before.pop(saved.serial, None)
            known = call is not None
            if call is None:
                call = Http2Call(host.plane)
                call.serial = saved.serial
            call.host, call.fd = host, HOSTED
            call.load_from(saved, now, places)
            self.seated[saved.serial] = call
            if saved.number:
                self.table[saved.number] = call
            if saved.waits:
                self.waiting[saved.serial] = call
            if not known:
                places.hosted(call)
            call.wake(call.due())
        for call in before.values():
            self._drop(call, places)

    def drop(self, places: Places) -> None:
        """The copies are not wanted any more."""
        for call in self.seated.values():
            self._drop(call, places)

    @staticmethod
    def _drop(call: Http2Call, places: Places) -> None:
        places.unhosted(call)
        call.gone()
