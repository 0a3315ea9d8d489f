"""Protocol ``bolt``, the endpoint's side: calls of many clients on one connection, told apart by our own ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hotswap.swappable import Schema
from proxy.bolt.frame import (
    ANSWER,
    CALL,
    CODEC,
    HEARTBEAT,
    REQUEST,
    V1,
    V2,
    crc_fits,
    error,
    heartbeat_answer,
    read_head,
)
from proxy.bolt.runs import BoltCalls, Sight
from proxy.bolt.wire import BOLT
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.upstream import MultiplexedUpstream
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from proxy.bolt.frame import Head
    from proxy.multiplexed.pending import Pending
    from proxy.multiplexed.wire import Wire

GOAWAY: Final = 100
"""A command of MOSN's servers: no further calls here."""
MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""

SMALLEST: Final = {form.version: form.response.size for form in (V1, V2)}
"""Bytes of the head of an answer."""

_sight = Sight()
_pieces = Pieces()


class BoltUpstream(MultiplexedUpstream):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = BOLT
    record: ClassVar[type[Pending]] = BoltCalls

    # ---- what comes from the server ----

    def take(self, buffer: bytearray) -> None:
        """Give answers to whoever asked; runs of them for the same client go as one."""
        size = len(buffer)
        version = self.version
        smallest = SMALLEST[version]
        calls: Any = self.calls
        sight = _sight
        at = answered = wrong = 0
        now = self.plane.now
        endpoint = self.endpoint
        observe = endpoint.meters.durations.observe
        try:
            while size - at >= smallest:
                end = calls.give_back(buffer, at, version, now, observe)
                client = calls.asker
                if client is not None:
                    answered += calls.count
                    wrong += calls.wrong
                    client.deliver(buffer, at, end, calls.count, calls.wrong, calls.route)
                elif sight.answer(buffer, at, version):  # nobody waits for it, or somebody looks at it
                    end = sight.end
                    call = calls.pop(sight.number)
                    if call is not None:
                        answered += 1
                        wrong += sight.status != 0
                        observe(now - call[6])
                        if call[0] is not None:
                            call[0].reply(buffer[at:end], call)
                elif 0 < sight.wanted <= MAX_FRAME:  # nearly all that is cut
                    self.inbox.wanted = sight.wanted
                    break
                else:
                    end = self._other(buffer, at)
                    if end == at:
                        break
                at = end
            if at < size:
                self.inbox.rest = _pieces.rest(buffer, at)
        finally:  # also if what came behind them cannot be followed
            self.count_answers(answered, wrong)

    def _other(self, buffer: bytearray, at: int) -> int:
        """Any other frame than an answer, or one that is not complete. Returns its end, `at` if more must come."""
        head = read_head(buffer, at)
        if head is None:
            return at
        if head.layout.version != self.version:
            raise BadFrame("the version changed")
        if head.length > MAX_FRAME:
            self._refuse(head)
            return self.inbox.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.inbox.wanted = head.length
            return at
        if head.has_crc and not crc_fits(buffer, at, end):
            raise BadFrame("the CRC is wrong")
        if head.type and head.command == HEARTBEAT:
            self.send(heartbeat_answer(head))
        elif self.spare and head.command == HEARTBEAT and not self.closed:  # a GOAWAY may have gone before it
            self.proven()
        elif head.type and head.command == CALL:
            self.pushed(buffer[at:end], head)
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
            self.refuse_answer(head)
