"""Protocol ``bolt``, the endpoint's side: calls of many clients on one connection, told apart by our own ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from hotswap.swappable import Schema
from proxy.bolt.frame import (
    ANSWER,
    ANSWERS,
    CALL,
    CODEC,
    CRC_SIZE,
    HEARTBEAT,
    REQUEST,
    U32,
    V1,
    V2,
    crc_fits,
    error,
    heartbeat_answer,
    read_head,
    write_crc,
)
from proxy.bolt.wire import BOLT
from proxy.multiplexed.upstream import MultiplexedUpstream
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from proxy.bolt.frame import Head
    from proxy.multiplexed.client import Client
    from proxy.multiplexed.wire import Wire

GOAWAY: Final = 100
"""A command of MOSN's servers: no further calls here."""
MAX_FRAME: Final = 1 << 24
"""Bytes of a frame that a server may send."""

_FORMS = {form.version: (form.id_at, form.response.size, form.response.unpack_from) for form in (V1, V2)}
_known = ANSWERS.get
_pack = U32.pack_into


class BoltUpstream(MultiplexedUpstream):
    """A connection to an endpoint, shared by all clients."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    wire: ClassVar[Wire] = BOLT

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
        try:
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
