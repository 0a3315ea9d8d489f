"""What a connection that carries many calls is in a snapshot. Rules of compatibility: `proxy.state`.

Times are remaining seconds, or seconds since; links are serials, 0 for one that is gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from proxy.accesslog.record import Record, load_record, save_record
from proxy.proxy_protocol.header import Pair
from proxy.route import Terms
from proxy.state import Transport


class About(msgspec.Struct, array_like=True):
    """What is known of a call that somebody looks at: the access log, filters, a route with terms of its own."""

    record: Record | None = None
    notes: dict[str, dict[str, Any]] = {}
    """What filters remember of it."""
    terms: Terms | None = None


def save_about(about: About | None, now: float) -> About | None:
    """As it travels."""
    return None if about is None else About(save_record(about.record, now), about.notes, about.terms)


def load_about(saved: About | None, now: float) -> About | None:
    """The counterpart."""
    return None if saved is None else About(load_record(saved.record, now), saved.notes, saved.terms)


class Held(NamedTuple):
    """A call that waits at its client's connection: for the end of a filter's delay, or until there is room for it."""

    frame: bytearray
    filtered: int
    """The filter that is next."""
    when: float
    """It goes on then; inf: once there is room."""
    until: float
    """Its time is up then."""
    about: About


class HeldState(msgspec.Struct, array_like=True, frozen=True):
    """A `Held` one as it travels."""

    frame: bytes
    filtered: int
    wait: float | None
    left: float | None
    about: About


class CallState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call under way: a client's at its upstream connection, or a server's at its downstream connection."""

    id: int
    """The one that we gave it."""
    caller: int
    """The connection that it came from."""
    caller_id: int
    left: float
    codec: int
    """With `ver1`, what an error of our own has to know. Bolt: the codec, with the switch as low byte in version 2."""
    ver1: int
    attempts: int = 0
    tried: tuple[str, ...] = ()
    """Endpoints that could not be connected to."""
    about: About | None = None
    age: float = 0.0
    """Seconds since it came."""
    route: str = ""
    """What metrics call its route."""


class DownstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.multiplexed.downstream.MultiplexedDownstream`."""

    transport: Transport
    listener: str
    address: str
    remote: str
    inbox: bytes
    skip: int
    last_id: int
    calls: tuple[CallState, ...]
    leaving: bool
    held: tuple[HeldState, ...] = ()
    introduced: Pair | None = None
    linger: float | None = None
    """It is leaving: the seconds for which it does not end yet."""


class UpstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.multiplexed.upstream.MultiplexedUpstream`."""

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
    spare: bool = False
    """It is to take the place of another and has not proven itself yet."""
    retire_left: float | None = None
    """Another took its place: seconds until it is closed if the server does not."""
    kept: bytes = b""
    """Sent by TLS that the server may still refuse."""
