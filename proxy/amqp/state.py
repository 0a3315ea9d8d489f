"""What an AMQP connection is in a snapshot. Rules of compatibility: `proxy.state`. Times are seconds."""

from __future__ import annotations

import msgspec

from proxy.amqp.session import Session


class AmqpDownstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.amqp.downstream.AmqpDownstream`."""

    inner: bytes
    """A `proxy.state.TcpDownstreamState`."""
    inbox: bytes
    session: Session
    greeted: bool
    ending: bool
    deaf: float
    """Since bytes came."""
    mute: float
    """Since bytes were sent."""
    closing_left: float | None
    settle_left: float | None = None
    look_left: float | None = None
    heir: int = 0
    """The serial of the connection to the broker that it is to change to."""
    heir_left: float | None = None
    tried: tuple[str, ...] = ()
    """Brokers that it could not change to."""
    stays: str = ""
    """Why it does not change."""
    retry_left: float = 0.0


class AmqpUpstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.amqp.upstream.AmqpUpstream`."""

    inner: bytes
    """A `proxy.state.TcpUpstreamState`."""
    inbox: bytes
    deaf: float
    mute: float
    closing_left: float | None
    client: int = 0
    """Whose broker it is to become."""
    step: int = 0
    owed: int = 0
    frame_max: int = 4096
