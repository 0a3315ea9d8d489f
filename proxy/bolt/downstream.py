"""Protocol ``bolt``, the client's side: calls cut out of the stream, each to the cluster that its route names.

A run of calls to the same upstream connection is patched in place, one id each, and appended there once. Heartbeats
are answered here. A call that cannot be served is answered by an error frame, and the others go on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

from hotswap.swappable import Schema
from proxy.bolt.frame import (
    ANSWER,
    CALL,
    CALLS,
    CODEC,
    CRC_SIZE,
    HEARTBEAT,
    ONEWAY,
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
from proxy.bolt.upstream import BoltUpstream
from proxy.bolt.wire import BOLT
from proxy.multiplexed.downstream import MultiplexedDownstream
from proxy.multiplexed.ledger import LAST_ID
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from typing import Any

    from proxy.multiplexed.ledger import Call, Ledger
    from proxy.multiplexed.upstream import MultiplexedUpstream
    from proxy.multiplexed.wire import Wire

_FORMS = {form.version: (form.id_at, form.request.size, form.request.unpack_from) for form in (V1, V2)}
_known = CALLS.get
_pack = U32.pack_into


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
        services = listener.services
        now = self.plane.now
        size = len(buffer)
        version = -1
        route = ""
        at = begun = fixed = id_at = last = count = 0
        unpack: Any = None
        upstream: Ledger | None = None
        choosing = True
        patience = 0.0
        calls: dict[int, Call] = {}
        soonest = inf
        while at < size:
            if buffer[at] != version:
                if upstream is not None:
                    upstream.append(buffer, begun, at, self, count, last, soonest)
                    upstream = None
                begun = at
                version = buffer[at]
                if version not in _FORMS:
                    raise BadFrame(f"{version} is no version of bolt")
                id_at, fixed, unpack = _FORMS[version]
            ver1 = None
            end = 0
            if size - at >= fixed:
                first, number, codec, timeout, class_length, header_length, content_length = unpack(buffer, at)
                ver1 = _known(first)
                end = at + fixed + class_length + header_length + content_length
                if ver1 == 2 and codec & 1:
                    end += CRC_SIZE
            if ver1 is None or end > size or (class_length | header_length) & 0x8000:
                if upstream is not None:
                    upstream.append(buffer, begun, at, self, count, last, soonest)
                    upstream = None
                begun = self.other(buffer, at)
                if begun == at:
                    break
                at = begun
                continue
            if ver1 == 2 and codec & 1 and not crc_fits(buffer, at, end):
                if upstream is not None:
                    upstream.append(buffer, begun, at, self, count, last, soonest)
                raise BadFrame("the CRC is wrong")
            if upstream is None or choosing:
                header = at + fixed + class_length
                chosen = self.choose(buffer, header, header + header_length, version, upstream)
                route = self.route
                if chosen is not upstream:
                    if upstream is not None:
                        upstream.append(buffer, begun, at, self, count, last, soonest)
                        upstream = None
                    begun = at
                    if isinstance(chosen, int):
                        self.refuse_run(number, codec, ver1, chosen)
                        begun = at = end
                        continue
                    if chosen.clogged:  # this call waits here until that can get rid of what it has
                        self.block(chosen)
                        break
                    upstream = chosen
                    cluster = upstream.endpoint.cluster
                    choosing = services.only is None or len(cluster.endpoints) > 1 or cluster.limits is not None
                    patience = cluster.config.request_timeout
                    calls, last, count, soonest = upstream.calls, upstream.last_id, 0, inf
            until = now + (timeout * 0.001 if timeout > 0 else patience)
            if until < soonest:  # noqa: PLR1730 - half the cost of min()
                soonest = until
            last += 1
            while last in calls or last > LAST_ID:
                last = last + 1 if last < LAST_ID else 1
            calls[last] = (self, number, until, codec, ver1, None, now, route)
            count += 1
            _pack(buffer, at + id_at, last)
            if ver1 == 2 and codec & 1:
                write_crc(buffer, at, end)
            at = end
        if upstream is not None:
            upstream.append(buffer, begun, at, self, count, last, soonest)
        if at < size:
            self.inbox = buffer[at:]

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
            return self.skip_frame(buffer, at, head.length)
        end = at + head.length
        if end > len(buffer):
            self.wanted = head.length
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
