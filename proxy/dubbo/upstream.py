"""Protocol ``dubbo``, the endpoint's side: calls of many clients on one connection, told apart by our own ids.

Ids are given from 1 to 2147483647, as on connections of bolt, though there is room for 64 bits: all peers can take
those, and more calls than that are never under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from hotswap.swappable import Schema
from proxy.dubbo.frame import (
    EVENT,
    HEAD,
    ID,
    ID_AT,
    MAGIC,
    OK,
    READONLY_BODIES,
    REQUEST,
    SIZE,
    heartbeat_answer,
    read_head,
)
from proxy.dubbo.wire import DUBBO
from proxy.multiplexed.upstream import MultiplexedUpstream

if TYPE_CHECKING:
    from typing import Any

    from proxy.multiplexed.client import Client
    from proxy.multiplexed.wire import Wire

MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""
REST: Final = 10.0
"""Seconds for which a server that wants no new calls is spared: so long those of Java take to go, by default."""

_OTHER: Final = REQUEST | EVENT

_unpack = HEAD.unpack_from
_pack = ID.pack_into


class DubboUpstream(MultiplexedUpstream):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "dubbo.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = DUBBO

    def describe(self) -> dict[str, Any]:
        """Without a version: there is one."""
        about = super().describe()
        del about["version"]
        return about

    def take(self, buffer: bytearray) -> None:
        """Give answers to whoever asked; runs of them for the same client go as one."""
        size = len(buffer)
        pop = self.calls.pop
        at = begun = answered = wrong = before = wrong_before = 0
        now = self.plane.now
        observe = self.endpoint.meters.durations.observe
        client: Client | None = None
        route = ""
        try:
            while size - at >= SIZE:
                magic, flags, status, number, length = _unpack(buffer, at)
                end = at + SIZE + length
                if magic != MAGIC or flags & _OTHER or end > size or length > MAX_FRAME:
                    if client is not None:
                        client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                        client = None
                    begun = self._other(buffer, at)
                    if begun == at:
                        break
                    at = begun
                    continue
                call = pop(number, None)
                asker = None if call is None else call[0]
                if call is None or asker is None or call[5] is not None:  # nobody waits for it, or somebody looks at it
                    if client is not None:
                        client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
                        client = None
                    if call is not None:
                        answered += 1
                        wrong += status != OK
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
                wrong += status != OK
                observe(now - call[6])
                _pack(buffer, at + ID_AT, call[1])
                at = end
            if client is not None:
                client.deliver(buffer, begun, at, answered - before, wrong - wrong_before, route)
            if at < size:
                if size - at < SIZE:
                    read_head(buffer, at)  # what cannot be followed is not waited for
                self.inbox = buffer[at:]
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
            return self.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.wanted = head.length
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
