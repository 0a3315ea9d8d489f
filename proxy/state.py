"""The states of the data plane as they travel between generations.

Each is a msgpack array. Rules of compatibility: fields are only ever appended, with a default;
none is removed, moved or given another meaning. So an older reader ignores what it does not know
and a newer one fills in what was not written. A change that cannot be made so raises the version
of the kind (`hotswap.swappable.Schema`). What every connection has stands in a nested array of its
own, `Transport`, so that it can grow without moving the fields of the layers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.accesslog.record import Record
from proxy.encryption.state import WishesState
from proxy.proxy_protocol.header import Pair
from proxy.tls.state import TlsState

# The bits of `Transport.flags`: append only, older and newer generations read them.
CONNECTING = 1
PAUSED = 2
EOF = 4
SHUTTING = 8
FIN_SENT = 16
CLOGGED = 32
FLAGS = [  # all combinations: a restore is part of the downtime
    tuple(bool(flags & bit) for bit in (CONNECTING, PAUSED, EOF, SHUTTING, FIN_SENT, CLOGGED)) for flags in range(64)
]


class Transport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What every connection has. See `proxy.connection`."""

    flags: int
    """Bits CONNECTING ... CLOGGED."""
    peer: int
    """The serial of the other side, 0 for none."""
    silent: float
    """Seconds since bytes last came or went."""
    outbox: bytes = b""
    """Bytes not yet written."""
    tls: TlsState | None = None
    """None: plaintext."""


class TcpDownstreamState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.tcp.TcpDownstream`. Deadlines are seconds that remain, None for none."""

    transport: Transport
    listener: str
    address: str
    """The listener's configured address, should its name have changed."""
    remote: str
    cluster: str
    connect_left: float | None = None
    duration_left: float | None = None
    tried: tuple[str, ...] = ()
    """Endpoints that could not be connected to."""
    record: Record | None = None
    passed: int = 0
    introduced: Pair | None = None
    destination: str = ""
    """Where the client wanted to go, if its listener found out."""


class TcpUpstreamState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.tcp.TcpUpstream`."""

    transport: Transport
    cluster: str
    endpoint: str
    passed: int = 0


class FilteredState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.filtered.FilteredDownstream`."""

    inner: bytes
    """A `TcpDownstreamState`."""
    notes: dict[str, dict[str, Any]] = {}
    """What filters remember of the connection."""


class EntryState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.entry.Entry`."""

    transport: Transport
    listener: str
    address: str
    protocol: str
    remote: str
    left: float | None = None
    """Seconds that remain of the delay."""
    next: int = 0
    """The number of the filter that is next."""
    notes: dict[str, dict[str, Any]] = {}
    introduced: Pair | None = None
    destination: str = ""
    server_name: str = ""


class WatchState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.health.watch.Watch`. Times are seconds."""

    runs: tuple[int, ...] = (0, 0, 0)
    ages: tuple[float, ...] = (0.0, 0.0, 0.0)
    """How long ago each run began."""
    totals: tuple[int, ...] = (0, 0, 0)
    ejected_left: float | None = None
    ejections: int = 0
    calm: float = 0.0
    """Since the end of the last ejection."""
    healthy: bool = True
    streak: int = 0
    check_left: float | None = None
    why: str = ""


class ProbeState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.health.probe.Probe`."""

    transport: Transport
    cluster: str
    endpoint: str
    left: float | None = None
    inbox: bytes = b""


class AppState(msgspec.Struct, array_like=True, frozen=True):
    """What is known of the application behind the proxy, see `proxy.app.App`."""

    address: str
    state: str
    streak: int
    checks: int = 0
    why: str = ""


class NameState(msgspec.Struct, array_like=True, frozen=True):
    """See `proxy.dns.names.Name`. Times are seconds that remain."""

    addresses: dict[int, tuple[str, ...]] = {}
    """By type of record."""
    known: bool = False
    left: float | None = 0.0
    """Until it is asked for."""
    ready_left: float | None = 0.0
    failures: int = 0
    failed: int = 0
    error: str = ""


class SharedState(msgspec.Struct, array_like=True, frozen=True):
    """What belongs to no connection, see `proxy.server.ProxyServer.save_shared`."""

    next_serial: int
    balance: dict[str, dict[str, int]] = {}
    """Cluster name -> endpoint address -> the balance's number of that endpoint."""
    counters: dict[str, int] = {}
    drain_left: float | None = None
    """The seconds until a drain under way ends what is left."""
    draining: bool = False
    app: AppState | None = None
    watches: dict[str, dict[str, WatchState]] = {}
    """Cluster name -> endpoint address -> what is known of its health."""
    filters: dict[str, dict[str, Any]] = {}
    """Listener address -> filter -> what it keeps."""
    splits: dict[str, dict[str, dict[str, int]]] = {}
    """Listener address -> conditions of the route -> cluster name -> the balance's number."""
    names: dict[str, NameState] = {}
    """Family and name -> what is known of it."""
    switches: dict[str, WishesState] = {}
    """Cluster name -> what encryption is wanted of it."""
    resting: dict[str, dict[str, float]] = {}
    """Cluster name -> endpoint address -> seconds for which others are asked first."""
