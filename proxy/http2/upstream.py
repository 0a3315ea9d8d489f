"""HTTP/2, the endpoint's side: a connection that the requests of all clients share.

    exchange --Http2Call--> Requests --> Session --> bytes

One more is dialled when this has no stream left, up to ``shared_connections``; then requests wait. The life of such a
connection: `proxy.http2.living`; a request: `proxy.http2.call`; who waits: `proxy.http2.requests`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.http2.call import Http2Call
from proxy.http2.living import SHARED, Living
from proxy.http2.state import UpstreamState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.calls import Calls
    from proxy.connection import Connection
    from proxy.endpoint import Endpoint
    from proxy.http1.exchange import Exchange
    from proxy.plane import Places
    from proxy.shared_pool import SharedPool

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UpstreamState).decode


class Http2Upstream(Living):
    """A connection to an endpoint."""

    __slots__ = ()

    kind: ClassVar[str] = "http2.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    # ---- for exchanges ----

    @classmethod
    def has_room(cls, endpoint: Endpoint) -> bool:
        """A request needs no new connection."""
        return any(one.requests.has_room() for one in endpoint.shared_pool(SHARED).members.values())

    @classmethod
    def call(cls, exchange: Exchange, endpoint: Endpoint) -> Http2Call:
        """A request to this endpoint. `Exchange.dialled` or `Exchange.try_next` follows, unless it may begin now."""
        plane = exchange.plane
        pool: SharedPool = endpoint.shared_pool(SHARED)
        chosen = pool.choose_for(endpoint, plane.now)
        if chosen is not None and not chosen.requests.has_room():
            chosen = next((one for one in pool.members.values() if one.requests.has_room()), chosen)
        full = chosen is not None and not chosen.requests.has_room()
        grows = len(pool) < endpoint.cluster.config.shared_connections and plane.now >= pool.not_before
        if chosen is None or (full and grows):
            chosen = cls(plane)
            chosen.dial(endpoint)
            pool.add(chosen)
        call = Http2Call.__new__(Http2Call)  # as in `Streams.headers`
        call.fresh(plane)
        call.seat(chosen, exchange)
        return call

    # ---- the transport ----

    def received(self, data: bytes) -> None:
        """Bytes of frames."""
        self.heard = self.plane.now
        requests = self.requests
        session = requests.session
        session.received(data, self.plane.now)
        if requests.lively:
            requests.lively = False
            if self.asked != inf:
                self.asked = inf
                self.wake(self.due())
        self.stir()

    def flush(self, calls: Calls, now: float) -> None:
        """See `Connection.flush`; first those that waited for a stream that is free by now."""
        if self.requests.waiting and self.is_ready():
            self.requests.serve()
        super().flush(calls, now)

    def drained(self) -> None:
        """The server took what it was sent."""
        self.requests.flow()

    def ended(self) -> None:
        """The server's FIN: it answers nothing any more."""
        self.close()
        self.cut()

    def failed(self, errno: int) -> None:
        """The server is gone."""
        self.cut()

    def finished(self) -> None:
        """Our FIN went out."""
        if self.eof:
            self.close()

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.http2.state.UpstreamState`."""
        requests, endpoint = self.requests, self.endpoint
        return _encode(
            UpstreamState(
                self.transport(now),
                endpoint.cluster.name,
                endpoint.key,
                requests.session.save(now),
                requests.save(now),
                {number: until - now for number, until in requests.closing.items()},
                self.retiring,
                self.replaced,
                self.spare,
                remaining(self.deadline, now),
                now - self.heard,
                None if self.asked == inf else now - self.asked,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.endpoint = endpoint = places.endpoint(saved.cluster, saved.endpoint)
        self.load_transport(saved.transport, now, places)
        self.retiring, self.replaced, self.spare = saved.retiring, saved.replaced, saved.spare
        self.deadline = deadline(saved.deadline, now)
        self.heard = now - saved.silent
        self.asked = inf if saved.asked is None else now - saved.asked
        self.requests.closing = {number: now + left for number, left in saved.closing.items()}
        self.requests.load(saved.session, saved.calls, now, places)
        pool = endpoint.shared_pool(SHARED)
        if self.retiring or self.spare:
            pool.discard(self)
        else:
            pool.add(self)

    def dropped(self, places: Places) -> None:
        """A copy that is not wanted any more."""
        self.requests.drop(places)

    def bonds(self) -> tuple[Connection, ...]:
        """The clients whose requests are under way here."""
        return tuple([one for call in self.requests.seated.values() for one in call.bonds()])

    def describe(self) -> dict[str, Any]:
        """With its requests."""
        under_way = [call.describe() for call in list(self.requests.seated.values())[:8]]
        return {**super().describe(), "streams": len(self.requests.seated), "under_way": under_way}
