"""The record of the calls under way on one upstream connection, and the value that it is.

    downstream --call, its id 7--> [calls: 12 = downstream, 7, deadline] --id 12--> server
    downstream <--id 7, the same downstream------------------------------- id 12 <-- server, in any order

`calls` is the only record of a call under way; it ends by an answer, its deadline, or with this connection. An
answer to a call that is not there (any more) is dropped.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.connection import HIGH
from proxy.kernel import READING
from proxy.multiplexed.state import CallState, UpstreamState, load_about, save_about
from proxy.multiplexed.stream import Framed
from proxy.multiplexed.wire import torn_by
from proxy.sides import Shared
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.connection import Connection
    from proxy.multiplexed.client import Client
    from proxy.multiplexed.state import About
    from proxy.multiplexed.wire import Head
    from proxy.plane import Places, Plane, Write

LAST_ID: Final = 0x7FFFFFFF
"""Ids are signed numbers to many peers."""

MOST_KEPT: Final = 1 << 20
"""Bytes; a server that does not answer at all may be sent oneway calls without end."""

Call = tuple["Client | None", int, float, int, int, "About | None", float, str]
"""Who called, with what id, deadline, codec, ver1, what else is to be known of it, when it came, its route's label."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UpstreamState).decode


class Ledger(Framed, Shared):
    """A connection to an endpoint, as far as it is a record of calls."""

    __slots__ = (
        "again",
        "asked",
        "awaited",
        "beaten",
        "caller",
        "caller_awaited",
        "calls",
        "connect_by",
        "feeders",
        "feeders_awaited",
        "heard",
        "inbox",
        "kept",
        "last_id",
        "retire_by",
        "retiring",
        "skip",
        "soonest",
        "spoke",
        "torn",
        "unanswered",
        "unsent",
        "version",
        "wanted",
    )

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.version = 1
        self.calls: dict[int, Call] = {}
        """Under way here, by our id."""
        self.again: dict[int, tuple[int, tuple[str, ...]]] = {}
        """Those that were on another connection before: attempts, endpoints that could not be connected to."""
        self.last_id = 0
        self.soonest = inf
        """No call's deadline is earlier. Derived."""
        self.caller: Client | None = None
        """Who called last."""
        self.asked: dict[Client, None] = {}
        """Clients that were sent requests of this server. Derived."""
        self.feeders: dict[Client, None] = {}
        """Paused until the outbox has drained."""
        self.connect_by = inf
        self.spoke = plane.now
        """When bytes were last sent."""
        self.beaten = plane.now
        """When the last heartbeat was sent, or the connection was made."""
        self.unanswered = 0
        """Heartbeats since it was last heard."""
        self.torn = 0
        """Bytes of the outbox that are the rest of a frame under way."""
        self.retiring = False
        """It takes no further calls, and ends with the last."""
        self.retire_by = inf
        """Another took its place: it ends by then at the latest, once nothing is under way."""
        self.unsent: bytes | bytearray = b""
        """At the end: frames of which not a byte was sent, or looked at."""
        self.kept: bytes | bytearray = b""
        """Sent by TLS that has not brought an answer yet, and may be refused still."""
        self.awaited: dict[int, list[int]] = {}
        """While being restored: the downstreams, by serial, that are still to come, with their calls."""
        self.caller_awaited = 0
        self.feeders_awaited: frozenset[int] = frozenset()

    # ---- what goes to the server ----

    def append(
        self,
        buffer: bytearray,
        begun: int,
        end: int,
        caller: Client | None,
        calls: int,
        last: int,
        soonest: float,
    ) -> None:
        """Send a run of requests out of a buffer that is given away; `calls` of them stand in `self.calls` already."""
        self.last_id = last
        out = self.outbox
        if not out:
            self.outbox = buffer if begun == 0 and end == len(buffer) else buffer[begun:end]
            self.plane.unflushed.append(self)
        else:
            if isinstance(out, bytes):
                out = self.outbox = bytearray(out)
            out += buffer if begun == 0 and end == len(buffer) else buffer[begun:end]
            self.changes += 1
        self.endpoint.in_flight += calls
        if soonest < self.soonest:
            self.soonest = soonest
            if soonest < self.alarm:
                self.plane.wake(self, soonest)
        if self.connecting:
            self.changes += 1
        if caller is not None:
            self.caller = caller
            if self not in caller.uses:
                caller.use(self)
            if len(self.outbox) > HIGH:
                if not self.clogged:
                    self.clogged = self.stale = True
                caller.block(self)

    def keep(self, sent: bytes | bytearray) -> None:
        """The server may still refuse TLS, and with it this. What came to so much it has accepted."""
        if not self.kept:
            self.kept = bytearray()
        self.kept += sent
        if self.tls is not None and len(self.kept) > MOST_KEPT:
            self.tls.unheard = False
            self.kept = b""

    def disown(self, client: Client) -> None:
        """This client is gone: nobody waits for the answers to its calls."""
        if self.closed:
            return
        calls = self.calls
        for number in [number for number, call in calls.items() if call[0] is client]:
            del calls[number]
            self.again.pop(number, None)
            self.endpoint.in_flight -= 1
        if self.caller is client:
            self.caller = None
        self.feeders.pop(client, None)
        self.asked.pop(client, None)
        self.changes += 1

    def end_if_done(self) -> None:
        """End if it is retiring and the last call is over."""
        raise NotImplementedError

    def wind_down(self) -> None:
        """Take no further calls and end with the last."""
        raise NotImplementedError

    def next_id(self) -> int:
        """A fresh id for a frame on this connection."""
        number = self.last_id
        while True:
            number = number + 1 if number < LAST_ID else 1
            if number not in self.calls:
                self.last_id = number
                return number

    def add(self, frame: bytearray, head: Head, call: Call, again: tuple[int, tuple[str, ...]] = (0, ())) -> None:
        """Send one whole request under a fresh id."""
        number = self.next_id()
        self.wire.renumber(frame, head, number)
        if call[5] is not None and call[5].record is not None:
            call[5].record.endpoint = self.endpoint.name
        if again[0] or again[1]:
            self.again[number] = again
        if not head.wants_answer:
            self.append(frame, 0, len(frame), call[0], 0, number, inf)
            return
        self.calls[number] = call
        self.append(frame, 0, len(frame), call[0], 1, number, call[2])

    def flush(self, write: Write, now: float) -> None:
        """See `Connection.flush`; remembers where a frame was torn, so that whole ones can be sent elsewhere."""
        out = self.outbox
        tls = self.tls
        if (out and not self.connecting) or (tls is not None and tls.sealed):
            self.changes += 1
            try:
                count = write(self.fd, out) if tls is None else tls.write(write, self.fd, out)
            except OSError as failure:
                self.plane.io_failed(self, failure)
            else:
                self.active = self.spoke = now
                if tls is not None and tls.unheard:
                    self.keep(out[:count])
                count_out = self.count_out  # see `Connection.readable`
                count_out(count)
                if count == len(out):
                    self.outbox = b""
                    self.torn = 0
                    if self.interest == READING and not self.stale and (tls is None or not tls.sealed):
                        return
                else:
                    self.torn = torn_by(self.wire, out, self.torn, count)
                    self.outbox = out[count:]
        self.plane.follow(self)

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.multiplexed.state.UpstreamState`."""
        endpoint = self.endpoint
        again = self.again
        return _encode(
            UpstreamState(
                self.transport(now),
                endpoint.cluster.name,
                endpoint.name,
                self.version,
                bytes(self.inbox),
                self.skip,
                self.last_id,
                tuple(
                    CallState(
                        number,
                        client.serial,
                        caller_id,
                        until - now,
                        codec,
                        ver1,
                        *again.get(number, (0, ())),
                        save_about(about, now),
                        now - began,
                        route,
                    )
                    for number, (client, caller_id, until, codec, ver1, about, began, route) in self.calls.items()
                    if client is not None
                )
                + tuple(
                    CallState(number, 0, 0, 0.0, 0, 0, *a) for number, a in again.items() if number not in self.calls
                ),
                0 if self.caller is None else self.caller.serial,
                tuple(client.serial for client in self.feeders),
                remaining(self.connect_by, now),
                now - self.heard,
                now - self.spoke,
                now - self.beaten,
                self.unanswered,
                self.torn,
                self.retiring,
                self.spare,
                remaining(self.retire_by, now),
                bytes(self.kept),
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        endpoint = places.endpoint(saved.cluster, saved.endpoint)
        for client in self.feeders:
            client.blockers.pop(self, None)
        self.endpoint = endpoint
        self.load_transport(saved.transport, now, places)
        self.version = saved.version
        self.inbox = bytearray(saved.inbox)
        self.wanted = 0
        self.skip = saved.skip
        self.last_id = saved.last_id
        self.connect_by = deadline(saved.connect_left, now)
        self.heard = now - saved.deaf
        self.spoke = now - saved.mute
        self.beaten = now - saved.beaten
        self.unanswered = saved.unanswered
        self.torn = saved.torn
        self.retiring, self.spare = saved.retiring, saved.spare
        self.retire_by = deadline(saved.retire_left, now)
        self.kept = saved.kept
        under_way = [call for call in saved.calls if call.caller]  # the others are oneway
        serials = {call.caller for call in under_way}
        serials.update(saved.feeders)
        if saved.caller:
            serials.add(saved.caller)
        there: dict[int, Any] = places.expect(self, serials)
        before = len(self.calls)
        self.calls = {
            call.id: (
                there.get(call.caller),
                call.caller_id,
                now + call.left,
                call.codec,
                call.ver1,
                load_about(call.about, now),
                now - call.age,
                call.route,
            )
            for call in under_way
        }
        self.again = {call.id: (call.attempts, call.tried) for call in saved.calls if call.attempts or call.tried}
        self.soonest = min((call[2] for call in self.calls.values()), default=inf)
        self.awaited = {}
        for call in under_way:
            if call.caller not in there:
                self.awaited.setdefault(call.caller, []).append(call.id)
        self.caller = None
        self.feeders = {}
        self.caller_awaited = saved.caller
        self.feeders_awaited = frozenset(saved.feeders)
        for client in there.values():
            self.met(client)
        endpoint.in_flight += len(self.calls) - before
        pool = endpoint.shared_pool(self.version)
        if self.retiring or self.spare:
            pool.discard(self)
        else:
            pool.add(self)

    def met(self, other: Connection) -> None:
        """A downstream that the saved state names is there. See `proxy.plane.Places.expect`."""
        client: Any = other
        client.uses[self] = None
        for number in self.awaited.pop(client.serial, ()):
            self.calls[number] = (client, *self.calls[number][1:])
        if client.serial == self.caller_awaited:
            self.caller = client
        if client.serial in self.feeders_awaited:
            self.feeders[client] = None
            client.blockers[self] = None

    def dropped(self, places: Places) -> None:
        """See `Connection`: what clients derive from this one."""
        for client in self.feeders:
            client.blockers.pop(self, None)
        for call in self.calls.values():
            if call[0] is not None:
                call[0].uses.pop(self, None)

    def bonds(self) -> tuple[Connection, ...]:
        """The clients with calls under way here, in either direction."""
        found: dict[Connection, None] = {}
        for call in self.calls.values():
            if call[0] is not None:
                found[call[0]] = None
        found.update((client, None) for client in self.asked if client.owes(self))
        return tuple(found)

    @property
    def idle(self) -> bool:
        """No call is under way."""
        return not self.calls

    def in_flight(self) -> int:
        """The calls, counted here and not at the clients."""
        return len(self.calls)

    def under_way(self) -> Counter[str]:
        """See `Upstream`."""
        return Counter(call[0].listener.name for call in self.calls.values() if call[0] is not None)

    def describe(self) -> dict[str, Any]:
        """With its version and calls."""
        return {**super().describe(), "version": self.version, "calls": len(self.calls)}
