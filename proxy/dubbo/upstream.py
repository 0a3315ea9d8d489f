"""Protocol ``dubbo``, the endpoint's side: calls of many clients on one connection, told apart by our own ids.

Ids are given from 1 to 2147483647, as on connections of bolt, though there is room for 64 bits: all peers can take
those, and more calls than that are never under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hotswap.swappable import Schema
from proxy.dubbo.frame import (
    EVENT,
    OK,
    READONLY_BODIES,
    REQUEST,
    SIZE,
    heartbeat_answer,
    read_head,
)
from proxy.dubbo.runs import DubboCalls, Sight
from proxy.dubbo.wire import DUBBO
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.upstream import MultiplexedUpstream

if TYPE_CHECKING:
    from proxy.multiplexed.pending import Pending
    from proxy.multiplexed.wire import Wire

MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""
REST: Final = 10.0
"""Seconds for which a server that wants no new calls is spared: so long those of Java take to go, by default."""

_sight = Sight()
_pieces = Pieces()


class DubboUpstream(MultiplexedUpstream):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "dubbo.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = DUBBO
    record: ClassVar[type[Pending]] = DubboCalls

    def describe(self) -> dict[str, Any]:
        """Without a version: there is one."""
        about = super().describe()
        del about["version"]
        return about

    def take(self, buffer: bytearray) -> None:
        """Give answers to whoever asked; runs of them for the same client go as one."""
        size = len(buffer)
        calls: Any = self.calls
        sight = _sight
        at = answered = wrong = 0
        now = self.plane.now
        endpoint = self.endpoint
        observe = endpoint.meters.durations.observe
        try:
            while size - at >= SIZE:
                end = calls.give_back(buffer, at, MAX_FRAME, now, observe)
                client = calls.asker
                if client is not None:
                    answered += calls.count
                    wrong += calls.wrong
                    client.deliver(buffer, at, end, calls.count, calls.wrong, calls.route)
                elif sight.answer(buffer, at, MAX_FRAME):  # nobody waits for it, or somebody looks at it
                    end = sight.end
                    call = calls.pop(sight.number)
                    if call is not None:
                        answered += 1
                        wrong += sight.status != OK
                        observe(now - call[6])
                        if call[0] is not None:
                            call[0].reply(buffer[at:end], call)
                elif sight.wanted:  # nearly all that is cut
                    self.inbox.wanted = sight.wanted
                    break
                else:
                    end = self._other(buffer, at)
                    if end == at:
                        break
                at = end
            if at < size:
                if size - at < SIZE:
                    read_head(buffer, at)  # what cannot be followed is not waited for
                self.inbox.rest = _pieces.rest(buffer, at)
        finally:  # also if what came behind them cannot be followed
            self.count_answers(answered, wrong)

    def _other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than an answer, or one that is not complete. Returns its end, `at` if more must come."""
        head = read_head(buffer, at)
        if head is None:
            return at
        if head.length > MAX_FRAME:
            if not head.flags & (REQUEST | EVENT):
                self.refuse_answer(head)
            elif head.wants_answer:
                self.send(self.wire.error(head.id, 0, 0, self.wire.unreadable))
            return self.inbox.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.inbox.wanted = head.length
            return at
        if head.calls:
            self.pushed(buffer[at:end], head)
        elif head.wants_answer:
            self.send(heartbeat_answer(head, buffer[at + SIZE : end]))
        elif head.flags & REQUEST:
            if bytes(buffer[at + SIZE : end].strip()) in READONLY_BODIES:
                self.endpoint.rests_until = self.plane.now + REST
                self.wind_down()
        elif self.spare and not self.closed:  # a readonly event may have gone before it
            self.proven()
        return end
