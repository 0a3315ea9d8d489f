"""Protocol ``http1``, the client's side: cuts the stream into requests, and watches the deadlines.

    bytes --> head --> route --> Exchange._dispatch --> Http1Upstream
      |                                                     ^
      `-----> body, as it comes ----------------------------'

A client's FIN after a complete request is a half-close: it gets its response, then the connection ends.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.accesslog.record import load_record, save_record
from proxy.http1 import forward
from proxy.http1.ending import LINGER_TIME
from proxy.http1.errors import BadMessage
from proxy.http1.exchange import MAX_PIPELINED, REQUEST
from proxy.http1.forward import request_head
from proxy.http1.head import without_empty_lines
from proxy.http1.parser import find_end, parse_request
from proxy.http1.state import DownstreamState, load_chunks, save_chunks
from proxy.http1.states import MOVES, UNDER_WAY, Event, Step
from proxy.http1.upload import Upload
from proxy.http2.frame import PREFACE
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.http1.filtered import Passage
    from proxy.http1.message import RequestHead
    from proxy.plane import Places

MAX_REPEATABLE: Final = 65536
"""Bytes of a body that is sent in one piece with its head, and kept with it to be sent again."""

IDLE, HEAD, DIAL, SEND, WAIT = Step.IDLE, Step.HEAD, Step.DIAL, Step.SEND, Step.WAIT
BOTH, REPLY, DISCARD, TUNNEL, LINGER = Step.BOTH, Step.REPLY, Step.DISCARD, Step.TUNNEL, Step.LINGER
DELAY = Step.DELAY
_WITH_CLUSTER: Final = UNDER_WAY - {DELAY} | {TUNNEL}

REQUEST_IDS = forward.RequestIds()
"""Those of this process."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DownstreamState).decode


class Http1Downstream(Upload):
    """A client connection."""

    __slots__ = ()

    kind: ClassVar[str] = "http1.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    # ---- what comes from the client ----

    def begin(self) -> None:
        """The first head is due within the header timeout."""
        self.meters = self.listener.meters.unrouted
        self.tail = forward.request_tail(self.remote, secure=self.tls is not None)
        self.deadline = self.plane.now + self.listener.config.header_timeout
        self.wake(self.deadline)

    def received(self, data: bytes) -> None:
        """Bytes of a head, of a body, of a later request or of a tunnel."""
        step = self.step
        if step is IDLE or step is HEAD:
            self._take(self.inbox + data if self.inbox else data)
        elif step is SEND or step is BOTH or step is DISCARD:
            rest = self._take_body(data)
            if rest:
                self._take(rest)
        elif step is TUNNEL:
            if self.record is not None:
                self.record.received += len(data)
            super().received(data)
        elif step is not LINGER:
            self._keep(self.inbox + data)

    def _proceed(self) -> None:
        data = self.inbox
        self.inbox = b""
        self.resume()
        if self.left:
            data = self._take_body(data)
        if self.step is IDLE or data:
            self._take(data)

    def _keep(self, data: bytes) -> None:
        """Leave bytes for later; what would make them grow without bound is paused."""
        self.inbox = data
        if len(data) > MAX_PIPELINED:
            self.pause()

    def _take(self, data: bytes) -> None:
        """Read requests from ``data`` until one is under way, or no complete one is left."""
        listener = self.listener
        if listener.http2 is not None and not self.requests and PREFACE.startswith(data[: len(PREFACE)]):
            if len(data) >= len(PREFACE):
                self.plane.changes_over(self, data)
            else:
                self._await_head(data)
            return
        while data and (self.step is IDLE or self.step is HEAD) and not self.clogged:
            self.method = b""
            self.minor = 1
            try:
                if data[0] < 0x20 and data[0] in b"\r\n":
                    data = without_empty_lines(data)
                    if data == b"\r":
                        self._await_head(data)
                        return
                    if not data:
                        self.step = MOVES[Event.NOTHING][self.step]
                    continue
                end = find_end(data, self.scanned, listener.max_header_bytes)
                if end < 0:
                    self._await_head(data)
                    return
                self.began = self.plane.now
                if listener.filters is None:
                    rest = data[end + 4 :] if len(data) > end + 4 else b""
                    data = self._serve(parse_request(data[:end], listener.max_headers), rest)
                else:
                    data = self._filter(data[:end], data[end + 4 :])
            except BadMessage as why:
                self.meters = listener.meters.unrouted
                self._reply(why.status, why.reason, keep=False)
                return
        if self.step is LINGER:
            return
        self.scanned = 0
        if data:
            self._keep(data)
            return
        self.inbox = data
        if self.eof and self.step is IDLE:
            self._last()

    def _await_head(self, data: bytes) -> None:
        self.inbox = data
        self.scanned = len(data)
        if self.step is IDLE:
            self.deadline = self.plane.now + self.listener.config.header_timeout
            self.wake(self.deadline)
        self.step = MOVES[Event.PART][self.step]
        if self.eof:
            self._last()

    def _serve(self, head: RequestHead, data: bytes, passage: Passage | None = None) -> bytes:
        """Begin an exchange; ``data`` is what follows the head. Returns what follows the request."""
        self.inbox = b""
        self.scanned = 0
        self.method = head.method
        self.minor = head.minor
        self.keep = head.keep
        self.attempts = 0
        self.tried = ()
        self.timed_out = False
        self.requests += 1
        listener = self.listener
        if listener.access_log is not None and self.record is None:
            self.record = listener.access_log.request(head, self.plane.now)
        if head.length:
            self._begin_body(head)
        route = None
        if passage is not None:
            route = passage.route
            if passage.verdict is not None:
                self.meters = listener.meters.unrouted if route is None else route.meters
                self._refuse(passage.verdict)
                return self._take_body(data) if self.left else data
        if route is None:
            routes = listener.routes
            route = routes.known.get((head.host, head.path)) or routes.find(head.host, head.path, head.lines)
        if route is None:
            self.step = MOVES[REQUEST][self.step]
            self.meters = listener.meters.unrouted
            self._reply(404, "no route matches")
            return self._take_body(data) if self.left else data
        self.meters = route.meters
        name = route.cluster if route.split is None else route.split.next()
        self.cluster = cluster = listener.clusters[name]
        self.terms = None if route.plain else route.terms(cluster.config)
        if cluster.max_duration != inf:
            self.expires = self.plane.now + cluster.max_duration
            self.wake(self.expires)
        self.upgrade = False
        if head.upgrade:
            head.upgrade = forward.tunnel_protocol(head.upgrade)
            self.upgrade = bool(head.upgrade)
        self.held = request_head(head, self.tail, self.remote, REQUEST_IDS, name)
        if self.record is not None:
            self.record.cluster = name
            self.record.request_id = self.record.request_id or forward.request_id(self.held)
        if 0 < self.left <= len(data) and self.left <= MAX_REPEATABLE:
            if self.record is not None:
                self.record.received = self.left
            self.held += data[: self.left]
            data = data[self.left :]
            self.left = 0
            self.expects = False
        if passage is not None and passage.wishes:
            self._copy(passage.wishes)
        self._dispatch(REQUEST)
        return self._take_body(data) if self.left and self.step is not DIAL else data

    # ---- the transport ----

    def ended(self) -> None:
        """The client's FIN: the end of everything but of an answer it still waits for."""
        if self.step is TUNNEL:
            super().ended()
        elif self.step is LINGER:
            if self.fin_sent:
                self.close()
        elif self.step is SEND:
            self._drop_upstream()
            self.close()
        elif self.step is BOTH:
            self._abort()
        elif self.step in {HEAD, DISCARD} or (self.step is IDLE and not self.inbox):
            self._leave()

    def _leave(self) -> None:
        """Nothing is under way: end as soon as the client took what it was sent."""
        if self.flushed:
            self.close()
        else:
            self._last()

    def failed(self, errno: int) -> None:
        """The client is gone, and nobody wants the response."""
        if self.step is TUNNEL:
            super().failed(errno)
        else:
            self._drop_upstream()

    def drained(self) -> None:
        """The client took what it was sent: let the response flow, or take its next request."""
        upstream = self.peer
        if upstream is not None:
            upstream.resume()
        elif self.step is IDLE:
            self._proceed()

    def finished(self) -> None:
        """Our FIN went out."""
        if self.step is TUNNEL:
            super().finished()
        elif self.eof:
            self.close()
        else:
            self.deadline = self.plane.now + LINGER_TIME
            self.wake(self.deadline)

    def drain(self) -> None:
        """End now if idle, otherwise after the response under way. One that has asked nothing yet may ask once."""
        if self.step is REPLY or self.step is BOTH:  # whatever its head said
            self.keep, self.changes = False, self.changes + 1
        elif self.step is IDLE and not self.inbox and self.requests:
            self._leave()

    # ---- deadlines ----

    def expired(self, now: float) -> None:
        """Answer 408 or 504 where no response began, else end without a word."""
        step = self.step
        if step is HEAD:
            self.meters = self.listener.meters.unrouted
            self._reply(408, "the request head did not come in time", keep=False, late=True)
        elif step is SEND and not self._upstream_is_slow and now < self.expires:
            self._reply(408, "the request body did not come in time", keep=False, late=True)
        elif step is DIAL or step is WAIT or step is SEND:
            self._overdue(now)
        elif step is DELAY:
            self._go_on()
        elif step is TUNNEL:
            upstream = self.peer
            if upstream is not None:
                self.part()
                upstream.close()
            self.close()
        elif step is BOTH or step is REPLY:
            self._abort()
        else:
            self.close()

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.http1.state.DownstreamState`."""
        under_way = self.step is not IDLE
        return _encode(
            DownstreamState(
                self.transport(now),
                self.listener.name,
                self.listener.address,
                self.remote,
                self.step,
                self.inbox,
                self.requests,
                remaining(self.deadline, now),
                remaining(self.expires, now),
                self.method,
                self.minor,
                self.keep,
                self.expects,
                self.upgrade,
                self.left,
                save_chunks(self.chunks),
                self.cluster.name if self.step in _WITH_CLUSTER else "",
                self.held,
                self.attempts,
                self.tried,
                self.timed_out,
                self.spendable,
                save_record(self.record, now),
                (self.filtered, self.notes) if self.notes or self.step is DELAY else None,
                self.terms,
                (self.wishes, tuple(one.serial for one in self.copies)) if self.wishes or self.copies else None,
                self.lane,
                self.introduced,
                self.destination,
                self.meters.name if under_way else "",
                now - self.began if under_way else 0.0,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, "http1")
        if saved.cluster:
            self.cluster = places.cluster(saved.cluster)
            self.cluster.claim(self)
        self.load_transport(saved.transport, now, places)
        self.remote = saved.remote
        self.tail = forward.request_tail(saved.remote, secure=self.tls is not None)
        self.step = saved.step
        self.inbox = saved.inbox
        self.scanned = 0
        self.requests = saved.requests
        self.deadline = deadline(saved.deadline, now)
        self.expires = deadline(saved.expires, now)
        self.method, self.minor, self.keep = saved.method, saved.minor, saved.keep
        self.expects, self.upgrade, self.left = saved.expects, saved.upgrade, saved.left
        self.chunks = load_chunks(saved.chunks)
        self.held = saved.held
        self.attempts = saved.attempts
        self.tried = saved.tried
        self.timed_out = saved.timed_out
        self.spendable = saved.spendable
        self.record = load_record(saved.record, now)
        self.filtered, self.notes = saved.passage or (0, {})
        self.terms, self.lane = saved.terms, saved.lane
        self.introduced, self.destination, self.server_name = saved.introduced, saved.destination, ""
        self.meters, self.began = self.listener.meters.route(saved.route), now - saved.age
        self.wishes, copies = saved.copying or ((), ())
        self.copies = tuple(places.expect(self, copies).values())  # type: ignore[arg-type]  # mirrors, all of them

    def in_flight(self) -> int:
        """One while a request is under way; a tunnel is none."""
        return 1 if self.step in UNDER_WAY else 0

    def describe(self) -> dict[str, Any]:
        """With the step, and where the request under way goes."""
        about = {**super().describe(), "step": self.step.name.lower(), "requests": self.requests}
        if self.step in _WITH_CLUSTER:
            about |= {"cluster": self.cluster.name, "method": self.method.decode()}
        return about
