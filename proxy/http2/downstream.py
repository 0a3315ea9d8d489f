"""HTTP/2, the client's side: one connection, and an exchange for each of its streams (`proxy.http2.streams`).

    bytes --> Session --> Streams --> Http2Exchange --> upstream
      ^          |
      `-- take --'   at the end of the batch, whatever the streams sent

A stream is an exchange as HTTP/1.1 has it. They have serials, alarms and a place in the reactor's flush like
connections, but no descriptor; in a handover they are a part of this value.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.connection import HIGH
from proxy.http2.state import DownstreamState
from proxy.http2.streams import Streams
from proxy.sides import Downstream
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.calls import Calls
    from proxy.connection import Connection
    from proxy.plane import Places, Plane

LOOK: Final = 5.0
"""Seconds between two looks for streams that do not move."""
LAST_WORDS: Final = 2.0
"""Seconds for a client to answer our GOAWAY, and then to go."""
MOST_UNREAD: Final = HIGH + (1 << 22)
"""Bytes that may wait for a client. Bodies stop at HIGH; heads and acknowledgements have no flow control."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DownstreamState).decode


class Http2Downstream(Downstream):
    """A client connection."""

    __slots__ = ("checked", "deadline", "leaving", "speaks", "streams")

    kind: ClassVar[str] = "http2.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.streams = Streams(self)
        self.leaving = False
        """GOAWAY was sent: no further streams, but for those that are on their way."""
        self.deadline = inf
        """Of the preface, or of the end."""
        self.checked = plane.now
        """When streams that do not move were last looked for. Derived."""
        self.speaks = False
        """It has its turn at the end of the batch. Derived: no batch is open in a handover."""

    # ---- the transport ----

    def begin(self) -> None:
        """The preface is due within the header timeout."""
        self.deadline = self.plane.now + self.listener.config.header_timeout
        self.wake(self.deadline)
        session = self.streams.session
        session.begin()
        self.stir()

    def received(self, data: bytes) -> None:
        """Bytes of frames."""
        session = self.streams.session
        session.received(data, self.plane.now)
        self.stir()

    def later(self) -> None:
        """`stir` at the end of the batch, once for all streams: 2 us less for each of twenty that are answered."""
        if not self.speaks:
            self.speaks = True
            self.plane.unflushed.append(self)

    def flush(self, calls: Calls, now: float) -> None:
        """The end of a batch."""
        if self.speaks:
            self.speaks = False
            if self.fd >= 0:
                self.stir()
        super().flush(calls, now)

    def stir(self) -> None:
        """Write what the session has to say by now; at the end, end."""
        streams = self.streams
        if streams.closing:
            streams.close_those_done(self.plane.now)
        session = streams.session
        said = session.take()
        if said:
            self.send(said)
            if len(self.outbox) > MOST_UNREAD:
                self.wake(self.plane.now)  # not now: a stream may be in the middle of something
        if session.queued:
            self.wake(self.checked + LOOK)
        if self.leaving and session.leaving == 2 and not streams:
            self.end()

    def end(self) -> None:
        """Everything was said: FIN, and LAST_WORDS for the client to go."""
        session = self.streams.session
        said = session.take()
        if said:
            self.send(said)
        if not self.shutting:
            self.deadline = self.plane.now + LAST_WORDS
            self.shut()
            self.wake(self.deadline)

    def ended(self) -> None:
        """The client's FIN: nobody waits for an answer."""
        streams = self.streams
        streams.lose()
        self.close()

    def failed(self, errno: int) -> None:
        """The client is gone."""
        streams = self.streams
        streams.lose()

    def over(self) -> None:
        """What was under way ends with the connection."""
        for stream in self.streams.table.values():
            stream.over()

    def finished(self) -> None:
        """Our FIN went out."""
        if self.eof:
            self.close()

    def drained(self) -> None:
        """The client took what it was sent."""
        streams = self.streams
        streams.flow()

    def drain(self) -> None:
        """No further streams; those under way are finished."""
        self.leave()

    def leave(self) -> None:
        """Tell the client to go elsewhere, and take what is on its way (RFC 9113 section 6.8)."""
        if not self.leaving:
            self.leaving = True
            self.changes += 1
            self.deadline = self.plane.now + LAST_WORDS
            self.wake(self.deadline)
            session = self.streams.session
            session.shut_down()
            self.stir()

    def detached(self) -> None:
        """It is gone, and its streams with it."""
        super().detached()
        for stream in self.streams.table.values():
            self.plane.unhost(stream)

    # ---- deadlines ----

    def due(self) -> float:
        """The preface, the end, or idleness; and a look at streams that may not move."""
        streams = self.streams
        if len(self.outbox) > MOST_UNREAD:
            return self.plane.now
        look = self.checked + LOOK if streams.session.queued else inf
        if self.deadline != inf or streams:
            return min(self.deadline, look, min(streams.closing.values(), default=inf))
        return min(self.active + self.listener.config.keepalive_timeout, look)

    def expired(self, now: float) -> None:
        """It is idle, or does not go, or does not read; or streams may not move."""
        streams = self.streams
        if len(self.outbox) > MOST_UNREAD:
            streams.lose()  # to pause instead could make two proxies wait for each other
            self.reset()
            return
        if min(streams.closing.values(), default=inf) <= now:
            self.stir()
            return
        session = streams.session
        if session.queued and now >= self.checked + LOOK:
            self.checked = now
            session.check(now)
            self.stir()
        if self.closed or (now < self.deadline and self.deadline != inf):
            return
        if self.shutting or (self.deadline != inf and not self.leaving):
            self.close()
        elif self.leaving:
            self.deadline = inf
            session.shut_down()  # the client does not answer: what comes from now on is not taken
            self.stir()
        elif not streams:
            self.leave()

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.http2.state.DownstreamState`."""
        streams = self.streams
        return _encode(
            DownstreamState(
                self.transport(now),
                self.listener.name,
                self.listener.address,
                self.remote,
                streams.session.save(now),
                streams.save(now),
                tuple(streams.closing),
                self.leaving,
                streams.requests,
                remaining(self.deadline, now),
                self.introduced,
                self.destination,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, "http1")
        self.load_transport(saved.transport, now, places)
        self.remote, self.leaving, self.deadline = saved.remote, saved.leaving, deadline(saved.deadline, now)
        self.introduced, self.destination, self.server_name = saved.introduced, saved.destination, ""
        self.streams.requests = saved.requests
        streams = self.streams
        streams.load(saved.session, saved.streams, now, places)
        streams.load_closing(saved.closing, now)

    def dropped(self, places: Places) -> None:
        """A copy that is not wanted any more."""
        for stream in self.streams.table.values():
            places.unhosted(stream)

    def bonds(self) -> tuple[Connection, ...]:
        """The connections to endpoints that serve its streams, and mirrors."""
        return tuple([one for stream in self.streams.table.values() for one in stream.bonds()])

    def in_flight(self) -> int:
        """Requests under way."""
        return sum([stream.in_flight() for stream in self.streams.table.values()])

    def describe(self) -> dict[str, Any]:
        """With its streams."""
        table = self.streams.table
        under_way = [
            {"stream": number, "step": stream.step.name.lower(), "method": stream.method.decode()}
            for number, stream in list(table.items())[:8]
        ]
        about = {"requests": self.streams.requests, "streams": len(table), "under_way": under_way}
        return {**super().describe(), **about}
