"""What an HTTP/1.1 connection is in a snapshot. Rules of compatibility: `proxy.state`.

Times are remaining seconds (None: no deadline), links are serials, everything else is as in the class beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.accesslog.record import Record
from proxy.http1.body import Chunks, Phase
from proxy.http1.states import Step, Use
from proxy.proxy_protocol.header import Pair
from proxy.route import Terms
from proxy.state import Transport


class ChunksState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`proxy.http1.body.Chunks` under way."""

    phase: Phase
    left: int
    partial: bytes
    extensions: int
    size: int


class DownstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.http1.downstream.Http1Downstream`."""

    transport: Transport
    listener: str
    address: str
    remote: str
    step: Step
    inbox: bytes
    requests: int
    deadline: float | None
    expires: float | None
    method: bytes
    minor: int
    keep: bool
    expects: bool
    upgrade: bool
    left: int
    chunks: ChunksState | None
    cluster: str
    held: bytes
    attempts: int
    tried: tuple[str, ...]
    timed_out: bool
    spendable: int
    record: Record | None = None
    passage: tuple[int, dict[str, dict[str, Any]]] | None = None
    """Which filter is next after a delay, and what filters remember of the request under way."""
    terms: Terms | None = None
    copying: tuple[tuple[str, ...], tuple[int, ...]] | None = None
    """Clusters that are to get a copy after a delay; the mirrors that still get the body."""
    lane: str = ""
    """The route whose filters the request under way passes, as `proxy.split.identity` tells it."""
    introduced: Pair | None = None
    destination: str = ""
    route: str = ""
    """What metrics call the route of the request under way."""
    age: float = 0.0
    """Seconds since its head was complete."""


class MirrorState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """`proxy.http1.mirror.Mirror`."""

    transport: Transport
    cluster: str
    endpoint: str
    left: float | None = None
    source: int = 0
    """The serial of the client whose body it still gets."""
    whole: bool = False


class UpstreamState(msgspec.Struct, array_like=True, frozen=True):
    """`proxy.http1.upstream.Http1Upstream`."""

    transport: Transport
    cluster: str
    endpoint: str
    use: Use
    inbox: bytes
    uses: int
    deadline: float | None
    keep: bool
    answered: bool
    left: int
    chunks: ChunksState | None
    announced: bytes = b""
    """The PROXY protocol header it began with."""
    age: float = 0.0
    """Seconds since it was taken for the request under way."""
    spare: bool = False
    """It is to take the place of another, and does not serve yet."""


def save_chunks(chunks: Chunks | None) -> ChunksState | None:
    """The state of a chunked body under way."""
    if chunks is None:
        return None
    return ChunksState(chunks.phase, chunks.left, chunks.partial, chunks.extensions, chunks.size)


def load_chunks(state: ChunksState | None) -> Chunks | None:
    """The counterpart."""
    if state is None:
        return None
    chunks = Chunks()
    chunks.phase = state.phase
    chunks.left = state.left
    chunks.partial = state.partial
    chunks.extensions = state.extensions
    chunks.size = state.size
    return chunks
