"""The record of the calls under way on one upstream connection, and what goes to the server.

    downstream --call, its id 7--> [calls: 12 = downstream, 7, deadline] --id 12--> server
    downstream <--id 7, the same downstream------------------------------- id 12 <-- server, in any order

`calls` is the only record of a call under way; it ends by an answer, its deadline, or with this connection. An
answer to a call that is not there (any more) is dropped.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Final

from proxy.connection import HIGH
from proxy.kernel import READING
from proxy.multiplexed.pieces import Pieces
from proxy.multiplexed.stream import Inbox
from proxy.multiplexed.wire import LAST_ID, BadFrame, torn_by
from proxy.sides import Shared

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from proxy.calls import Calls
    from proxy.multiplexed.client import Client
    from proxy.multiplexed.pending import Pending
    from proxy.multiplexed.state import About
    from proxy.multiplexed.wire import Head, Wire
    from proxy.plane import Plane

MOST_KEPT: Final = 1 << 20
"""Bytes; a server that does not answer at all may be sent oneway calls without end."""

Call = tuple["Client | None", int, float, int, int, "About | None", float, str]
"""Who called, with what id, deadline, codec, ver1, what else is to be known of it, when it came, its route's label."""

_pieces = Pieces()


class Ledger(Shared):
    """A connection to an endpoint, as far as it is a record of calls."""

    __slots__ = (
        "again",
        "asked",
        "awaited",
        "beaten",
        "caller",
        "caller_awaited",
        "calls",
        "connect_by",
        "feeders",
        "feeders_awaited",
        "heard",
        "inbox",
        "kept",
        "retire_by",
        "retiring",
        "soonest",
        "spoke",
        "torn",
        "unanswered",
        "unsent",
        "version",
    )

    wire: ClassVar[Wire]
    """What is spoken."""
    record: ClassVar[type[Pending]]
    """The class of `calls`."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.heard = plane.now
        """When bytes last came, monotonic seconds."""
        self.inbox = Inbox()
        self.version = 1
        self.calls: Pending = self.record()
        """Under way here, by our id."""
        self.again: dict[int, tuple[int, tuple[str, ...]]] = {}
        """Those that were on another connection before: attempts, endpoints that could not be connected to."""
        self.soonest = inf
        """No call's deadline is earlier. Derived."""
        self.caller: Client | None = None
        """Who called last."""
        self.asked: dict[Client, None] = {}
        """Clients that were sent requests of this server. Derived."""
        self.feeders: dict[Client, None] = {}
        """Paused until the outbox has drained."""
        self.connect_by = inf
        self.spoke = plane.now
        """When bytes were last sent."""
        self.beaten = plane.now
        """When the last heartbeat was sent, or the connection was made."""
        self.unanswered = 0
        """Heartbeats since it was last heard."""
        self.torn = 0
        """Bytes of the outbox that are the rest of a frame under way."""
        self.retiring = False
        """It takes no further calls, and ends with the last."""
        self.retire_by = inf
        """Another took its place: it ends by then at the latest, once nothing is under way."""
        self.unsent: bytes | bytearray = b""
        """At the end: frames of which not a byte was sent, or looked at."""
        self.kept: bytes | bytearray = b""
        """Sent by TLS that has not brought an answer yet, and may be refused still."""
        self.awaited: dict[int, list[int]] = {}
        """While being restored: the downstreams, by serial, that are still to come, with their calls."""
        self.caller_awaited = 0
        self.feeders_awaited: frozenset[int] = frozenset()

    # ---- what comes from the server ----

    def readable(self, calls: Calls, now: float) -> None:
        """See `Inbox.read`."""
        if self.inbox.read(self, calls, now):
            self.heard = now

    def received(self, data: bytes) -> None:
        """Bytes of frames. The same on both sides, whose classes have no base in common that may know of frames."""
        buffer = self.inbox.add(data)
        if buffer is None:
            return
        try:
            self.take(buffer)
        except BadFrame as why:
            self.give_up(str(why))
        if self.clogged and not self.closed:
            self.stuffed()

    def take(self, buffer: bytearray) -> None:
        """Use the frames in the buffer, which is given away. Raises `BadFrame`."""
        raise NotImplementedError

    def stuffed(self) -> None:
        """What came was perhaps answered here, and the server does not read: there is a limit to that."""
        raise NotImplementedError

    def give_up(self, reason: str) -> None:
        """The stream cannot be followed: end this connection, and only this one."""
        raise NotImplementedError

    # ---- what goes to the server ----

    def append(
        self,
        buffer: bytearray,
        begun: int,
        end: int,
        caller: Client | None,
        calls: int,
        soonest: float,
    ) -> None:
        """Send a run of requests out of a buffer that is given away; `calls` of them stand in `self.calls` already."""
        out = self.outbox
        if not out:
            self.plane.unflushed.append(self)
        else:
            self.changes += 1
        out = _pieces.joined(out, buffer, begun, end)
        self.outbox = out
        endpoint = self.endpoint
        endpoint.in_flight += calls
        if soonest < self.soonest:
            self.soonest = soonest
            if soonest < self.alarm:
                self.plane.wake(self, soonest)
        if self.connecting:
            self.changes += 1
        if caller is not None:
            self.caller = caller
            if self not in caller.uses:
                caller.use(self)
            if len(out) > HIGH:
                if not self.clogged:
                    self.clogged = self.stale = True
                caller.block(self)

    def keep(self, sent: bytes | bytearray) -> None:
        """The server may still refuse TLS, and with it this. What came to so much it has accepted."""
        if not self.kept:
            self.kept = bytearray()
        self.kept += sent
        if self.tls is not None and len(self.kept) > MOST_KEPT:
            self.tls.unheard = False
            self.kept = b""

    def disown(self, client: Client) -> None:
        """This client is gone: nobody waits for the answers to its calls."""
        if self.closed:
            return
        calls = self.calls
        if self.again:
            for number in [number for number, call in calls.items() if call[0] is client]:
                self.again.pop(number, None)
        self.endpoint.in_flight -= calls.forget(client)
        if self.caller is client:
            self.caller = None
        self.feeders.pop(client, None)
        self.asked.pop(client, None)
        self.changes += 1

    def end_if_done(self) -> None:
        """End if it is retiring and the last call is over."""
        raise NotImplementedError

    def wind_down(self) -> None:
        """Take no further calls and end with the last."""
        raise NotImplementedError

    def next_id(self) -> int:
        """A fresh id for a frame on this connection."""
        calls = self.calls
        number = calls.last
        while True:
            number = number + 1 if number < LAST_ID else 1
            if not calls.has(number):
                calls.last = number
                return number

    def add(self, frame: bytearray, head: Head, call: Call, again: tuple[int, tuple[str, ...]] = (0, ())) -> None:
        """Send one whole request under a fresh id."""
        number = self.next_id()
        self.wire.renumber(frame, head, number)
        if call[5] is not None and call[5].record is not None:
            call[5].record.endpoint = self.endpoint.name
        if again[0] or again[1]:
            self.again[number] = again
        if head.wants_answer:
            calls = self.calls
            calls.put(number, call)
        self.append(frame, 0, len(frame), call[0], int(head.wants_answer), call[2] if head.wants_answer else inf)

    def flush(self, calls: Calls, now: float) -> None:
        """See `Connection.flush`; remembers where a frame was torn, so that whole ones can be sent elsewhere."""
        out = self.outbox
        tls = self.tls
        if (out and not self.connecting) or (tls is not None and tls.sealed):
            self.changes += 1
            try:
                count = calls.write(self.fd, out) if tls is None else tls.write(calls, self.fd, out)
            except OSError as failure:
                self.plane.io_failed(self, failure)
            else:
                self.active = self.spoke = now
                if tls is not None and tls.unheard:
                    self.keep(out[:count])
                self.tally(self.count_out, count)
                if count == len(out):
                    self.outbox = b""
                    self.torn = 0
                    if self.interest == READING and not self.stale and (tls is None or not tls.sealed):
                        return
                else:
                    self.torn = torn_by(self.wire, out, self.torn, count)
                    self.outbox = out[count:]
        self.plane.follow(self)

    # ---- what is told of it ----

    def burden(self) -> int:
        """See `Shared`."""
        calls = self.calls
        return calls.size()

    @property
    def idle(self) -> bool:
        """No call is under way."""
        return not len(self.calls)

    def in_flight(self) -> int:
        """The calls, counted here and not at the clients."""
        return len(self.calls)

    def under_way(self) -> Counter[str]:
        """See `Upstream`."""
        calls = self.calls
        return Counter(call[0].listener.name for call in calls.values() if call[0] is not None)

    def describe(self) -> dict[str, Any]:
        """With its version and calls."""
        return {**super().describe(), "version": self.version, "calls": len(self.calls)}
