"""What an HTTP/2 connection is in a snapshot. Rules of compatibility: `proxy.state`.

Streams travel within it: they have no descriptor. Times are remaining seconds, links are serials.
"""

from __future__ import annotations

import msgspec

from proxy.http1.state import ChunksState
from proxy.http2.session import SessionState
from proxy.proxy_protocol.header import Pair
from proxy.state import Transport


class ExchangeState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`proxy.http2.exchange.Http2Exchange`: ``exchange`` is a `proxy.http1.state.DownstreamState`."""

    serial: int
    number: int
    owed: int
    unread: bytes
    trailing: tuple[tuple[bytes, bytes], ...]
    exchange: bytes
    sealed: tuple[bytes, ...] = ()
    """Fields of the request that no table may hold, by name."""
    concealed: tuple[bytes, ...] = ()
    """The same of the response."""
    called: bool = False
    """It is a call of gRPC."""
    until: float | None = None
    """Until its client gives up, if it said so."""


class DownstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.http2.downstream.Http2Downstream`."""

    transport: Transport
    listener: str
    address: str
    remote: str
    session: SessionState
    streams: tuple[ExchangeState, ...]
    closing: tuple[int, ...]
    """Streams that are reset once all of them is on its way."""
    leaving: bool
    requests: int
    deadline: float | None
    introduced: Pair | None = None
    destination: str = ""


class CallState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`proxy.http2.call.Http2Call`: ``call`` is a `proxy.http1.state.UpstreamState`."""

    serial: int
    number: int
    wanting: int
    uploading: ChunksState | None
    key: bytes
    wraps: bool
    owed: int
    unread: bytes
    waits: bool
    call: bytes


class UpstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.http2.upstream.Http2Upstream`."""

    transport: Transport
    cluster: str
    endpoint: str
    session: SessionState
    calls: tuple[CallState, ...]
    closing: dict[int, float]
    """Streams whose response is complete and not ended yet; the seconds that remain for that."""
    retiring: bool
    replaced: bool
    spare: bool
    deadline: float | None
    """Of the dial, of the proof, or of the end."""
    silent: float
    """Since the server was heard, or since it was last asked something."""
    asked: float | None = None
    """Since the heartbeat that was not answered by anything but its echo."""
