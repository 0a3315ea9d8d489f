"""A copy of a request for another cluster, beside the exchange that it is a copy of (docs/filters.md).

    dialling, what was copied waits in the outbox --> copying --body complete--> answer, thrown away --FIN--> closed

It never holds the exchange up: what cannot be had at once (an endpoint, room within the limits) or falls behind by more
than MAX_BEHIND is dropped and counted. Each copy has a connection of its own, which the upstream is asked to close: its
FIN is the end of the answer, so nothing has to be understood of that. It moves as any other connection does. Only as
long as the body is under way it is tied to the client's connection, and both stay in one process.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.encryption.reasons import TOO_SLOW
from proxy.http1.state import MirrorState
from proxy.proxy_protocol.header import LONGEST, BadHeader, parse
from proxy.proxy_protocol.sending import announcement
from proxy.sides import Upstream
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.http1.upload import Upload
    from proxy.plane import Places, Plane

MAX_BEHIND: Final = 262144
"""Bytes that wait for a mirror; more, and it is dropped."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MirrorState).decode


def copy(source: Upload, cluster: Cluster, request: bytes, *, whole: bool) -> Mirror | None:
    """Begin to copy. None if that was not possible; `request` is the head with what there is of the body."""
    endpoint = cluster.pick()
    if cluster.personal and endpoint is not None:
        endpoint = endpoint.seen_by(source)
    if endpoint is None or (cluster.limits is not None and cluster.limits.excess(dials=True)):
        cluster.meters.dropped.inc()
        return None
    mirror = Mirror(source.plane)
    mirror.endpoint = endpoint
    mirror.source = None if whole else source
    mirror.whole = whole
    mirror.deadline = source.plane.now + cluster.config.connect_timeout
    mirror.plane.dial(mirror, endpoint.address)
    at = request.index(b"\r\n\r\n") + 2
    mirror.introduce(announcement(cluster, source))
    mirror.send(request[:at] + b"Connection: close\r\n" + request[at:])
    mirror.wake(mirror.deadline)
    return mirror


class Mirror(Upstream):
    """One copy."""

    __slots__ = ("counted", "deadline", "source", "whole")

    kind: ClassVar[str] = "http1.mirror"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.source: Upload | None = None
        """Whose body it still gets."""
        self.deadline = inf
        """Of the dial, then of the answer."""
        self.whole = False
        """All of the request is in the outbox, or was."""
        self.counted = False

    # ---- for the exchange ----

    def give(self, piece: bytes) -> None:
        """A piece of the body."""
        if len(self.outbox) + len(piece) > MAX_BEHIND:
            self.reset()
        elif piece:
            self.send(piece)

    def complete(self) -> None:
        """That was the body."""
        self.source, self.whole = None, True
        if not self.connecting:
            self._await()
        self.changes += 1

    def orphaned(self) -> None:
        """The body will never be complete. No verb: it ends with the next alarms."""
        self.source, self.deadline = None, self.plane.now
        self.changes += 1
        self.wake(self.deadline)

    def _await(self) -> None:
        self.deadline = self.plane.now + self.endpoint.cluster.config.request_timeout
        self.wake(self.deadline)

    # ---- the transport ----

    def attached(self) -> None:
        """It uses its endpoint as long as it lives."""
        super().attached()
        self.endpoint.begin()

    def detached(self) -> None:
        """And no longer."""
        super().detached()
        self.endpoint.end()

    def begin_secure(self) -> None:
        """See `Upstream`. The request waits behind the header."""
        try:
            header = parse(bytes(self.outbox[:LONGEST]))
        except BadHeader:
            header = None
        if header is not None:
            self.preface, self.outbox = bytes(self.outbox[: header.size]), self.outbox[header.size :]

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        self.deadline = when

    def connected(self) -> None:
        """The outbox goes out."""
        self.endpoint.connected(secure=self.tls is not None)
        if self.whole:
            self._await()
        elif self.source is not None:
            self.deadline = inf
            self.wake(self.due())

    def connect_failed(self, errno: int) -> None:
        """No second attempt."""
        self.endpoint.unreachable(self.plane.now)

    def ended(self) -> None:
        """The answer is complete, or given up."""
        self.close()

    def over(self) -> None:
        """Count it once."""
        if self.counted:
            return
        self.counted = True
        super().over()
        self.refused()
        cluster = self.endpoint.cluster
        if self._sent:
            cluster.meters.mirrored.inc()
        else:
            cluster.meters.dropped.inc()
        source, self.source = self.source, None
        if source is not None:
            source.lost_copy(self)

    def due(self) -> float:
        """The end of the dial, of the answer, or of silence."""
        if self.deadline != inf:
            return self.deadline
        return self.active + self.endpoint.cluster.config.idle_timeout

    def expired(self, now: float) -> None:
        """It is not worth the wait."""
        wanted = self.whole or self.source is not None  # else it was given up for want of a body
        if wanted and self.connecting:
            if self.plane.in_plaintext(self, TOO_SLOW):
                return
            self.endpoint.unreachable(now, late=True)
        if self._sent:
            self.close()
        else:
            self.reset()

    def drain(self) -> None:
        """The copy is out: nobody waits for the answer."""
        if self._sent:
            self.close()

    @property
    def _sent(self) -> bool:
        """The upstream got the copy whole."""
        return self.whole and self.flushed and not self.connecting

    # ---- the value ----

    def bonds(self) -> tuple[Connection, ...]:
        """The client, as long as its body is under way."""
        return () if self.source is None else (self.source,)

    def met(self, other: Connection) -> None:
        """The client is there."""
        self.source = other  # type: ignore[assignment]  # what `load` asked for

    def save(self, now: float) -> bytes:
        """See `proxy.http1.state.MirrorState`."""
        endpoint, source = self.endpoint, 0 if self.source is None else self.source.serial
        left = remaining(self.deadline, now)
        own = (endpoint.cluster.name, endpoint.key, left, source, self.whole)
        return _encode(MirrorState(self.transport(now), *own))

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.endpoint = places.endpoint(saved.cluster, saved.endpoint)
        self.load_transport(saved.transport, now, places)
        self.deadline = deadline(saved.left, now)
        self.whole = saved.whole
        there = places.expect(self, (saved.source,) if saved.source else ())
        self.source = there.get(saved.source)  # type: ignore[assignment]
