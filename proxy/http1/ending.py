"""How an exchange of a client connection ends, and the fields that all its layers share.

    the response is complete      IDLE, or DISCARD while the request body is still to come
    we answer ourselves           the same, or LINGER if what follows in the stream cannot be trusted
    the response is broken off    LINGER, or a reset: it is never made to look complete

After a last response comes a FIN, and what the client still sends is dropped for LINGER_TIME: closing at once would
answer those bytes by a reset, which can overtake the response (RFC 9112 section 9.6). Moves: `proxy.http1.states`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.accesslog.record import Record
from proxy.http1.replies import reply
from proxy.http1.states import MOVES, Event, Step
from proxy.proxy_protocol.sending import abandon
from proxy.sides import Downstream

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.filters.chain import Notes
    from proxy.http1.body import Chunks
    from proxy.http1.upstream import Http1Upstream
    from proxy.metrics.meters import RouteMeters
    from proxy.plane import Plane
    from proxy.route import Terms

LINGER_TIME: Final = 2.0
"""Seconds that a client has to go once it was sent the last response and a FIN."""
MAX_DISCARD: Final = 262144
"""Bytes of a request body read and dropped after an early response, to keep the connection."""

_COMPLETE: Final = MOVES[Event.COMPLETE]
IDLE: Final = Step.IDLE  # CPython 3.11 looks a member up in its enum at every access: 0.1 us


class Ending(Downstream):
    """The fields of a client connection, and the end of what is under way on it. `Relay` serves the tunnel."""

    __slots__ = (
        "attempts",
        "began",
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
        "meters",
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
    meters: RouteMeters
    """Of the route of the request under way, or of the one before until it is known. Set by `begin` and `load`."""
    cluster: Cluster
    """Where the request under way goes; meaningless in IDLE and HEAD."""

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.step = IDLE
        self.inbox = b""
        """Bytes not yet parsed: a part of a head, pipelined requests, a body whose upstream is being dialled."""
        self.scanned = 0  # bytes of `inbox` known to hold no end of a head. Derived
        self.requests = 0
        self.deadline = inf
        """Of the step: HEAD the complete head, WAIT the first byte of the response, LINGER the end."""
        self.began = 0.0  # when the head of the request under way was complete
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

    # ---- the end of the response ----

    def complete(self) -> None:
        """The response is complete, `peer` is off already."""
        if self.record is not None:
            self.write_record("ok")
        self.changes += 1
        plane = self.plane
        self.active = now = plane.now
        self.meters.durations.observe(now - self.began)
        self.expires = inf
        if not self.keep or self.left > MAX_DISCARD:
            self._last()
            return
        if self.left:
            self._discard()
        else:
            self.step = _COMPLETE[self.step]
        when = now + self.listener.keepalive_timeout
        if when < self.alarm:
            plane.wake(self, when)
        if self.inbox or self.paused or self.eof:
            self._proceed()

    def break_off(self, *, bare: bool) -> None:
        """The response cannot be completed. ``bare``: only the end of the connection would tell its end."""
        if self.record is not None:
            self.write_record("cut")
        self.meters.durations.observe(self.plane.now - self.began)
        self.changes += 1
        if bare:
            self.reset()
        else:
            self._last()

    def _reply(
        self, status: int, detail: str, *, keep: bool = True, late: bool = False, text: str = "", fields: str = ""
    ) -> None:
        """Answer ourselves. ``keep`` False if what follows in the stream cannot be trusted; ``text`` is the body.

        ``late``: because a deadline passed.
        """
        self._drop_upstream()
        self.listener.answered += 1
        if status >= 500:
            self.listener.failed += 1
        self._count_reply(status, late=late)
        if self.listener.access_log is not None:
            self.record = record = self.record or Record(self.plane.now)
            record.status = status
            self.write_record("own")
        self.held = b""
        self.expires = inf
        self.active = self.plane.now  # the silence so far was not the client's
        keep = keep and self.keep and not (self.listener.draining or self.expects or self.left > MAX_DISCARD)
        self._say(status, detail, keep=keep, text=text, fields=fields)
        if not keep:
            self._last()
        elif self.left:
            self._discard()
        else:
            self.step = _COMPLETE[self.step]
            self.wake(self.due())

    def _say(self, status: int, detail: str, *, keep: bool, text: str, fields: str) -> None:
        """Send a response of our own."""
        head_only = self.method == b"HEAD"
        self.send(reply(status, detail, head_only=head_only, minor=self.minor, keep=keep, text=text, fields=fields))

    def _count_reply(self, status: int, *, late: bool) -> None:
        meters = self.meters
        self.tally(meters.codes[status // 100], 1)
        if self.method:  # else there never was a whole head
            meters.durations.observe(self.plane.now - self.began)
        if late:
            meters.timeouts.inc()

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

    # ---- what the layers above do ----

    def due(self) -> float:
        """The earliest deadline of the step."""
        raise NotImplementedError

    def _proceed(self) -> None:
        """Go on with what the client sent meanwhile."""
        raise NotImplementedError
