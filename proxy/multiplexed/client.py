"""A client as the upstream side sees it: whom answers and requests are delivered to, and who is paused.

It holds the way back for requests of servers, `pushes`: by our id, who asked and with what id.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from proxy.connection import HIGH
from proxy.multiplexed.state import About, CallState, DownstreamState, HeldState, load_about, save_about
from proxy.multiplexed.stream import Framed
from proxy.multiplexed.wire import BadFrame
from proxy.sides import Downstream
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.connection import Connection
    from proxy.multiplexed.ledger import Call, Ledger
    from proxy.multiplexed.wire import Head
    from proxy.plane import Places, Plane

MAX_UNREAD = 2
"""Longest frames that may wait for a client that does not read; then it is reset."""

Push = tuple["Ledger | None", int, float, int, int, "About | None"]
"""Who asked, with what id, deadline, codec, ver1, and what else is to be known of it."""


class Held(NamedTuple):
    """A call that waits here: for the end of a filter's delay, or until its upstream connection has room."""

    frame: bytearray
    filtered: int
    """The filter that is next."""
    when: float
    """It goes on then; inf: once there is room."""
    until: float
    """Its time is up then."""
    about: About


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DownstreamState).decode


class Client(Framed, Downstream):
    """A client connection, as far as the upstream side knows it."""

    __slots__ = (
        "awaited",
        "blockers",
        "heard",
        "held",
        "inbox",
        "last_id",
        "leaving",
        "linger",
        "pushes",
        "route",
        "skip",
        "soonest",
        "uses",
        "wanted",
    )

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
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

    # ---- what comes back ----

    def deliver(self, buffer: bytearray, begun: int, end: int, count: int, wrong: int, route: str) -> None:
        """Answers to this client, ready to go: so many by that route, and so many with a status that is no success."""
        if count:
            meters = self.listener.meters.route(route)
            meters.oks.inc(count - wrong)
            if wrong:
                meters.errors.inc(wrong)
        run = buffer if begun == 0 and end == len(buffer) else buffer[begun:end]
        out = self.outbox
        if self.fd < 0:
            return
        if not out:
            self.outbox = run
            self.plane.unflushed.append(self)
        else:
            if isinstance(out, bytes):
                out = self.outbox = bytearray(out)
            out += run
            self.changes += 1
        if len(self.outbox) > HIGH:
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
        meters.errors.inc()
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
        calls = [call for upstream in self.uses for call in upstream.calls.values() if call[0] is self]
        abouts = [call[5] for call in calls] + [push[5] for push in self.pushes.values()]
        for about in (*abouts, *(one.about for one in self.held)):
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
        """See `Framed`."""
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
        buffer = self.inbox
        if buffer:
            self.inbox = bytearray()
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
        if self.linger == inf and not self.busy and not self.inbox and not self.skip:
            self.shut()

    @property
    def busy(self) -> bool:
        """A call of this client is under way, or a server's request to it."""
        return bool(self.pushes or self.held) or any(
            call[0] is self for upstream in self.uses for call in upstream.calls.values()
        )

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

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.multiplexed.state.DownstreamState`."""
        return _encode(
            DownstreamState(
                self.transport(now),
                self.listener.name,
                self.listener.address,
                self.remote,
                bytes(self.inbox),
                self.skip,
                self.last_id,
                tuple(
                    CallState(number, upstream.serial, theirs, until - now, codec, ver1, 0, (), save_about(about, now))
                    for number, (upstream, theirs, until, codec, ver1, about) in self.pushes.items()
                    if upstream is not None and upstream.fd >= 0
                ),
                self.leaving,
                tuple(
                    HeldState(
                        bytes(one.frame),
                        one.filtered,
                        remaining(one.when, now),
                        remaining(one.until, now),
                        save_about(one.about, now) or About(),
                    )
                    for one in self.held
                ),
                self.introduced,
                remaining(self.linger, now),
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, self.wire.protocol)
        self.load_transport(saved.transport, now, places)
        self.remote = saved.remote
        self.inbox = bytearray(saved.inbox)
        self.wanted = 0
        self.skip = saved.skip
        self.last_id = saved.last_id
        self.leaving = saved.leaving
        self.linger = deadline(saved.linger, now)
        self.introduced, self.destination, self.server_name = saved.introduced, "", ""
        self.awaited = {}
        self.pushes = {}
        self.soonest = inf
        self.held = [
            Held(
                bytearray(one.frame),
                one.filtered,
                deadline(one.wait, now),
                deadline(one.left, now),
                load_about(one.about, now) or About(),
            )
            for one in saved.held
        ]
        if saved.calls:
            self._load_pushes(saved.calls, now, places)

    def _load_pushes(self, saved: tuple[CallState, ...], now: float, places: Places) -> None:
        there: dict[int, Any] = places.expect(self, {call.caller for call in saved})
        for call in saved:
            self.pushes[call.id] = (
                there.get(call.caller),
                call.caller_id,
                now + call.left,
                call.codec,
                call.ver1,
                load_about(call.about, now),
            )
            self.soonest = min(self.soonest, now + call.left)
            if call.caller not in there:
                self.awaited.setdefault(call.caller, []).append(call.id)
        for upstream in there.values():
            upstream.asked[self] = None

    def met(self, other: Connection) -> None:
        """An upstream that the saved state names is there. See `proxy.plane.Places.expect`."""
        upstream: Any = other
        upstream.asked[self] = None
        for number in self.awaited.pop(upstream.serial, ()):
            self.pushes[number] = (upstream, *self.pushes[number][1:])

    def in_flight(self) -> int:
        """Calls that wait here; the others are counted where they went."""
        return len(self.held)

    def bonds(self) -> tuple[Connection, ...]:
        """The upstream connections with calls of this client, and those whose servers wait for it."""
        found: dict[Connection, None] = {
            upstream: None
            for upstream in self.uses
            if not upstream.closed and any(call[0] is self for call in upstream.calls.values())
        }
        for push in self.pushes.values():
            if push[0] is not None and not push[0].closed:
                found[push[0]] = None
        return tuple(found)
