"""The two sides of the proxy: connections of clients, and those to endpoints."""

from __future__ import annotations

from errno import ECANCELED, EPROTO
from typing import TYPE_CHECKING, Any, ClassVar, Final

from proxy.encryption.reasons import REFUSED
from proxy.relay import Relay
from proxy.tls.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

    from proxy.encryption.mix import Mix
    from proxy.endpoint import Endpoint
    from proxy.listener import Listener
    from proxy.plane import Plane
    from proxy.proxy_protocol.header import Pair

_OWN: Final = frozenset({EPROTO, ECANCELED})
"""Errors that the plane makes itself, of TLS that broke and of time that is over: neither client nor network."""


class Downstream(Relay):
    """A connection that a client opened. Its class is registered for a listener's protocol."""

    __slots__ = ("destination", "introduced", "listener", "remote", "server_name")

    listener: Listener
    """Where it came in. Set before `begin`; set by `load` through `Places.listener`."""
    remote: str  # the client's host (without port), for people and X-Forwarded-For; ``unix`` on a unix listener
    introduced: Pair | None  # the addresses that a PROXY protocol header told, or is to tell
    destination: str  # where the client wanted to go; empty unless the listener finds out (``original_dst``)
    server_name: str  # that its TLS, which is passed through, asks for; counts until the cluster is chosen

    def attached(self) -> None:
        """Count itself at the listener."""
        self.listener.connections += 1
        self.measure()

    def measure(self) -> None:
        """Have its bytes counted at the listener, by the name that this has now."""
        meters = self.listener.meters
        self.count_in, self.count_out = meters.received, meters.sent

    def detached(self) -> None:
        """And out again."""
        self.listener.connections -= 1

    def went(self, errno: int) -> None:
        """The client reset it, or the network lost it; or it had to end here."""
        if errno not in _OWN:
            self.listener.meters.resets.inc()
        self.failed(errno)

    def foresee(self, *, handover: bool) -> None:
        """A handover is to come. Or not any more: it was taken back, or is over."""

    def describe(self) -> dict[str, Any]:
        """With where it came from."""
        return {**super().describe(), "listener": self.listener.name, "remote": self.remote}


class Upstream(Relay):
    """A connection that we opened to an endpoint."""

    __slots__ = ("_counted", "endpoint", "preface", "secured", "spare", "spurned")

    pooled: ClassVar[bool] = False
    """It serves one use after the other: whether it is encrypted counts, and it may be replaced."""
    exclusive: ClassVar[bool] = True
    """It serves one use at a time."""

    endpoint: Endpoint
    """Set before `Plane.dial`; set by `load` through `Places.endpoint`."""

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.preface = b""
        """What goes before the TLS handshake."""
        self.spare = False
        """It is to take the place of another and does not serve yet."""
        self.secured = False
        """TLS was begun. Derived."""
        self.spurned = False
        """It ended because the endpoint refused us behind the handshake. Derived."""
        self._counted: tuple[Mix, bool] | None = None
        """Where it counts, and whether as encrypted. Derived."""

    @property
    def idle(self) -> bool:
        """It waits for its next use."""
        return False

    @property
    def serves(self) -> bool:
        """It may be picked, now or when its use is over."""
        return False

    @property
    def retires(self) -> bool:
        """Another took its place, and it is not over yet."""
        return False

    def attached(self) -> None:
        """Have its bytes counted at the endpoint."""
        meters = self.endpoint.meters
        self.count_in, self.count_out = meters.received, meters.sent
        self.recount()

    def detached(self) -> None:
        """It ended, or lives elsewhere now."""
        if self.pooled:
            self.endpoint.mix.coming.pop(self.serial, None)
            self._count_as(None)

    def over(self) -> None:
        """Remember what its TLS was worth."""
        tls = self.tls
        self.spurned = isinstance(tls, Session) and tls.rejected

    def accepted(self) -> None:
        """The endpoint does not refuse us by TLS."""
        self.endpoint.cluster.switch.proven(self.endpoint)

    def recount(self) -> None:
        """Count where it counts now: see `proxy.encryption`."""
        self.secured |= self.tls is not None
        if not self.pooled:
            return
        coming = self.connecting or self.spare
        if coming:
            self.endpoint.mix.coming[self.serial] = self
        else:
            self.endpoint.mix.coming.pop(self.serial, None)
        serving = self.fd >= 0 and not coming and self.serves
        self._count_as((self.endpoint.mix, self.tls is not None) if serving else None)

    def _count_as(self, now: tuple[Mix, bool] | None) -> None:
        before = self._counted
        if now == before:
            return
        if before is not None:
            before[0].count(-1, secure=before[1])
        if now is not None:
            now[0].count(1, secure=now[1])
        self._counted = now
        self.endpoint.cluster.switch.noted(self.endpoint, self.plane.now)

    def succeed(self) -> None:
        """Dial a connection like this one that will take its place."""
        raise NotImplementedError

    def replaces(self, other: Upstream) -> bool:
        """It serves whom the other one serves."""
        return self.endpoint is other.endpoint

    def retire(self) -> None:
        """Another one took its place: serve no further use, and end without harm to what is under way."""
        raise NotImplementedError

    def count_retired(self, how: str) -> None:
        """That end came: by the endpoint (``peer``), by us (``own``), or because it took too long (``deadline``)."""
        self.endpoint.meters.retired(how).inc()

    def refused(self) -> bool:
        """It ended: note it if the endpoint refused us behind the handshake, as servers of TLS 1.3 do.

        Then nothing of what it was sent was looked at. True if it may be sent again, in plaintext.
        """
        switch = self.endpoint.cluster.switch
        return self.spurned and switch.refused(self, REFUSED, self.plane.now)

    def under_way(self) -> Mapping[str, int]:
        """Requests that only this connection knows of, by the names of the listeners that they came through."""
        return {}

    def reached(self, seconds: float) -> None:
        """Its TCP connection is there, so long after the dial."""
        self.endpoint.cluster.meters.connects.observe(seconds)

    def introduce(self, header: bytes) -> int:
        """Begin with a PROXY protocol header, at the head of the outbox. Returns the bytes that it takes there.

        It is dialled already, and nothing was sent.
        """
        if header:
            self.send(header)
        return len(header)

    def renumbered(self, former: int) -> None:
        """It got another serial, so that it is another connection for a destination."""
        if self.endpoint.mix.coming.pop(former, None) is not None:
            self.endpoint.mix.coming[self.serial] = self

    def begin_secure(self) -> None:
        """It is there, and TLS is next: the header goes before that. Nothing else was sent so far."""
        if self.outbox:
            self.preface, self.outbox = bytes(self.outbox), b""

    def begin_anew(self) -> None:
        """It is dialled once more: the counterpart of `begin_secure`, which may not be wanted any more by then."""
        if self.preface:
            self.outbox, self.preface = self.preface + self.outbox, b""

    def give_time(self, when: float) -> None:
        """It is dialled once more, in plaintext: it may take until then."""

    def describe(self) -> dict[str, Any]:
        """With where it goes to."""
        return {**super().describe(), "cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}


class Shared(Upstream):
    """One that the calls of many clients share: see `proxy.shared_pool`."""

    __slots__ = ()

    pooled: ClassVar[bool] = True
    exclusive: ClassVar[bool] = False

    @property
    def calls(self) -> Sized:
        """Under way on it, those that wait for it included."""
        raise NotImplementedError

    def burden(self) -> int:
        """How many these are."""
        return len(self.calls)
