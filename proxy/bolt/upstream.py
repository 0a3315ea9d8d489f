"""Protocol ``bolt``, the endpoint's side: calls of many clients on one connection, told apart by our own ids.

A request of the server goes to the client that called last on this connection, or, if that is gone, to one that
waits for an answer on it; its way back is the downstream's record.
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
    U32,
    V1,
    V2,
    BadFrame,
    crc_fits,
    error,
    frames,
    heartbeat_answer,
    read_head,
    write_crc,
)
from proxy.bolt.living import Living
from proxy.bolt.pool import PAUSE, SharedPool
from proxy.encryption.reasons import ENDED

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.bolt.client import Client
    from proxy.bolt.frame import Head
    from proxy.bolt.ledger import Ledger
    from proxy.cluster import Cluster
    from proxy.plane import Plane

GOAWAY: Final = 100
"""A command of MOSN's servers: no further calls here."""
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
    if chosen is not None and not (
        endpoint.mix.settled or chosen.connecting or cluster.switch.admits(chosen, plane.now)
    ):
        chosen = pool.choose()
    if chosen is None or (len(pool.members) < cluster.config.shared_connections and pool.grows(chosen, plane.now)):
        added = BoltUpstream(plane)
        added.dial(endpoint, version)
        pool.add(added)
        chosen = chosen or added
    return chosen


class BoltUpstream(Living):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

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
        self.ended_calls(answered)

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
        elif self.spare and head.command == HEARTBEAT and not self.closed:  # a GOAWAY may have gone before it
            self.proven()
        elif head.type and head.command == CALL:
            self._pushed(buffer[at:end], head)
        elif head.type and head.command == GOAWAY:
            self.wind_down()
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
                self.ended_calls(1)
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

    def connect_failed(self, errno: int) -> None:
        """Have the calls tried at other endpoints."""
        self.not_connected()

    def not_connected(self) -> None:
        """See `Living`. Nobody waits for one that was to take another's place."""
        if self.spare:
            return
        pool = self.endpoint.shared.get(self.version)
        if pool is not None:
            pool.not_before = self.plane.now + PAUSE
        self.endpoint.unreachable(self.plane.now)
        self.lost(NOT_SENT, self.endpoint.name)

    def ended(self) -> None:
        """The server's FIN: it answers nothing any more."""
        self.close()
        self.cut()

    def failed(self, errno: int) -> None:
        """The server is gone."""
        self.cut()

    def cut(self) -> None:
        """See `Living`."""
        if self.refused():
            self.lost(CLOSED, unseen=True)
            return
        if self.calls:
            self.endpoint.lost(self.plane.now)
        self.lost(CLOSED)

    def give_up(self, reason: str) -> None:
        """See `Framed.give_up`."""
        self.close()
        self.lost(CLOSED)

    def lost(self, status: int, unreachable: str = "", *, unseen: bool = False) -> None:
        """See `Living`."""
        if self.spare and not unseen and not self.spurned:
            self.endpoint.cluster.switch.refused(self, ENDED, self.plane.now)
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
            if attempts <= (terms or cluster.config).retries + unseen:
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
