"""What an HTTP/2 connection is in a snapshot. Rules of compatibility: `proxy.state`.

The streams of a client travel within it: they have no descriptor. Times are remaining seconds, links are serials.
"""

from __future__ import annotations

import msgspec

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
