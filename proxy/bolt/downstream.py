"""Protocol ``bolt``, the client's side: calls cut out of the stream, each to the cluster that its route names.

A run of calls to the same upstream connection is patched in place, one id each, and appended there once. Heartbeats
are answered here. A call that cannot be served is answered by an error frame, and the others go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hotswap.swappable import Schema
from proxy.bolt.frame import (
    ANSWER,
    CALL,
    CODEC,
    HEARTBEAT,
    ONEWAY,
    REQUEST,
    crc_fits,
    error,
    heartbeat_answer,
    read_head,
)
from proxy.bolt.runs import Sight
from proxy.bolt.upstream import BoltUpstream
from proxy.bolt.wire import BOLT
from proxy.multiplexed.downstream import MultiplexedDownstream
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from proxy.multiplexed.ledger import Ledger
    from proxy.multiplexed.upstream import MultiplexedUpstream
    from proxy.multiplexed.wire import Wire

_sight = Sight()
_pieces = Pieces()


class BoltDownstream(MultiplexedDownstream):
    """A client connection."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = BOLT
    upstream: ClassVar[type[MultiplexedUpstream]] = BoltUpstream

    # ---- what comes from the client ----

    def take(self, buffer: bytearray) -> None:
        """Pass calls on, in runs."""
        listener = self.listener
        if listener.attended:
            self.take_each(buffer)
            return
        now = self.plane.now
        size = len(buffer)
        sight = _sight
        at = 0
        upstream: Ledger | None = None
        while at < size:
            if not sight.call(buffer, at):
                upstream = None
                if 0 < sight.wanted <= listener.config.max_frame:  # nearly all that is cut
                    self.inbox.wanted = sight.wanted
                    break
                end = self.other(buffer, at)
                if end == at:
                    break
                at = end
                continue
            end = sight.end
            chosen = self.choose(buffer, sight.header, sight.header_end, buffer[at], upstream)
            if isinstance(chosen, int):
                upstream = None
                self.refuse_run(sight.number, sight.codec, sight.ver1, chosen)
                at = end
                continue
            upstream = chosen
            endpoint = upstream.endpoint
            cluster = endpoint.cluster
            if upstream.clogged:  # this call waits here until that can get rid of what it has
                self.block(upstream)
                break
            calls: Any = upstream.calls
            patience = cluster.request_timeout
            end = calls.pass_on(buffer, at, self.alike, self, self.route, now, patience)
            upstream.append(buffer, at, end, self, calls.count, calls.soonest)
            at = end
        if at < size:
            self.inbox.rest = _pieces.rest(buffer, at)

    def other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than a call, or one that is not complete. Returns its end, `at` if more must come."""
        head = read_head(buffer, at)
        if head is None:
            return at
        wants_answer = head.type == REQUEST
        if head.length > self.listener.config.max_frame:
            if wants_answer:
                if head.command == CALL:
                    self.count_error("")
                self.send(error(head.id, head.codec, head.ver1, CODEC))
            if head.type and head.command == CALL:
                self.tell(self.about(b"", head), "own", CODEC)
            return self.inbox.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.inbox.wanted = head.length
            return at
        if head.has_crc and not crc_fits(buffer, at, end):
            raise BadFrame("the CRC is wrong")
        if head.command == HEARTBEAT:
            if head.type:
                self.send(heartbeat_answer(head))
        elif head.type and head.command == CALL and self.listener.attended:
            self.attend(buffer[at:end], head)
        elif head.type == ONEWAY and head.command == CALL:
            header = head.size + head.class_length
            self.one_way(buffer[at:end], head, header, header + head.header_length)
        elif head.command == ANSWER and not head.type:
            self.pushed_back(buffer[at:end], head)
        elif wants_answer:
            self.send(error(head.id, head.codec, head.ver1, CODEC))
        return end
