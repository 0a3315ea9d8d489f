"""The two sides of the proxy: connections of clients, and those to endpoints."""

from __future__ import annotations

from errno import ECANCELED, EPROTO
from typing import TYPE_CHECKING, Any, Final

from proxy.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.endpoint import Endpoint
    from proxy.listener import Listener
    from proxy.plane import Plane
    from proxy.proxy_protocol.header import Pair

_OWN: Final = frozenset({EPROTO, ECANCELED})
"""Errors that the plane makes itself, of TLS that broke and of time that is over: neither client nor network."""


class Downstream(Connection):
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

    def describe(self) -> dict[str, Any]:
        """With where it came from."""
        return {**super().describe(), "listener": self.listener.name, "remote": self.remote}


class Upstream(Connection):
    """A connection that we opened to an endpoint."""

    __slots__ = ("endpoint", "preface")

    endpoint: Endpoint
    """Set before `Plane.dial`; set by `load` through `Places.endpoint`."""

    @property
    def idle(self) -> bool:
        """It waits for its next use."""
        return False

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.preface = b""
        """What goes before the TLS handshake."""

    def attached(self) -> None:
        """Have its bytes counted at the endpoint."""
        meters = self.endpoint.meters
        self.count_in, self.count_out = meters.received, meters.sent

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

    def begin_secure(self) -> None:
        """It is there, and TLS is next: the header goes before that. Nothing else was sent so far."""
        if self.outbox:
            self.preface, self.outbox = bytes(self.outbox), b""

    def begin_anew(self) -> None:
        """It is dialled once more: the counterpart of `begin_secure`, which may not be wanted any more by then."""
        if self.preface:
            self.outbox, self.preface = self.preface + self.outbox, b""

    def describe(self) -> dict[str, Any]:
        """With where it goes to."""
        return {**super().describe(), "cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}
