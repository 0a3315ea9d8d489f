"""A client as the upstream side sees it: whom answers and requests are delivered to, and who is paused.

It holds the way back for requests of servers, `pushes`: by our id, who asked and with what id.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxy.connection import HIGH
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.stream import Inbox
from proxy.multiplexed.wire import SINGLE, BadFrame
from proxy.sides import Downstream

if TYPE_CHECKING:
    from typing import ClassVar

    from proxy.calls import Calls
    from proxy.metrics.meters import RouteMeters
    from proxy.multiplexed.ledger import Call, Ledger
    from proxy.multiplexed.state import About, Held
    from proxy.multiplexed.wire import Head, Wire
    from proxy.plane import Plane

MAX_UNREAD = 2
"""Longest frames that may wait for a client that does not read; then it is reset."""

Push = tuple["Ledger | None", int, float, int, int, "About | None"]
"""Who asked, with what id, deadline, codec, ver1, and what else is to be known of it."""


_pieces = Pieces()


class Client(Downstream):
    """A client connection, as far as the upstream side knows it."""

    __slots__ = (
        "alike",
        "awaited",
        "blockers",
        "counted_at",
        "held",
        "inbox",
        "last_id",
        "leaving",
        "linger",
        "pushes",
        "route",
        "soonest",
        "uses",
    )

    wire: ClassVar[Wire]
    """What is spoken."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.inbox = Inbox()
        self.alike = SINGLE
        """Which calls go the same way as the one that was looked at last: see `proxy.multiplexed.wire`. Derived."""
        self.counted_at: RouteMeters | None = None
        """Where calls of the route that answers came by last are counted. Derived."""
        self.uses: dict[Ledger, None] = {}
        """Upstream connections that may have calls of this client. Derived."""
        self.blockers: dict[Ledger, None] = {}
        """Upstream connections that must drain before this one is read again. Derived, they save it."""
        self.pushes: dict[int, Push] = {}
        """Requests of servers under way here, by our id."""
        self.held: list[Held] = []
        """Calls that wait here."""
        self.last_id = 0
        self.route = ""
        """What metrics call the route of the call that was looked at last. Derived."""
        self.soonest = inf
        """No push's deadline is earlier. Derived."""
        self.leaving = False
        """It ends after the last answer."""
        self.linger = inf
        """But not before this moment; inf: there is no such."""
        self.awaited: dict[int, list[int]] = {}
        """While being restored: upstreams, by serial, that are still to come, with their pushes."""

    def measure(self) -> None:
        """See `Downstream`."""
        super().measure()
        self.counted_at = None

    # ---- what comes ----

    def readable(self, calls: Calls, now: float) -> None:
        """See `Inbox.read`."""
        self.inbox.read(self, calls, now)

    def received(self, data: bytes) -> None:
        """Bytes of frames. The same on both sides, whose classes have no base in common that may know of frames."""
        buffer = self.inbox.add(data)
        if buffer is None:
            return
        try:
            self.take(buffer)
        except BadFrame as why:
            self.give_up(str(why))
        if self.clogged and not self.closed:
            self.stuffed()

    def take(self, buffer: bytearray) -> None:
        """Use the frames in the buffer, which is given away. Raises `BadFrame`."""
        raise NotImplementedError

    def give_up(self, reason: str) -> None:
        """The stream cannot be followed: end this connection, and only this one."""
        raise NotImplementedError

    # ---- what comes back ----

    def deliver(self, buffer: bytearray, begun: int, end: int, count: int, wrong: int, route: str) -> None:
        """Answers to this client, ready to go: so many by that route, and so many with a status that is no success."""
        if count:
            meters = self.counted_at
            if meters is None or meters.name != route:
                meters = self.counted_at = self.listener.meters.route(route)
            if count != wrong:
                self.tally(meters.oks, count - wrong)
            if wrong:
                self.tally(meters.errors, wrong)
        out = self.outbox
        if self.fd < 0:
            return
        if not out:
            self.plane.unflushed.append(self)
        else:
            self.changes += 1
        out = _pieces.joined(out, buffer, begun, end)
        self.outbox = out
        if len(out) > HIGH:
            self._slow()
        if self.leaving:
            self._leave()

    def use(self, upstream: Ledger) -> None:
        """Calls of this client go there from now on."""
        self.uses = {one: None for one in self.uses if not one.closed}
        self.uses[upstream] = None

    def fail(self, call: Call, status: int, *, late: bool = False) -> None:
        """A call of this client came to nothing. `late`: its time is up."""
        self.listener.answered += 1
        self.listener.failed += 1
        self.count_error(call[7], late=late)
        if call[5] is not None:
            self.count_duration(call)
            self.tell(call[5], "own", status)
        if not self.closed:
            self.send(self.wire.error(call[1], call[3], call[4], status))
            if self.clogged:
                self._slow()
            if self.leaving:
                self._leave()

    def count_error(self, route: str, *, late: bool = False) -> None:
        """An error of our own is about to be answered."""
        meters = self.listener.meters.route(route)
        self.tally(meters.errors, 1)
        if late:
            meters.timeouts.inc()

    def count_duration(self, call: Call) -> None:
        """A call that somebody looked at is over."""
        self.listener.meters.route(call[7]).timed().observe(self.plane.now - call[6])

    def reply(self, frame: bytearray, call: Call) -> None:
        """The answer to a call that somebody looks at."""
        raise NotImplementedError

    def tell(self, about: About, outcome: str, status: int = -1) -> None:
        """A call is over: its line for the access log."""
        record, about.record = about.record, None
        log = self.listener.access_log
        if record is not None and log is not None:
            record.status = status
            log.write(record, self, outcome, self.plane.now)

    def over(self) -> None:
        """What is under way ends with the connection."""
        if self.listener.access_log is None:
            return
        calls = [call for upstream in self.uses for call in upstream.calls.of(self)]
        abouts = [call[5] for call in calls] + [push[5] for push in self.pushes.values()]
        for about in [*abouts, *[one.about for one in self.held]]:
            if about is not None:
                self.tell(about, "aborted")

    def forsaken(self, upstream: Ledger) -> None:
        """The server that asked is gone: nobody waits for these answers."""
        for number in [number for number, push in self.pushes.items() if push[0] is upstream]:
            about = self.pushes.pop(number)[5]
            if about is not None:
                self.tell(about, "aborted")
        self.changes += 1
        if self.leaving:
            self._leave()

    def push(self, upstream: Ledger, frame: bytearray, head: Head) -> None:
        """Pass a server's request on."""
        raise NotImplementedError

    def owes(self, upstream: Ledger) -> bool:
        """It has a request of that connection's server under way."""
        return any(push[0] is upstream for push in self.pushes.values())

    def _slow(self) -> None:
        """It does not read: neither do we, and there is a limit to what waits for it."""
        if not self.clogged:
            self.clogged = self.stale = True
        self.pause()
        if len(self.outbox) > HIGH + MAX_UNREAD * self.listener.config.max_frame:
            self.reset()
            self._gone()

    def stuffed(self) -> None:
        """What came was perhaps answered here, and the client does not read: there is a limit to that."""
        self._slow()

    def drained(self) -> None:
        """It read what it was sent."""
        self.go_on()

    def block(self, upstream: Ledger) -> None:
        """That connection cannot get rid of its calls."""
        self.blockers[upstream] = None
        upstream.feeders[self] = None
        upstream.changes += 1
        self.pause()

    def unblock(self, upstream: Ledger) -> None:
        """It can again, or is gone: go on with what is here."""
        if self.blockers.pop(upstream, self) is not self:
            self.release(-inf)
            self.go_on()

    @property
    def full(self) -> bool:
        """So much is held that nothing more is read."""
        return bool(self.held) and sum(len(one.frame) for one in self.held) > HIGH

    def release(self, now: float) -> None:
        """Let held calls go on whose moment has come, -inf: those that waited for room."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Something that kept this client from being read may be over."""
        if self.blockers or self.closed or self.full:
            return
        inbox = self.inbox
        buffer = inbox.rest
        if buffer:
            inbox.rest = bytearray()
            self.changes += 1
            try:
                self.take(buffer)
            except BadFrame as why:
                self.give_up(str(why))
                return
        if not self.blockers and not self.clogged and not self.full:
            self.resume()
        if self.leaving:
            self._leave()

    # ---- the end ----

    def _leave(self) -> None:
        """End if nothing is under way any more."""
        if self.linger <= self.plane.now:
            self.linger = inf
            self.changes += 1
        if self.linger == inf and not self.busy and not self.inbox and not self.inbox.skip:
            self.shut()

    @property
    def busy(self) -> bool:
        """A call of this client is under way, or a server's request to it."""
        return bool(self.pushes or self.held) or any(upstream.calls.of(self) for upstream in self.uses)

    def _gone(self) -> None:
        """The connection is closed: servers that wait for its answers wait no longer."""
        pushes = self.pushes
        self.pushes = {}
        self.held = []
        for upstream, number, _, codec, ver1, _ in pushes.values():
            if upstream is not None and not upstream.closed:
                upstream.send(self.wire.error(number, codec, ver1, self.wire.closed))
        for upstream in self.uses:
            upstream.end_if_done()

    def detached(self) -> None:
        """It ended, or lives elsewhere now: what names it is no longer as it was saved."""
        super().detached()
        for upstream in {**self.uses, **self.blockers}:
            upstream.disown(self)

    def in_flight(self) -> int:
        """Calls that wait here; the others are counted where they went."""
        return len(self.held)
