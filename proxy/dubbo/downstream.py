"""Protocol ``dubbo``, the client's side: calls cut out of the stream, each to the cluster that its route names.

A run of calls to the same upstream connection is patched in place, one id each, and appended there once. Heartbeats
are answered here. A call that cannot be served is answered by an error, and the others go on. A drain is announced by
the readonly event, and the client has a moment to heed it before the connection may end.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from hotswap.swappable import Schema
from proxy.dubbo.frame import (
    CALL,
    EVENT,
    HEAD,
    ID,
    ID_AT,
    MAGIC,
    READONLY,
    REQUEST,
    SERIALIZATION,
    SIZE,
    heartbeat_answer,
    read_head,
)
from proxy.dubbo.patience import patience
from proxy.dubbo.upstream import DubboUpstream
from proxy.dubbo.wire import DUBBO
from proxy.multiplexed.downstream import MultiplexedDownstream
from proxy.multiplexed.ledger import LAST_ID

if TYPE_CHECKING:
    from proxy.multiplexed.ledger import Call, Ledger
    from proxy.multiplexed.upstream import MultiplexedUpstream
    from proxy.multiplexed.wire import Wire

GRACE: Final = 1.0
"""Seconds for what a client sent before it saw the readonly event."""

_unpack = HEAD.unpack_from
_pack = ID.pack_into


class DubboDownstream(MultiplexedDownstream):
    """A client connection."""

    __slots__ = ()

    kind: ClassVar[str] = "dubbo.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = DUBBO
    upstream: ClassVar[type[MultiplexedUpstream]] = DubboUpstream

    def take(self, buffer: bytearray) -> None:
        """Pass calls on, in runs."""
        listener = self.listener
        if listener.attended:
            self.take_each(buffer)
            return
        services = listener.services
        reach = services.reach
        deep = reach is None and services.only is None  # attachments are read: what is in them is cheap by comparison
        limit = listener.config.max_frame
        now = self.plane.now
        size = len(buffer)
        route = ""
        at = begun = last = count = 0
        upstream: Ledger | None = None
        choosing = True
        until = 0.0
        calls: dict[int, Call] = {}
        soonest = inf
        while size - at >= SIZE:
            magic, flags, _, number, length = _unpack(buffer, at)
            end = at + SIZE + length
            if magic != MAGIC or flags & ~SERIALIZATION != CALL or end > size or length + SIZE > limit:
                if upstream is not None:
                    upstream.append(buffer, begun, at, self, count, last, soonest)
                    upstream = None
                begun = self.other(buffer, at)
                if begun == at:
                    break
                at = begun
                continue
            if upstream is None or choosing:
                body = at + SIZE
                reached = end if reach is None or body + reach > end else body + reach
                chosen = self.choose(buffer, body, reached, MAGIC, upstream)
                route = self.route
                if chosen is not upstream:
                    if upstream is not None:
                        upstream.append(buffer, begun, at, self, count, last, soonest)
                        upstream = None
                    begun = at
                    if isinstance(chosen, int):
                        self.refuse_run(number, 0, 0, chosen)
                        begun = at = end
                        continue
                    if chosen.clogged:  # this call waits here until that can get rid of what it has
                        self.block(chosen)
                        break
                    upstream = chosen
                    cluster = upstream.endpoint.cluster
                    choosing = services.only is None or len(cluster.endpoints) > 1 or cluster.limits is not None
                    soonest = until = now + cluster.config.request_timeout
                    calls, last, count = upstream.calls, upstream.last_id, 0
            last += 1
            while last in calls or last > LAST_ID:
                last = last + 1 if last < LAST_ID else 1
            if deep:
                until = max(soonest, now + patience(buffer, at + SIZE, end))
            calls[last] = (self, number, until, 0, 0, None, now, route)
            count += 1
            _pack(buffer, at + ID_AT, last)
            at = end
        if upstream is not None:
            upstream.append(buffer, begun, at, self, count, last, soonest)
        if at < size:
            if size - at < SIZE:
                read_head(buffer, at)  # what cannot be followed is not waited for
            self.inbox = buffer[at:]

    def other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than a call, or one that is not complete. Returns its end, `at` if more must come."""
        head = read_head(buffer, at)
        if head is None:
            return at
        if head.length > self.listener.config.max_frame:
            if head.calls:
                if head.wants_answer:
                    self.count_error("")
                self.tell(self.about(b"", head), "own", self.wire.unreadable)
            if head.wants_answer:
                self.send(self.wire.error(head.id, 0, 0, self.wire.unreadable))
            return self.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.wanted = head.length
            return at
        if head.flags & EVENT:
            if head.wants_answer:
                self.send(heartbeat_answer(head, buffer[at + SIZE : end]))
        elif not head.flags & REQUEST:
            self.pushed_back(buffer[at:end], head)
        elif self.listener.attended:
            self.attend(buffer[at:end], head)
        else:
            reach = self.listener.services.reach
            self.one_way(buffer[at:end], head, SIZE, end - at if reach is None else min(SIZE + reach, end - at))
        return end

    def drain(self) -> None:
        """Tell the client to send nothing new, give it a moment, and end after the last answer."""
        if not self.leaving:
            self.send(READONLY)
            self.linger = self.plane.now + GRACE
            self.wake(self.linger)
        super().drain()
