"""The two sides of the proxy: connections of clients, and those to endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.connection import Connection

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint
    from proxy.listener import Listener
    from proxy.proxy_protocol.header import Pair


class Downstream(Connection):
    """A connection that a client opened. Its class is registered for a listener's protocol."""

    __slots__ = ("destination", "introduced", "listener", "remote")

    listener: Listener
    """Where it came in. Set before `begin`; set by `load` through `Places.listener`."""
    remote: str  # the client's host (without port), for people and X-Forwarded-For; ``unix`` on a unix listener
    introduced: Pair | None  # the addresses that a PROXY protocol header told, or is to tell
    destination: str  # where the client wanted to go; empty unless the listener finds out (``original_dst``)

    def attached(self) -> None:
        """Count itself at the listener."""
        self.listener.connections += 1

    def detached(self) -> None:
        """And out again."""
        self.listener.connections -= 1

    def describe(self) -> dict[str, Any]:
        """With where it came from."""
        return {**super().describe(), "listener": self.listener.name, "remote": self.remote}


class Upstream(Connection):
    """A connection that we opened to an endpoint."""

    __slots__ = ("endpoint",)

    endpoint: Endpoint
    """Set before `Plane.dial`; set by `load` through `Places.endpoint`."""

    def describe(self) -> dict[str, Any]:
        """With where it goes to."""
        return {**super().describe(), "cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}
