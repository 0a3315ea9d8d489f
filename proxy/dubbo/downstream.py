"""Protocol ``dubbo``, the client's side: calls cut out of the stream, each to the cluster that its route names.

A run of calls to the same upstream connection is patched in place, one id each, and appended there once. Heartbeats
are answered here. A call that cannot be served is answered by an error, and the others go on. A drain is announced by
the readonly event, and the client has a moment to heed it before the connection may end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hotswap.swappable import Schema
from proxy.dubbo.frame import EVENT, MAGIC, READONLY, REQUEST, SIZE, heartbeat_answer, read_head
from proxy.dubbo.patience import patience
from proxy.dubbo.runs import Sight
from proxy.dubbo.upstream import DubboUpstream
from proxy.dubbo.wire import DUBBO
from proxy.multiplexed.downstream import MultiplexedDownstream
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.wire import EVERY, SAME

if TYPE_CHECKING:
    from proxy.multiplexed.ledger import Ledger
    from proxy.multiplexed.upstream import MultiplexedUpstream
    from proxy.multiplexed.wire import Wire

GRACE: Final = 1.0
"""Seconds for what a client sent before it saw the readonly event."""

_sight = Sight()
_pieces = Pieces()


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
        sight = _sight
        at = 0
        upstream: Ledger | None = None
        while size - at >= SIZE:
            if not sight.call(buffer, at, limit):
                upstream = None
                if sight.wanted:  # nearly all that is cut
                    self.inbox.wanted = sight.wanted
                    break
                end = self.other(buffer, at)
                if end == at:
                    break
                at = end
                continue
            end = sight.end
            body = at + SIZE
            reached = end if reach is None or body + reach > end else body + reach
            chosen = self.choose(buffer, body, reached, MAGIC, upstream)
            if isinstance(chosen, int):
                upstream = None
                self.refuse_run(sight.number, 0, 0, chosen)
                at = end
                continue
            upstream = chosen
            endpoint = upstream.endpoint
            cluster = endpoint.cluster
            if upstream.clogged:  # this call waits here until that can get rid of what it has
                self.block(upstream)
                break
            calls: Any = upstream.calls
            until = now + cluster.request_timeout
            same = -1
            if deep:
                same = 0
                until = max(until, now + patience(buffer, body, end))
            elif self.alike != EVERY:
                same = services.same if self.alike == SAME else 0
            end = calls.pass_on(buffer, at, same, limit, self, self.route, now, until)
            upstream.append(buffer, at, end, self, calls.count, calls.soonest)
            at = end
        if at < size:
            if size - at < SIZE:
                read_head(buffer, at)  # what cannot be followed is not waited for
            self.inbox.rest = _pieces.rest(buffer, at)

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
            return self.inbox.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.inbox.wanted = head.length
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
