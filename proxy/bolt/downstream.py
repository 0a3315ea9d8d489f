"""Protocol ``bolt``, the client's side: calls cut out of the stream, each to the cluster that its route names.

A run of calls to the same upstream connection is patched in place, one id each, and appended there once. Heartbeats
are answered here. A call that cannot be served is answered by an error frame, and the others go on.

A request of a server, which came by the upstream connection that this client used last, gets an id of ours too:
`pushes` is the way back for its answer.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

from hotswap.swappable import Schema
from proxy.bolt.attended import MAX_CALLS, Attended
from proxy.bolt.frame import (
    ANSWER,
    BUSY,
    CALL,
    CALLS,
    CODEC,
    CRC_SIZE,
    HEARTBEAT,
    NO_PROCESSOR,
    NOT_SENT,
    ONEWAY,
    REQUEST,
    TIMEOUT,
    U32,
    V1,
    V2,
    BadFrame,
    crc_fits,
    error,
    heartbeat_answer,
    read_head,
    write_crc,
)
from proxy.bolt.ledger import LAST_ID
from proxy.bolt.upstream import connect

if TYPE_CHECKING:
    from typing import Any

    from proxy.bolt.frame import Head
    from proxy.bolt.ledger import Call, Ledger

_FORMS = {form.version: (form.id_at, form.request.size, form.request.unpack_from) for form in (V1, V2)}
_known = CALLS.get
_pack = U32.pack_into


class BoltDownstream(Attended):
    """A client connection."""

    __slots__ = ()

    kind: ClassVar[str] = "bolt.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def begin(self) -> None:
        """The first frame is due within the keep-alive timeout."""
        self.wake(self.due())

    # ---- what comes from the client ----

    def take(self, buffer: bytearray) -> None:
        """Pass calls on, in runs."""
        listener = self.listener
        if listener.attended:
            self._take_each(buffer)
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
                begun = self._other(buffer, at)
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
                chosen = self._choose(buffer, header, header + header_length, version, upstream)
                route = self.route
                if chosen is not upstream:
                    if upstream is not None:
                        upstream.append(buffer, begun, at, self, count, last, soonest)
                        upstream = None
                    begun = at
                    if isinstance(chosen, int):
                        self.listener.answered += 1
                        self.listener.failed += chosen != NO_PROCESSOR
                        self.count_error(self.route)
                        self.send(error(number, codec, ver1, chosen))
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

    def _choose(self, buffer: bytearray, header: int, end: int, version: int, last: Ledger | None) -> Ledger | int:
        """The connection for a call with this header; a status if there is none. `last` is that of the call before."""
        services = self.listener.services
        name = services.only
        self.route = services.label
        if name is None:
            try:
                route = services.route(bytes(buffer[header:end]))
            except ValueError:
                return CODEC
            if route is None:
                return NO_PROCESSOR
            name, self.route = route.cluster(), route.label
        cluster = self.listener.clusters[name]
        if cluster.limits is not None and cluster.limits.busy():
            return BUSY
        if last is not None and last.endpoint.cluster is cluster and len(cluster.endpoints) == 1:
            return last
        chosen = connect(self.plane, cluster, version)
        if chosen is None:
            return NOT_SENT
        return BUSY if len(chosen.calls) >= MAX_CALLS else chosen

    def _other(self, buffer: bytearray, at: int) -> int:
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
                self.tell(self.about({}, head), "own", CODEC)
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
            self._one_way(buffer[at:end], head)
        elif head.command == ANSWER and not head.type:
            self._pushed_back(buffer[at:end], head)
        elif wants_answer:
            self.send(error(head.id, head.codec, head.ver1, CODEC))
        return end

    def _one_way(self, frame: bytearray, head: Head) -> None:
        """A request that nobody waits for: it is dropped if it cannot be served."""
        header = head.size + head.class_length
        upstream = self._choose(frame, header, header + head.header_length, head.layout.version, None)
        if not isinstance(upstream, int):
            upstream.add(frame, head, (self, head.id, inf, head.codec, head.ver1, None, self.plane.now, ""))

    # ---- requests of servers ----

    def push(self, upstream: Ledger, frame: bytearray, head: Head) -> None:
        """Pass a server's request on."""
        number = self.last_id
        while True:
            number = number + 1 if number < LAST_ID else 1
            if number not in self.pushes:
                break
        self.last_id = number
        self.changes += 1
        about = self.pushed(upstream, frame, head)
        if head.type == REQUEST:
            patience = upstream.endpoint.cluster.config.request_timeout
            until = self.plane.now + (head.timeout * 0.001 if head.timeout > 0 else patience)
            self.pushes[number] = (upstream, head.id, until, head.codec, head.ver1, about)
            upstream.asked[self] = None
            if until < self.soonest:
                self.soonest = until
                self.wake(until)
        U32.pack_into(frame, head.layout.id_at, number)
        if head.has_crc:
            write_crc(frame, 0, len(frame))
        self.deliver(frame, 0, len(frame), 0, 0, "")

    def _pushed_back(self, frame: bytearray, head: Head) -> None:
        """The client's answer to a server's request."""
        push = self.pushes.pop(head.id, None)
        if push is not None and push[5] is not None:
            if push[5].record is not None:
                push[5].record.sent = head.content_length
            self.tell(push[5], "ok", head.timeout)
        if push is None or push[0] is None or push[0].closed or push[0].version != head.layout.version:
            return
        U32.pack_into(frame, head.layout.id_at, push[1])
        if head.has_crc:
            write_crc(frame, 0, len(frame))
        push[0].send(bytes(frame))
        if self.leaving:
            self._leave()

    # ---- the end ----

    def ended(self) -> None:
        """The client's FIN: it gets the answers it waits for."""
        self.leaving = True
        self._leave()

    def failed(self, errno: int) -> None:
        """The client is gone."""
        self._gone()

    def give_up(self, reason: str) -> None:
        """See `Framed.give_up`."""
        self.close()
        self._gone()

    def drain(self) -> None:
        """End after the last answer."""
        self.leaving = True
        self.changes += 1
        self._leave()

    def finished(self) -> None:
        """Our FIN went out."""
        self.close()
        self._gone()

    # ---- deadlines ----

    def due(self) -> float:
        """The earliest deadline of a server's request, or the end of idleness."""
        due = min(self.active + self.listener.config.keepalive_timeout, self.soonest)
        return min(due, *(min(one.when, one.until) for one in self.held)) if self.held else due

    def expired(self, now: float) -> None:
        """Give requests of servers up; end an idle connection."""
        if self.soonest <= now:
            for number in [number for number, push in self.pushes.items() if push[2] <= now]:
                upstream, theirs, _, codec, ver1, about = self.pushes.pop(number)
                if about is not None:
                    self.tell(about, "own", TIMEOUT)
                if upstream is not None and not upstream.closed:
                    upstream.send(error(theirs, codec, ver1, TIMEOUT))
            self.soonest = min((push[2] for push in self.pushes.values()), default=inf)
        if self.held:
            self.release(now)
            self.go_on()
        if self.active + self.listener.config.keepalive_timeout <= now and not self.closed:
            if self.busy:
                self.active = now
            else:
                self.close()
                self._gone()
