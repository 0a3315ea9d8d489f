"""Protocol ``bolt``, the endpoint's side: calls of many clients on one connection, told apart by our own ids.

A request of the server goes to the client that called last on this connection, or, if that is gone, to one that
waits for an answer on it; its way back is the downstream's record.

Silence of `heartbeat_interval` in either direction is broken by a heartbeat, whatever is under way: servers close a
silent connection even with a call pending. One that stays mute for three of them is closed.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

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
    read_head,
    write_crc,
)
from proxy.bolt.ledger import Ledger
from proxy.bolt.pool import PAUSE, SharedPool
from proxy.proxy_protocol.sending import announcement

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.bolt.client import Client
    from proxy.bolt.frame import Head
    from proxy.cluster import Cluster
    from proxy.endpoint import Endpoint
    from proxy.plane import Plane

GOAWAY: Final = 100
"""A command of MOSN's servers: no further calls here."""
UNANSWERED: Final = 3
"""Heartbeats without a sign of life after which a connection is given up."""
MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""

_FORMS = {form.version: (form.id_at, form.response.size, form.response.unpack_from) for form in (V1, V2)}
_known = ANSWERS.get
_pack = U32.pack_into


def connect(
    plane: Plane,
    cluster: Cluster,
    version: int,
    tried: Collection[str] = (),
    subset: tuple[tuple[str, str], ...] = (),
) -> Ledger | None:
    """The shared connection for a call to this cluster, perhaps one that is being dialled; None: no endpoint is left.

    `tried` are the endpoints that cannot be connected to; only those with all labels of the `subset` are asked.
    """
    endpoint = cluster.pick(tried, subset)
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


class BoltUpstream(Ledger):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def dial(self, endpoint: Endpoint, version: int) -> None:
        """Connect; calls may be given to it at once."""
        self.endpoint = endpoint
        self.version = version
        self.retiring = self.plane.draining
        self.connect_by = self.plane.now + endpoint.cluster.config.connect_timeout
        self.plane.dial(self, endpoint.address)
        self.torn = self.introduce(announcement(endpoint.cluster, None))  # no frame that could be sent elsewhere
        self.wake(self.connect_by)

    # ---- what comes from the server ----

    def take(self, buffer: bytearray) -> None:
        """Give answers to whoever asked; runs of them for the same client go as one."""
        size = len(buffer)
        id_at, fixed, unpack = _FORMS[self.version]
        pop = self.calls.pop
        at = begun = answered = wrong = before = wrong_before = 0
        now = self.plane.now
        observe = self.endpoint.meters.durations.observe
        client: Client | None = None
        route = ""
        while size - at >= fixed:
            first, number, codec, status, class_length, header_length, content_length = unpack(buffer, at)
            ver1 = _known(first)
            end = at + fixed + class_length + header_length + content_length
            if ver1 == 2 and codec & 1:
                end += CRC_SIZE
            if ver1 is None or end > size or (class_length | header_length) & 0x8000:
                if client is not None:
                    client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                    client = None
                begun = self._other(buffer, at)
                if begun == at:
                    break
                at = begun
                continue
            if ver1 == 2 and codec & 1 and not crc_fits(buffer, at, end):
                if client is not None:
                    client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                raise BadFrame("the CRC is wrong")
            call = pop(number, None)
            asker = None if call is None else call[0]
            if call is None or asker is None or call[5] is not None:  # nobody waits for it, or somebody looks at it
                if client is not None:
                    client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                    client = None
                if call is not None:
                    answered += 1
                    wrong += status != 0
                    observe(now - call[6])
                    if asker is not None:
                        asker.reply(buffer[at:end], call)
                begun = at = end
                continue
            if asker is not client or call[7] is not route:
                if client is not None:
                    client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                client, route = asker, call[7]
                begun, before, wrong_before = at, answered, wrong
            answered += 1
            wrong += status != 0
            observe(now - call[6])
            _pack(buffer, at + id_at, call[1])
            if ver1 == 2 and codec & 1:
                write_crc(buffer, at, end)
            at = end
        if client is not None:
            client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
        if at < size:
            self.inbox = buffer[at:]
        if self.again and not self.outbox:
            self.again = {number: again for number, again in self.again.items() if number in self.calls}
        if answered and self.endpoint.watch is not None:
            self.endpoint.watch.answered(self.plane.now)
        self.endpoint.calls += answered
        if answered:
            oks, errors = self.endpoint.meters.calls or self.endpoint.meters.bolt()
            oks.inc(answered - wrong)
            errors.inc(wrong)
        self._ended_calls(answered)

    def _ended_calls(self, count: int) -> None:
        self.endpoint.in_flight -= count
        if self.retiring:
            self.end_if_done()

    def end_if_done(self) -> None:
        """See `Ledger`."""
        if not self.retiring or self.calls or self.closed:
            return
        if self.tls is not None and self.tls.sealed and not self.connecting:
            self.shut()  # oneway frames among them have left the outbox: no other connection could send them
        else:
            self.finished()

    def finished(self) -> None:
        """All is sent that has to be sent here."""
        self.close()
        self.lost(NOT_SENT)

    def _other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than an answer, or one that is not complete. Returns its end, `at` if more must come."""
        head = read_head(buffer, at)
        if head is None:
            return at
        if head.layout.version != self.version:
            raise BadFrame("the version changed")
        if head.length > MAX_FRAME:
            self._refuse(head)
            return self.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.wanted = head.length
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
        if client is None:
            client = next((call[0] for call in reversed(self.calls.values())), None)
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
        self.endpoint.connected()
        self.wake(self.due())

    def connect_failed(self, errno: int) -> None:
        """Have the calls tried at other endpoints."""
        self.not_connected()

    def not_connected(self) -> None:
        """The dial came to nothing: the calls go to other endpoints, as long as there are any."""
        pool = self.endpoint.shared.get(self.version)
        if pool is not None:
            pool.not_before = self.plane.now + PAUSE
        self.endpoint.unreachable(self.plane.now)
        self.lost(NOT_SENT, self.endpoint.name)

    def ended(self) -> None:
        """The server's FIN: it answers nothing any more."""
        self.close()
        self._cut()

    def failed(self, errno: int) -> None:
        """The server is gone."""
        self._cut()

    def _cut(self) -> None:
        if self.calls:
            self.endpoint.lost(self.plane.now)
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
                call = (None, 0, inf, head.codec, head.ver1, None, self.plane.now, "")
            elif call[0] is None:
                continue
            other = None
            terms = call[5].terms if call[5] is not None else None
            if attempts <= (terms or cluster.config).retries:
                other = connect(self.plane, cluster, self.version, tried, terms.subset if terms is not None else ())
            if other is not None:
                if not unreachable:
                    cluster.meters.retries.inc()
                other.add(bytearray(unsent[at : at + head.length]), head, call, (attempts, tried))
            elif call[0] is not None:
                call[0].fail(call, NOT_SENT)
        for call in calls.values():
            if call[0] is not None:
                call[0].fail(call, status)
        self.clogged = False
        self.drained()
        asked, self.asked = self.asked, {}
        for client in asked:
            client.forsaken(self)
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
        self.end_if_done()

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
        if self.endpoint not in self.endpoint.cluster.endpoints:  # nor in the configuration any more
            self.retire()
        if self.unanswered >= UNANSWERED:
            self.close()
            self._cut()
            return
        self.unanswered += 1
        self.beaten = now
        self.send(heartbeat(self.version, self.next_id()))

    def _time_out(self, now: float) -> None:
        late = [number for number, call in self.calls.items() if call[2] <= now]
        for number in late:
            call = self.calls.pop(number)
            self.again.pop(number, None)
            self.endpoint.overdue(now)
            if call[0] is not None:
                call[0].fail(call, TIMEOUT, late=True)
        self.soonest = min((call[2] for call in self.calls.values()), default=inf)
        self._ended_calls(len(late))
