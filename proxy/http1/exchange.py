"""One exchange of a client connection: from a complete request to the end of its response.

    IDLE/HEAD --request--> (DIAL) --> SEND/WAIT --response--> BOTH/REPLY --> IDLE | DISCARD | LINGER

`Http1Downstream` reads requests and calls `_dispatch`; the `Http1Upstream` that got the request calls `answer`,
`interim`, `switch`, `complete`, `lost`, `bad_gateway`, `break_off` and `try_next`. Moves: `proxy.http1.states`.

* One exchange a connection at a time. Pipelined requests wait as bytes in `inbox`, bounded by pausing the client.
* A request waits in `held` while its upstream is dialled; its body stays unread. It remains there as long as it
  may be sent again: not a byte of the response came, and no body went out apart from it.
* A broken response is never made to look complete: one that states its length is cut short by a FIN, one
  that ends with the connection by a RST.
* After a last response comes a FIN, and what the client still sends is dropped for LINGER_TIME: closing at once
  would answer those bytes by a reset, which can overtake the response (RFC 9112 section 9.6).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.accesslog.record import Record
from proxy.connection import HIGH
from proxy.http1 import forward
from proxy.http1.head import IDEMPOTENT, UNTIL_CLOSE
from proxy.http1.replies import reply
from proxy.http1.states import MOVES, Event, Step
from proxy.http1.upstream import Http1Upstream
from proxy.proxy_protocol.sending import abandon, introduced_to
from proxy.relay import Relay
from proxy.sides import Downstream

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.filters.chain import Notes
    from proxy.http1.body import Chunks
    from proxy.http1.head import ResponseHead
    from proxy.plane import Plane
    from proxy.route import Terms

LINGER_TIME: Final = 2.0
"""Seconds that a client has to go once it was sent the last response and a FIN."""
MAX_PIPELINED: Final = HIGH
"""Bytes kept unparsed behind the request under way before the client is paused."""
MAX_DISCARD: Final = 262144
"""Bytes of a request body read and dropped after an early response, to keep the connection."""

IDLE, HEAD, DIAL, SEND, WAIT = Step.IDLE, Step.HEAD, Step.DIAL, Step.SEND, Step.WAIT
DISCARD, LINGER, DELAY = Step.DISCARD, Step.LINGER, Step.DELAY
_SENT, _RESPONSE, _COMPLETE = MOVES[Event.SENT], MOVES[Event.RESPONSE], MOVES[Event.COMPLETE]


class Exchange(Relay, Downstream):
    """The fields of a client connection, and what its upstream connection tells it. `Relay` serves the tunnel."""

    __slots__ = (
        "attempts",
        "chunks",
        "cluster",
        "deadline",
        "expects",
        "expires",
        "filtered",
        "held",
        "inbox",
        "keep",
        "left",
        "method",
        "minor",
        "notes",
        "record",
        "requests",
        "scanned",
        "spendable",
        "step",
        "tail",
        "terms",
        "timed_out",
        "tried",
        "upgrade",
    )

    peer: Http1Upstream | None
    cluster: Cluster
    """Where the request under way goes; meaningless in IDLE and HEAD."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.step = Step.IDLE
        self.inbox = b""
        """Bytes not yet parsed: a part of a head, pipelined requests, a body whose upstream is being dialled."""
        self.scanned = 0  # bytes of `inbox` known to hold no end of a head. Derived
        self.requests = 0
        self.deadline = inf
        """Of the step: HEAD the complete head, WAIT the first byte of the response, LINGER the end."""
        self.expires = inf  # the end of the cluster's max_duration for this exchange
        self.method = b""
        self.minor = 1  # the client's HTTP version is 1.`minor`
        self.keep = True  # the connection goes on after this exchange
        self.expects = False  # the client waits for 100 before it sends its body
        self.upgrade = False  # the client asked for a tunnel, and the upstream was told
        self.left = 0  # bytes of the request body still to come, or CHUNKED while `chunks` is not done
        self.chunks: Chunks | None = None
        self.held = b""  # the request as it goes upstream, as long as it may have to be sent (again)
        self.attempts = 0  # how often this request was lost with its upstream connection
        self.tried: tuple[str, ...] = ()  # endpoints that could not be connected to for this request
        self.terms: Terms | None = None  # what the route of this request says itself; else the cluster's settings hold
        self.timed_out = False
        """The last of these did not answer in time."""
        self.spendable = 0  # bytes that DISCARD may still read
        self.filtered = 0  # in DELAY: the filter that is next
        self.notes: Notes = {}
        """What filters remember of the request under way."""
        self.record: Record | None = None
        """Of the request under way, for the access log; None where none is kept."""
        self.tail = b""
        """What we add to its request heads. Derived from `remote`."""

    # ---- the request ----

    def _dispatch(self, event: Event) -> None:
        """Send `held` on an idle connection of the pool, or dial one; answer 503 or 504 if no endpoint is left.

        A request that was LOST goes on a fresh connection: another idle one may be as dead as the first.
        """
        cluster = self.cluster
        endpoint = cluster.pick(self.tried, self.terms.subset if self.terms is not None else ())
        if cluster.personal and endpoint is not None:
            endpoint = endpoint.seen_by(self)
        upstream: Http1Upstream | None = None
        announced = event is Event.REQUEST and cluster.announces is not None
        if announced and endpoint is not None:
            upstream = introduced_to(endpoint.pool, cluster, self)  # type: ignore[assignment]  # see below
        if endpoint is not None and cluster.limits is not None:
            found = upstream is not None if announced else event is Event.REQUEST and len(endpoint.pool) > 0
            excess = cluster.limits.admit(self, dials=not found)
            if excess:
                self.step = MOVES[event][self.step]
                self._reply(503, excess)
                return
        if endpoint is None:
            status = 504 if self.timed_out else 503
            self.step = MOVES[event][self.step]
            self._reply(status, "no endpoint could be reached")
            return
        if upstream is not None:
            endpoint.pool.discard(upstream)
        elif event is Event.REQUEST and not announced:  # an http1 listener's pools hold nothing else
            upstream = endpoint.pool.acquire()  # type: ignore[assignment]
        if upstream is not None:
            upstream.take(self)
            self._send_held(upstream)
            return
        self.step = MOVES[event][self.step]
        self.touch()
        Http1Upstream(self.plane).dial_for(self, endpoint, cluster.config.connect_timeout)

    def _send_held(self, upstream: Http1Upstream) -> None:
        upstream.send(self.held)
        if self.record is not None:
            self.record.endpoint = upstream.endpoint.name
        if self.left:
            self.step = MOVES[Event.SENT_HEAD][self.step]
            self.wake(self.due())
        else:
            self._sent()
        if self.method not in IDEMPOTENT:
            self.held = b""

    def _sent(self) -> None:
        """The request is complete: from now on the upstream is due to answer."""
        self.step = step = _SENT[self.step]
        if step is Step.WAIT:
            self.deadline = when = self.plane.now + (self.terms or self.cluster.config).request_timeout
            self.wake(when)

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
        else:
            self._reply(502, "the upstream closed the connection without an answer")
        if self.peer is None:
            self._proceed()

    def _overdue(self, now: float) -> None:
        """No byte of the response came in time."""
        if self.peer is not None and self.step is Step.WAIT:
            self.peer.endpoint.lost(now)
        self._reply(504, "the upstream did not answer in time")
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
        if ends_it or self.listener.draining or self.expects or (self.eof and not self.inbox):
            self.keep = False
        self.held = b""
        listener = self.listener
        listener.answered += 1
        if head.status >= 500:
            listener.failed += 1
        if self.record is not None:
            self.record.status = head.status
        self.step = _RESPONSE[self.step]
        self.changes += 1
        return forward.response_head(head, self.minor, self.keep)

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
            self.send(forward.interim_head(head))

    def switch(self, head: ResponseHead) -> bool:
        """101: the connection becomes a tunnel, if the client asked for one and its request is complete."""
        if not self.upgrade or not head.upgrade or self.step is not Step.WAIT or self.peer is None:
            return False
        self.step = MOVES[Event.SWITCH][self.step]
        self.held = b""
        if self.record is not None:
            self.record.status = head.status
            self.record.received += len(self.inbox)
        self.send(forward.interim_head(head))
        if self.inbox:
            self.peer.send(self.inbox)
            self.inbox = b""
        if self.eof:
            self.peer.shut()
        self.resume()
        self.wake(self.due())
        return True

    def complete(self) -> None:
        """The response is complete, `peer` is off already."""
        if self.record is not None:
            self.write_record("ok")
        self.changes += 1
        self.active = self.plane.now
        self.expires = inf
        if not self.keep or self.left > MAX_DISCARD:
            self._last()
            return
        if self.left:
            self._discard()
        else:
            self.step = _COMPLETE[self.step]
        self.wake(self.plane.now + self.listener.config.keepalive_timeout)
        if self.inbox or self.paused or self.eof:
            self._proceed()

    def bad_gateway(self, detail: str, status: int = 502) -> None:
        """The upstream's answer is none; nothing of it was forwarded."""
        self._reply(status, detail)
        self._proceed()

    def break_off(self, *, bare: bool) -> None:
        """The response cannot be completed. ``bare``: only the end of the connection would tell its end."""
        if self.record is not None:
            self.write_record("cut")
        self.changes += 1
        if bare:
            self.reset()
        else:
            self._last()

    def _abort(self) -> None:
        """Break the response off ourselves."""
        upstream = self.peer
        if upstream is not None:
            bare = upstream.bare
            upstream.drop()
            self.break_off(bare=bare)

    def _reply(self, status: int, detail: str, *, keep: bool = True, text: str = "", fields: str = "") -> None:
        """Answer ourselves. ``keep`` False if what follows in the stream cannot be trusted; ``text`` is the body."""
        self._drop_upstream()
        self.listener.answered += 1
        if status >= 500:
            self.listener.failed += 1
        if self.listener.access_log is not None:
            self.record = record = self.record or Record(self.plane.now)
            record.status = status
            self.write_record("own")
        self.held = b""
        self.expires = inf
        self.active = self.plane.now  # the silence so far was not the client's
        keep = keep and self.keep and not (self.listener.draining or self.expects or self.left > MAX_DISCARD)
        head_only = self.method == b"HEAD"
        self.send(reply(status, detail, head_only=head_only, minor=self.minor, keep=keep, text=text, fields=fields))
        if not keep:
            self._last()
        elif self.left:
            self._discard()
        else:
            self.step = _COMPLETE[self.step]
            self.wake(self.due())

    def write_record(self, outcome: str) -> None:
        """The request under way is over: its line for the access log."""
        record, self.record = self.record, None
        log = self.listener.access_log
        if record is not None and log is not None:
            log.write(record, self, outcome, self.plane.now)

    def over(self) -> None:
        """What was under way ends with the connection: as it should for a tunnel only."""
        if self.record is not None:
            self.write_record("ok" if self.step is Step.TUNNEL else "aborted")
        if self.introduced is not None:
            abandon(self)

    def _discard(self) -> None:
        self.step = MOVES[Event.EARLY][self.step]
        self.spendable = MAX_DISCARD
        self.wake(self.due())

    def _last(self) -> None:
        """Nothing more is sent: FIN, and drop what still comes until the client's FIN, or for LINGER_TIME."""
        self.step = MOVES[Event.LAST][self.step]
        self.inbox = b""
        self.left = 0
        self.chunks = None
        self.shut()
        self.resume()
        self.wake(self.due())

    def _drop_upstream(self) -> None:
        if self.peer is not None:
            self.peer.drop()

    def _proceed(self) -> None:
        """Go on with what the client sent meanwhile."""
        raise NotImplementedError
