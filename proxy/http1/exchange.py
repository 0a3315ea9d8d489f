"""One exchange of a client connection: from a complete request to the end of its response.

    IDLE/HEAD --request--> (DIAL) --> SEND/WAIT --response--> BOTH/REPLY --> IDLE | DISCARD | LINGER

`Http1Downstream` reads requests and calls `_dispatch`; the `Http1Upstream` that got the request calls `answer`,
`interim`, `switch`, `complete`, `lost`, `bad_gateway`, `break_off` and `try_next`. Moves: `proxy.http1.states`.

* One exchange a connection at a time. Pipelined requests wait as bytes in `inbox`, bounded by pausing the client.
* A request waits in `held` while its upstream is dialled; its body stays unread. It remains there as long as it
  may be sent again: not a byte of the response came, and no body went out apart from it.
* How it ends, whichever way: `proxy.http1.ending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.connection import HIGH
from proxy.http1.ending import Ending
from proxy.http1.forward import interim_head, response_head
from proxy.http1.head import IDEMPOTENT
from proxy.http1.message import UNTIL_CLOSE
from proxy.http1.states import MOVES, Event, Step
from proxy.http1.upstream import Http1Upstream
from proxy.proxy_protocol.sending import introduced_to

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol

    from proxy.endpoint import Endpoint
    from proxy.http1.message import ResponseHead

    class Calls(Protocol):
        """How requests go to endpoints that speak HTTP/2: `proxy.http2.upstream.Http2Upstream`."""

        def has_room(self, endpoint: Endpoint) -> bool:
            """A request needs no new connection."""

        def call(self, exchange: Exchange, endpoint: Endpoint) -> Http1Upstream:
            """It is this exchange's `peer`; `uses` tells whether it may be sent something at once."""


MAX_PIPELINED: Final = HIGH
"""Bytes kept unparsed behind the request under way before the client is paused."""

IDLE, HEAD, DIAL, SEND, WAIT = Step.IDLE, Step.HEAD, Step.DIAL, Step.SEND, Step.WAIT
DISCARD, LINGER, DELAY = Step.DISCARD, Step.LINGER, Step.DELAY
_SENT, _RESPONSE = MOVES[Event.SENT], MOVES[Event.RESPONSE]
REQUEST: Final = Event.REQUEST  # CPython 3.11 looks a member up in its enum at every access: 50 ns


class Exchange(Ending):
    """What a client connection asks of its upstream connection, and what that tells it."""

    __slots__ = ()

    sealed: Collection[bytes] = ()
    """Names of fields of the request that no table of HTTP/2 may hold."""
    called: bool = False
    """It is a call of gRPC, whose status comes in trailers."""

    # ---- the request ----

    def _dispatch(self, event: Event) -> None:
        """Send `held` on an idle connection of the pool, or dial one; answer 503 or 504 if no endpoint is left.

        A request that was LOST goes on a fresh connection: another idle one may be as dead as the first.
        """
        cluster, terms = self.cluster, self.terms
        endpoint = cluster.pick(self.tried, () if terms is None else terms.subset)
        if cluster.personal and endpoint is not None:
            endpoint = endpoint.seen_by(self)
        if endpoint is None:
            status = 504 if self.timed_out else 503
            self.step = MOVES[event][self.step]
            self._reply(status, f"no endpoint could be reached{cluster.switch.wishes.blame()}", late=self.timed_out)
            return
        if cluster.http2 and self.listener.calls is not None:
            self._call(event, endpoint, self.listener.calls)
            return
        pool = endpoint.pool
        upstream: Http1Upstream | None = None
        any_idle = event is REQUEST
        if any_idle and cluster.announces is not None:
            upstream = introduced_to(pool, cluster, self)  # type: ignore[assignment]  # see below
            any_idle = False
            if upstream is not None and not endpoint.mix.settled:
                upstream = upstream if cluster.switch.admits(upstream, self.plane.now) else None
        if upstream is not None:
            pool.discard(upstream)
        elif any_idle:  # an http1 listener's pools hold nothing else
            settled = endpoint.mix.settled
            idle = pool.acquire() if settled else cluster.switch.acquire(endpoint, self.plane.now)
            upstream = idle  # type: ignore[assignment]
        if cluster.limits is not None:
            excess = cluster.limits.admit(self, dials=upstream is None)
            if excess:
                if upstream is not None:
                    pool.restore(upstream, idle=True)
                self.step = MOVES[event][self.step]
                self._reply(503, excess)
                return
        if upstream is not None:
            upstream.take(self)
            self._send_held(upstream)
            return
        self.step = MOVES[event][self.step]
        self.touch()
        Http1Upstream(self.plane).dial_for(self, endpoint, cluster.config.connect_timeout)

    def _call(self, event: Event, endpoint: Endpoint, calls: Calls) -> None:
        """The same for endpoints that speak HTTP/2: on a connection that all share."""
        cluster = self.cluster
        if cluster.limits is not None:
            excess = cluster.limits.admit(self, dials=not calls.has_room(endpoint))
            if excess:
                self.step = MOVES[event][self.step]
                self._reply(503, excess)
                return
        upstream = calls.call(self, endpoint)
        self.step = MOVES[event][self.step]
        if not upstream.uses:
            self.touch()
        elif event is REQUEST:
            self._send_held(upstream)
        else:
            self.dialled(upstream)

    def _send_held(self, upstream: Http1Upstream) -> None:
        held = self.held
        if upstream.outbox or len(held) > HIGH:
            upstream.send(held)
        else:  # `send` spelled out: 0.1 us
            upstream.outbox = held
            self.plane.unflushed.append(upstream)
        if self.record is not None:
            self.record.endpoint = upstream.endpoint.name
        if self.left:
            self.step = MOVES[Event.SENT_HEAD][self.step]
            self.wake(self.due())
        else:
            self._sent()
        if self.method not in IDEMPOTENT and not upstream.may_refuse:
            self.held = b""

    def _sent(self) -> None:
        """The request is complete: from now on the upstream is due to answer."""
        self.step = step = _SENT[self.step]
        if step is WAIT:
            plane = self.plane
            timeout = self.cluster.request_timeout if self.terms is None else self.terms.request_timeout
            self.deadline = when = plane.now + timeout
            if when < self.alarm:  # `wake` spelled out, as at the end of each response: 0.2 us in all
                plane.wake(self, when)

    def dialled(self, upstream: Http1Upstream) -> None:
        """The connection for `held` is there."""
        self.changes += 1
        self._send_held(upstream)
        if self.left:
            self._proceed()
            if self.left and self.eof:
                self.ended()

    def try_next(self, failed: str, *, timed_out: bool) -> None:
        """The endpoint of that name could not be connected to: nothing was sent, so another may get it."""
        self.tried = (*self.tried, failed)
        self.timed_out = timed_out
        self._dispatch(Event.LOST)
        if self.peer is None:
            self._proceed()

    def lost(self) -> None:
        """The upstream connection ended before a byte of the response: send it again if that is safe."""
        again = self.attempts < (self.terms or self.cluster.config).retries
        if self.held and self.method in IDEMPOTENT and again and self.cluster.may_retry(self):
            self.attempts += 1
            self._dispatch(Event.LOST)
            if self.peer is not None:
                self.cluster.meters.retries.inc()
        else:
            self._reply(502, "the upstream closed the connection without an answer")
        if self.peer is None:
            self._proceed()

    def refused(self) -> None:
        """It was refused before anything was looked at: send it again, whatever it is.

        By TLS, then in plaintext; or a stream of HTTP/2. That is one attempt that does not count, but not more.
        """
        spent = self.attempts > (self.terms or self.cluster.config).retries
        if spent or not self.held:  # its body was read meanwhile
            self.lost()
            return
        self.attempts += 1
        self._dispatch(Event.LOST)
        if self.peer is None:
            self._proceed()

    def _overdue(self, now: float) -> None:
        """No byte of the response came in time."""
        if self.peer is not None and self.step is Step.WAIT:
            self.peer.endpoint.overdue(now)
        self._reply(504, "the upstream did not answer in time", late=True)
        self._proceed()

    @property
    def waiting(self) -> bool:
        """See `proxy.limits.Claimant`."""
        return self.step is DIAL and self.fd >= 0

    @property
    def retrying(self) -> bool:
        """See `proxy.limits.Claimant`."""
        return self.attempts > 0 and self.step in {DIAL, SEND, WAIT} and self.fd >= 0

    # ---- deadlines ----

    def due(self) -> float:
        """The deadline of the step, and max_duration while an exchange or a tunnel is under way."""
        step = self.step
        config = self.listener.config
        upstream = self.peer
        if step is WAIT and not (upstream is not None and upstream.inbox):  # not a byte of the response yet
            return min(self.deadline, self.expires)
        if step is IDLE:
            return self.active + config.keepalive_timeout if self.requests else self.deadline
        if step is HEAD or step is DELAY:
            return self.deadline
        if step is DIAL:
            return self.expires  # the dial has a deadline of its own
        if step is DISCARD:
            return self.active + config.body_timeout
        if step is LINGER:
            return self.deadline if self.fin_sent else self.active + config.body_timeout
        if step is SEND and not self._upstream_is_slow:
            return min(self.active + config.body_timeout, self.expires)
        silent_since = self.active if upstream is None else max(self.active, upstream.active)
        return min(silent_since + (self.terms or self.cluster.config).idle_timeout, self.expires)

    @property
    def _upstream_is_slow(self) -> bool:
        """In SEND: the client waits for the upstream, not the other way round."""
        return self.paused or self.expects

    # ---- the response ----

    def answer(self, head: ResponseHead) -> bytes:
        """The final response's head, as it goes to this client."""
        ends_it = head.length < 0 and (head.length == UNTIL_CLOSE or not self.minor)  # only our FIN will tell its end
        listener = self.listener
        if ends_it or listener.draining or self.expects or (self.eof and not self.inbox):
            self.keep = False
        self.held = b""
        listener.answered += 1
        status = head.status
        self.tally(self.meters.codes[status // 100], 1)  # told before a byte of it is written
        if status >= 500:
            listener.failed += 1
        if self.record is not None:
            self.record.status = status
        self.step = _RESPONSE[self.step]
        self.changes += 1
        return response_head(head, self.minor, self.keep)

    def conceal(self, names: Sequence[bytes]) -> None:
        """Fields of the response that no table of HTTP/2 may hold (RFC 7541 section 6.2.3)."""

    def trailers(self, section: bytes) -> None:
        """The trailer section of the response; nobody who speaks HTTP/1.0 can be told."""

    def filter_response(self, head: ResponseHead) -> None:
        """Have filters edit the final response's head. 500 as `BadMessage` if one of them fails."""
        raise NotImplementedError

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response. HTTP/1.0 knows none."""
        self.held = b""
        self.changes += 1
        if head.status == 100:
            self.expects = False
        if self.minor:
            self.send(interim_head(head))

    def switch(self, head: ResponseHead) -> bool:
        """101: the connection becomes a tunnel, if the client asked for one and its request is complete."""
        if not self.upgrade or not head.upgrade or self.step is not Step.WAIT or self.peer is None:
            return False
        self.step = MOVES[Event.SWITCH][self.step]
        self.tally(self.meters.codes[1], 1)
        self.held = b""
        if self.record is not None:
            self.record.status = head.status
            self.record.received += len(self.inbox)
        self.send(interim_head(head))
        if self.inbox:
            self.peer.send(self.inbox)
            self.inbox = b""
        if self.eof:
            self.peer.shut()
        self.resume()
        self.wake(self.due())
        return True

    def bad_gateway(self, detail: str, status: int = 502) -> None:
        """The upstream's answer is none; nothing of it was forwarded."""
        self._reply(status, detail)
        self._proceed()

    def _abort(self) -> None:
        """Break the response off ourselves."""
        upstream = self.peer
        if upstream is not None:
            bare = upstream.bare
            upstream.drop()
            self.break_off(bare=bare)
