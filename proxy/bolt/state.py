"""What a bolt connection is in a snapshot. Rules of compatibility: `proxy.state`.

Times are remaining seconds, or seconds since; links are serials, 0 for one that is gone.
"""

from __future__ import annotations

import msgspec

from proxy.state import Transport


class CallState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call under way: a client's at its upstream connection, or a server's at its downstream connection."""

    id: int
    """The one that we gave it."""
    caller: int
    """The connection that it came from."""
    caller_id: int
    left: float
    codec: int
    """With the switch as its low byte in version 2."""
    ver1: int
    attempts: int = 0
    tried: tuple[str, ...] = ()
    """Endpoints that could not be connected to."""


class DownstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.bolt.downstream.BoltDownstream`."""

    transport: Transport
    listener: str
    address: str
    remote: str
    inbox: bytes
    skip: int
    last_id: int
    calls: tuple[CallState, ...]
    leaving: bool


class UpstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.bolt.upstream.BoltUpstream`."""

    transport: Transport
    cluster: str
    endpoint: str
    version: int
    inbox: bytes
    skip: int
    last_id: int
    calls: tuple[CallState, ...]
    caller: int
    """The downstream connection that called last."""
    feeders: tuple[int, ...]
    """Downstream connections that wait until the outbox has drained."""
    connect_left: float | None
    deaf: float
    """Seconds since bytes came."""
    mute: float
    """Seconds since bytes were sent."""
    beaten: float
    """Seconds since the last heartbeat."""
    unanswered: int
    torn: int
    retiring: bool
