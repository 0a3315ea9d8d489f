"""Protocol ``http1``, the endpoint's side: one request at a time, and the response cut out of the stream.

    HEAD --head--> BODY --end of the response--> the pool of its endpoint, see `proxy.http1.pooled`

It reads the response for the exchange that it was taken for (`peer`), forwards it there as it comes, and goes
back to the pool of its endpoint. It closes itself when its upstream does, or sends what nobody asked for.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.errors import CannotRestore
from hotswap.swappable import Schema
from proxy.bulk import ENDLESS
from proxy.connection import HIGH
from proxy.encryption.reasons import ENDED, TOO_SLOW, UNASKED
from proxy.http1.download import MAX_FIELDS, MAX_HEAD
from proxy.http1.errors import BadMessage
from proxy.http1.message import UNTIL_CLOSE
from proxy.http1.parser import find_end, parse_response
from proxy.http1.pooled import Pooled
from proxy.http1.state import UpstreamState, load_chunks, save_chunks
from proxy.http1.states import Step, Use
from proxy.octets import cut
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.http1.exchange import Exchange
    from proxy.plane import Places, Plane

DIAL, IDLE, HEAD, BODY, TUNNEL = Use.DIAL, Use.IDLE, Use.HEAD, Use.BODY, Use.TUNNEL
REPLY: Final = Step.REPLY

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UpstreamState).decode


class Http1Upstream(Pooled):
    """A connection to an endpoint."""

    __slots__ = ("answered", "inbox", "scanned")

    kind: ClassVar[str] = "http1.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.inbox = b""  # a part of a response head
        self.scanned = 0  # bytes of `inbox` known to hold no end of a head. Derived
        self.answered = False  # an interim response came: the request is not sent again

    @property
    def may_refuse(self) -> bool:
        """What it is sent may come back, and nobody looked at it: see `Exchange.refused`."""
        return self.tls is not None and self.tls.unheard

    # ---- what comes from the upstream ----

    def received(self, data: bytes) -> None:
        """Bytes of a response, or of a tunnel; others are a reason to close."""
        use = self.use
        if use is HEAD:
            self._take_head(self.inbox + data if self.inbox else data)
        elif use is BODY:
            self._take_body(data)
        elif use is TUNNEL:
            self._pass_on(data)
        elif self.spare:
            self._unfit(UNASKED)
        else:
            self.close()

    def _pass_on(self, data: bytes) -> None:
        exchange = self.peer
        if exchange is not None and exchange.record is not None:
            exchange.record.sent += len(data)
        super().received(data)

    def ahead(self) -> int:
        """In a body, or in a tunnel."""
        if self.use is BODY:
            return super().ahead()
        return ENDLESS if self.use is TUNNEL else 0

    def carried(self, size: int) -> None:
        """See `Relay`."""
        if self.use is BODY:
            super().carried(size)
            return
        exchange = self.peer
        if exchange is not None and exchange.record is not None:
            exchange.record.sent += size
        self.passed += size

    def _take_head(self, data: bytes) -> None:
        exchange = self.peer
        if exchange is None:
            self.close()
            return
        while True:
            try:
                end = find_end(data, self.scanned, MAX_HEAD)
                if end < 0:
                    self.inbox = data
                    self.scanned = len(data)
                    return
                head = parse_response(cut(data, 0, end), exchange.method, MAX_FIELDS)
                status = head.status
                if status >= 200 and exchange.listener.filters is not None:
                    exchange.filter_response(head)
            except BadMessage as why:
                self._fail(f"the upstream's response is malformed: {why.reason}", why.status)
                return
            self.scanned = 0
            self.inbox = b""
            if status >= 200:
                break
            data = data[end + 4 :]
            if status == 101:
                self._switch(exchange, exchange.switch(head), data)
                return
            self.answered = True
            exchange.interim(head)
            if exchange.clogged:
                self.pause()
            if not data:
                return
        start = end + 4
        length = head.length
        endpoint = self.endpoint
        self.tally((endpoint.meters.codes or endpoint.meters.http())[status // 100], 1)
        watch = endpoint.watch
        if watch is not None:
            watch.answered(self.plane.now, error=status >= 500)
        text = exchange.answer(head)
        there = len(data) - start
        if 0 <= length <= there:  # the whole response is here
            self.keep = head.keep and length == there
            text += cut(data, start, start + length)
            if exchange.outbox or len(text) > HIGH:
                exchange.send(text)
            else:  # `send` spelled out: 0.1 us
                exchange.outbox = text
                self.plane.unflushed.append(exchange)
            if exchange.record is not None:
                exchange.record.sent += length
            self._complete(exchange)
            return
        exchange.send(text)
        self.use = BODY
        self.keep = head.keep
        self._begin_body(length)
        exchange.wake(exchange.due())
        if there:
            self._take_body(data[start:])

    def _switch(self, exchange: Exchange, agreed: bool, data: bytes) -> None:
        if not agreed:
            self._fail("the upstream switched protocols without being asked")
            return
        self.tally((self.endpoint.meters.codes or self.endpoint.meters.http())[1], 1)
        self.use = TUNNEL
        self.recount()
        if data:
            self._pass_on(data)

    def _complete(self, exchange: Exchange) -> None:
        """The end of the response: back to the pool if nothing is left over on either side."""
        keep = self.keep and exchange.step is REPLY and not self.outbox and not self.eof
        exchange.peer = self.peer = None  # `_part` spelled out; `complete` counts the change
        endpoint, plane = self.endpoint, self.plane
        endpoint.meters.durations.observe(plane.now - self.since)
        self.counted = False
        endpoint.end()
        self.answered = False
        self.left = 0
        pool = endpoint.pool
        if keep and not endpoint.mix.settled and endpoint.cluster.switch.leaves(self, plane.now):
            self.retire()
        elif keep and not plane.draining and pool.release(self):
            self.use = IDLE
            if self.paused:
                self.resume()
            when = plane.now + pool.keepalive
            if when < self.alarm:
                plane.wake(self, when)
        else:
            self.close()
        exchange.complete()

    def _fail(self, detail: str, status: int = 502) -> None:
        exchange = self.peer
        self.drop()
        if exchange is not None:
            exchange.bad_gateway("a filter failed" if status == 500 else detail, 500 if status == 500 else 502)

    # ---- the transport ----

    def connected(self) -> None:
        """Send the request."""
        exchange = self.peer
        self.deadline = inf
        self.endpoint.connected(secure=self.tls is not None)
        if self.spare:
            self._there()
            return
        if exchange is None:
            self.close()
            return
        self.use = HEAD
        self.uses += 1
        self.since = self.plane.now
        exchange.dialled(self)

    def connect_failed(self, errno: int) -> None:
        """Let the exchange try another endpoint. Nobody waits for a successor."""
        exchange = self.peer
        if self.spare:
            return
        self.endpoint.unreachable(self.plane.now)
        self._part()
        if exchange is not None:
            exchange.try_next(self.endpoint.name, timed_out=False)

    def ended(self) -> None:
        """The upstream's FIN: the end of a response that has no other, the loss of any other."""
        if self.use is TUNNEL:
            super().ended()
        else:
            self._gone(fin=True)

    def failed(self, errno: int) -> None:
        """The upstream is gone."""
        if self.use is TUNNEL:
            super().failed(errno)
        else:
            self._gone(fin=False)

    def _gone(self, *, fin: bool) -> None:
        exchange = self.peer
        if self.spare:
            self._unfit(ENDED)
            return
        if self.refused() and exchange is not None:
            self.drop()
            exchange.refused()
            return
        if exchange is not None and not (fin and self.left == UNTIL_CLOSE):
            self.endpoint.lost(self.plane.now)
        if exchange is None:
            self.close()
        elif self.use is BODY:
            if fin and self.left == UNTIL_CLOSE:
                self.keep = False
                tls = self.tls
                if tls is not None:
                    tls.pass_on(exchange)
                self._complete(exchange)
            else:
                self._break_off(exchange)
        elif self.inbox or self.answered:
            self._fail("the upstream closed the connection within its answer")
        else:
            self.drop()
            exchange.lost()

    def drained(self) -> None:
        """The upstream took what it was sent: read the request body, or the tunnel, again."""
        if self.peer is not None:
            self.peer.resume()

    def finished(self) -> None:
        """Our FIN went out; only a tunnel sends one."""
        if self.use is TUNNEL:
            super().finished()

    # ---- deadlines ----

    def due(self) -> float:
        """The end of the dial, or of idleness. An exchange has its own deadlines."""
        if self.use is IDLE:
            return self.active + self.endpoint.pool.keepalive
        return self.deadline

    def expired(self, now: float) -> None:
        """Give up the dial, or the idle connection."""
        exchange = self.peer
        if self.spare and not self.connecting:
            self._succeeds()
            return
        if self.use is DIAL and self.plane.in_plaintext(self, TOO_SLOW):
            return
        if self.use is DIAL and not self.spare:
            self.endpoint.unreachable(now, late=True)
        self.drop()
        if exchange is not None:
            exchange.try_next(self.endpoint.name, timed_out=True)

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.http1.state.UpstreamState`."""
        endpoint = self.endpoint
        return _encode(
            UpstreamState(
                self.transport(now),
                endpoint.cluster.name,
                endpoint.key,
                self.use,
                self.inbox,
                self.uses,
                remaining(self.deadline, now),
                self.keep,
                self.answered,
                self.left,
                save_chunks(self.chunks),
                self.announced,
                0.0 if self.use is IDLE else now - self.since,
                self.spare,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        endpoint = places.endpoint(saved.cluster, saved.endpoint)
        self.endpoint = endpoint
        self.load_announced(saved.announced)
        if endpoint.source and not endpoint.cluster.config.transparent_source:
            raise CannotRestore("it comes from a client's address, and its cluster has no transparent_source any more")
        self.load_transport(saved.transport, now, places)
        self.use = saved.use
        self.inbox, self.scanned = saved.inbox, 0
        self.uses = saved.uses
        self.deadline = deadline(saved.deadline, now)
        self.keep = saved.keep
        self.answered = saved.answered
        self.left = saved.left
        self.since = now - saved.age
        self.spare = saved.spare
        self.chunks = load_chunks(saved.chunks)
        self._count(in_use=self.use is not IDLE and not self.spare)
        endpoint.pool.restore(self, idle=self.use is IDLE)

    def describe(self) -> dict[str, Any]:
        """With its endpoint and what it is used for."""
        return {
            **super().describe(),
            "cluster": self.endpoint.cluster.name,
            "endpoint": self.endpoint.name,
            "use": self.use.name.lower(),
            "requests": self.uses,
        }
