"""Protocol ``bolt``, the endpoint's side: calls of many clients on one connection, told apart by our own ids.

    downstream --call, its id 7--> [calls: 12 = downstream, 7, deadline] --id 12--> server
    downstream <--id 7, the same downstream------------------------------- id 12 <-- server, in any order

`calls` is the only record of a call under way; it ends by an answer, its deadline, or with this connection. An
answer to a call that is not there (any more) is dropped.

A request of the server goes to the client that called last on this connection, or, if that is gone, to one that
waits for an answer on it; its way back is the downstream's record.

Silence of `heartbeat_interval` in either direction is broken by a heartbeat, whatever is under way: servers close a
silent connection even with a call pending. One that stays mute for three of them is closed.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.bolt.frame import (
    ANSWER,
    ANSWERS,
    CALL,
    CLOSED,
    CODEC,
    CRC_SIZE,
    HEARTBEAT,
    NOT_SENT,
    ONEWAY,
    REQUEST,
    TIMEOUT,
    U32,
    V1,
    V2,
    BadFrame,
    crc_fits,
    error,
    frames,
    heartbeat,
    heartbeat_answer,
    write_crc,
)
from proxy.bolt.pool import PAUSE, SharedPool
from proxy.bolt.state import CallState, UpstreamState
from proxy.bolt.stream import Framed, torn_by
from proxy.connection import HIGH, Upstream, deadline, remaining

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from proxy.bolt.downstream import BoltDownstream
    from proxy.bolt.frame import Head
    from proxy.cluster import Cluster, Endpoint
    from proxy.connection import Connection
    from proxy.plane import Places, Plane, Write

GOAWAY: Final = 100
"""A command of MOSN's servers: no further calls here."""
UNANSWERED: Final = 3
"""Heartbeats without a sign of life after which a connection is given up."""
MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""
LAST_ID: Final = 0x7FFFFFFF
"""Ids are signed numbers to many peers."""

Call = tuple["BoltDownstream | None", int, float, int, int]
"""Who called, with what id, deadline, codec, ver1."""

_FORMS = {form.version: (form.id_at, form.response.size, form.response.unpack_from) for form in (V1, V2)}
_known = ANSWERS.get
_pack = U32.pack_into
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UpstreamState).decode


def connect(plane: Plane, cluster: Cluster, version: int, tried: Collection[str] = ()) -> BoltUpstream | None:
    """The shared connection for a call to this cluster, perhaps one that is being dialled; None: no endpoint is left.

    `tried` are the endpoints that cannot be connected to.
    """
    endpoint = cluster.pick(tried)
    if endpoint is None:
        return None
    pool = endpoint.shared.get(version)
    if pool is None:
        pool = endpoint.shared[version] = SharedPool()
    chosen = pool.choose()
    if chosen is None or (len(pool.members) < cluster.config.shared_connections and pool.grows(chosen, plane.now)):
        added = BoltUpstream(plane)
        added.dial(endpoint, version)
        pool.add(added)
        chosen = chosen or added
    return chosen


class BoltUpstream(Framed, Upstream):
    """A connection to an endpoint, shared by all clients."""

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
        "last_id",
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

    kind: ClassVar[str] = "bolt.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

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
        self.caller: BoltDownstream | None = None
        """Who called last."""
        self.asked: dict[BoltDownstream, None] = {}
        """Clients that were sent requests of this server. Derived."""
        self.feeders: dict[BoltDownstream, None] = {}
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
        self.unsent: bytes | bytearray = b""
        """At the end: frames of which not a byte was sent."""
        self.awaited: dict[int, list[int]] = {}
        """While being restored: the downstreams, by serial, that are still to come, with their calls."""
        self.caller_awaited = 0
        self.feeders_awaited: frozenset[int] = frozenset()

    def dial(self, endpoint: Endpoint, version: int) -> None:
        """Connect; calls may be given to it at once."""
        self.endpoint = endpoint
        self.version = version
        self.retiring = self.plane.draining
        self.connect_by = self.plane.now + endpoint.cluster.config.connect_timeout
        self.plane.dial(self, endpoint.address)
        self.wake(self.connect_by)

    # ---- what goes to the server ----

    def append(
        self,
        buffer: bytearray,
        begun: int,
        end: int,
        caller: BoltDownstream | None,
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
        self.endpoint.in_flight += calls
        if soonest < self.soonest:
            self.soonest = soonest
            if soonest < self.alarm:
                self.plane.wake(self, soonest)
        if self.connecting:
            self.changes += 1
        if caller is not None:
            self.caller = caller
            caller.uses[self] = None
            if len(self.outbox) > HIGH:
                if not self.clogged:
                    self.clogged = self.stale = True
                caller.block(self)

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
        U32.pack_into(frame, head.layout.id_at, number)
        if head.has_crc:
            write_crc(frame, 0, len(frame))
        if head.type == ONEWAY:
            self.append(frame, 0, len(frame), call[0], 0, number, inf)
            return
        self.calls[number] = call
        if again[0] or again[1]:
            self.again[number] = again
        self.append(frame, 0, len(frame), call[0], 1, number, call[2])

    def flush(self, write: Write, now: float) -> None:
        """See `Connection.flush`; remembers where a frame was torn, so that whole ones can be sent elsewhere."""
        out = self.outbox
        if out and not self.connecting:
            self.changes += 1
            try:
                count = write(self.fd, out)
            except OSError as failure:
                self.plane.io_failed(self, failure)
            else:
                self.active = self.spoke = now
                if count == len(out):
                    self.outbox = b""
                    self.torn = 0
                    if self.interest == 1 and not self.stale:
                        return
                else:
                    self.torn = torn_by(out, self.torn, count)
                    self.outbox = out[count:]
        self.plane.follow(self)

    # ---- what comes from the server ----

    def take(self, buffer: bytearray) -> None:
        """Give answers to whoever asked; runs of them for the same client go as one."""
        size = len(buffer)
        id_at, fixed, unpack = _FORMS[self.version]
        pop = self.calls.pop
        at = begun = answered = 0
        client: BoltDownstream | None = None
        while size - at >= fixed:
            first, number, codec, _, class_length, header_length, content_length = unpack(buffer, at)
            ver1 = _known(first)
            end = at + fixed + class_length + header_length + content_length
            if ver1 == 2 and codec & 1:
                end += CRC_SIZE
            if ver1 is None or end > size or (class_length | header_length) & 0x8000:
                if client is not None:
                    client.deliver(buffer, begun, at)
                    client = None
                begun = self._other(buffer, at)
                if begun == at:
                    break
                at = begun
                continue
            if ver1 == 2 and codec & 1 and not crc_fits(buffer, at, end):
                if client is not None:
                    client.deliver(buffer, begun, at)
                raise BadFrame("the CRC is wrong")
            call = pop(number, None)
            asker = None if call is None else call[0]
            if call is None or asker is None or asker.fd < 0:  # nobody waits for it
                answered += call is not None
                if client is not None:
                    client.deliver(buffer, begun, at)
                    client = None
                begun = at = end
                continue
            answered += 1
            if asker is not client:
                if client is not None:
                    client.deliver(buffer, begun, at)
                client = asker
                begun = at
            _pack(buffer, at + id_at, call[1])
            if ver1 == 2 and codec & 1:
                write_crc(buffer, at, end)
            at = end
        if client is not None:
            client.deliver(buffer, begun, at)
        if at < size:
            self.inbox = buffer[at:]
        if self.again:
            self.again = {number: again for number, again in self.again.items() if number in self.calls}
        self._ended_calls(answered)

    def _ended_calls(self, count: int) -> None:
        self.endpoint.in_flight -= count
        if self.retiring and not self.calls and self.fd >= 0:
            self.close()
            self.lost(NOT_SENT)

    def _other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than an answer, or one that is not complete. Returns its end, `at` if more must come."""
        head = self.next_head(buffer, at)
        if head is None:
            return at
        if head.layout.version != self.version:
            raise BadFrame("the version changed")
        if head.length > MAX_FRAME:
            self._refuse(head)
            return self.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            return at
        if head.has_crc and not crc_fits(buffer, at, end):
            raise BadFrame("the CRC is wrong")
        if head.type and head.command == HEARTBEAT:
            self.send(heartbeat_answer(head))
        elif head.type and head.command == CALL:
            self._pushed(buffer[at:end], head)
        elif head.type and head.command == GOAWAY:
            self.retire()
        elif head.type == REQUEST:
            self.send(error(head.id, head.codec, head.ver1, CODEC))
        return end

    def _refuse(self, head: Head) -> None:
        """A frame that is too long."""
        if head.type == REQUEST:
            self.send(error(head.id, head.codec, head.ver1, CODEC))
        elif head.command == ANSWER:
            call = self.calls.pop(head.id, None)
            if call is not None:
                self._ended_calls(1)
                if call[0] is not None:
                    call[0].fail(call, CODEC)

    def _pushed(self, frame: bytearray, head: Head) -> None:
        """A request of the server."""
        client = self.caller
        if client is None or client.closed:
            waiting = (call[0] for call in reversed(self.calls.values()))
            client = next((one for one in waiting if one is not None and not one.closed), None)
        if client is not None:
            client.push(self, frame, head)
        elif head.type == REQUEST:
            self.send(error(head.id, head.codec, head.ver1, CLOSED))

    # ---- the transport ----

    def connected(self) -> None:
        """Calls that waited are flushed now."""
        now = self.plane.now
        self.connect_by = inf
        self.heard = self.spoke = self.beaten = now
        self.wake(self.due())

    def connect_failed(self, errno: int) -> None:
        """Have the calls tried at other endpoints."""
        self.not_connected()

    def not_connected(self) -> None:
        """The dial came to nothing: the calls go to other endpoints, as long as there are any."""
        pool = self.endpoint.shared.get(self.version)
        if pool is not None:
            pool.not_before = self.plane.now + PAUSE
        self.lost(NOT_SENT, self.endpoint.name)

    def ended(self) -> None:
        """The server's FIN: it answers nothing any more."""
        self.close()
        self.lost(CLOSED)

    def failed(self, errno: int) -> None:
        """The server is gone."""
        self.lost(CLOSED)

    def give_up(self, reason: str) -> None:
        """See `Framed.give_up`."""
        self.close()
        self.lost(CLOSED)

    def lost(self, status: int, unreachable: str = "") -> None:
        """The connection is closed. Calls that never left go elsewhere, the others fail with this status."""
        calls, again, unsent = self.calls, self.again, self.unsent
        self.calls, self.again, self.unsent = {}, {}, b""
        cluster = self.endpoint.cluster
        for head, at in frames(unsent):
            if head.command != CALL or not head.type:
                continue
            call = calls.pop(head.id, None)
            if call is None and head.type == REQUEST:
                continue
            attempts, tried = again.get(head.id, (0, ()))
            if unreachable:
                tried = (*tried, unreachable)
            else:
                attempts += 1
            if call is None:
                call = (None, 0, inf, head.codec, head.ver1)
            elif call[0] is None or call[0].closed:
                continue
            other = None
            if attempts <= cluster.config.retries:
                other = connect(self.plane, cluster, self.version, tried)
            if other is not None:
                other.add(bytearray(unsent[at : at + head.length]), head, call, (attempts, tried))
            elif call[0] is not None:
                call[0].fail(call, NOT_SENT)
        for call in calls.values():
            if call[0] is not None:
                call[0].fail(call, status)
        self.clogged = False
        self.drained()
        for client in self.asked:
            client.changes += 1
        self.asked.clear()
        self.caller = None

    def drained(self) -> None:
        """There is room again for those that feed it."""
        feeders = self.feeders
        self.feeders = {}
        for client in feeders:
            if self.clogged:
                self.feeders[client] = None
            else:
                client.unblock(self)

    def detached(self) -> None:
        """It ended, or lives elsewhere now."""
        pool = self.endpoint.shared.get(self.version)
        if pool is not None:
            pool.discard(self)
        self.endpoint.in_flight -= len(self.calls)
        self.unsent = self.outbox[self.torn :]

    def drain(self) -> None:
        """Take no further calls."""
        self.retire()

    def retire(self) -> None:
        """End with the last call."""
        self.retiring = True
        self.changes += 1
        pool = self.endpoint.shared.get(self.version)
        if pool is not None:
            pool.discard(self)
        if not self.calls:
            self.close()
            self.lost(NOT_SENT)

    # ---- deadlines ----

    def due(self) -> float:
        """The end of the dial; else the earliest deadline of a call, or the next heartbeat."""
        if self.connecting:
            return min(self.connect_by, self.soonest)
        silent_since = max(min(self.heard, self.spoke), self.beaten)
        return min(silent_since + self.endpoint.cluster.config.heartbeat_interval, self.soonest)

    def expired(self, now: float) -> None:
        """End calls whose time is up, give up a dial or a connection without a sign of life, or ask for one."""
        if self.soonest <= now:
            self._time_out(now)
        if self.connecting:
            if self.connect_by <= now:
                self.close()
                self.not_connected()
            return
        interval = self.endpoint.cluster.config.heartbeat_interval
        if max(min(self.heard, self.spoke), self.beaten) + interval > now or self.closed:
            return
        if self.heard >= self.beaten:
            self.unanswered = 0
        if self.endpoint not in self.endpoint.cluster.endpoints:
            self.retire()  # the configuration has no such endpoint any more
            return
        if self.unanswered >= UNANSWERED:
            self.close()
            self.lost(CLOSED)
            return
        self.unanswered += 1
        self.beaten = now
        self.send(heartbeat(self.version, self.next_id()))

    def _time_out(self, now: float) -> None:
        late = [number for number, call in self.calls.items() if call[2] <= now]
        for number in late:
            call = self.calls.pop(number)
            self.again.pop(number, None)
            if call[0] is not None:
                call[0].fail(call, TIMEOUT)
        self.soonest = min((call[2] for call in self.calls.values()), default=inf)
        self._ended_calls(len(late))

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.bolt.state.UpstreamState`."""
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
                    CallState(number, client.serial, caller_id, until - now, codec, ver1, *again.get(number, ()))
                    for number, (client, caller_id, until, codec, ver1) in self.calls.items()
                    if client is not None and client.fd >= 0
                ),
                self.caller.serial if self.caller is not None and self.caller.fd >= 0 else 0,
                tuple(client.serial for client in self.feeders if client.fd >= 0),
                remaining(self.connect_by, now),
                now - self.heard,
                now - self.spoke,
                now - self.beaten,
                self.unanswered,
                self.torn,
                self.retiring,
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
        self.retiring = saved.retiring
        serials = {call.caller for call in saved.calls}
        serials.update(saved.feeders)
        if saved.caller:
            serials.add(saved.caller)
        there: dict[int, Any] = places.expect(self, serials)
        before = len(self.calls)
        self.calls = {
            call.id: (there.get(call.caller), call.caller_id, now + call.left, call.codec, call.ver1)
            for call in saved.calls
        }
        self.again = {call.id: (call.attempts, call.tried) for call in saved.calls if call.attempts or call.tried}
        self.soonest = min((call[2] for call in self.calls.values()), default=inf)
        self.awaited = {}
        for call in saved.calls:
            if call.caller not in there:
                self.awaited.setdefault(call.caller, []).append(call.id)
        self.caller = None
        self.feeders = {}
        self.caller_awaited = saved.caller
        self.feeders_awaited = frozenset(saved.feeders)
        for client in there.values():
            self.met(client)
        endpoint.in_flight += len(self.calls) - before
        if not self.retiring:
            pool = endpoint.shared.get(self.version)
            if pool is None:
                pool = endpoint.shared[self.version] = SharedPool()
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

    def bonds(self) -> tuple[Connection, ...]:
        """The clients with calls under way here, in either direction."""
        found: dict[Connection, None] = {}
        for call in self.calls.values():
            if call[0] is not None and not call[0].closed:
                found[call[0]] = None
        found.update((client, None) for client in self.asked if client.owes(self))
        return tuple(found)

    def in_flight(self) -> int:
        """The calls, counted here and not at the clients."""
        return len(self.calls)

    def describe(self) -> dict[str, Any]:
        """With its version and calls."""
        return {**super().describe(), "version": self.version, "calls": len(self.calls)}
