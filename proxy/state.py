"""The states of the data plane as they travel between generations.

Each is a msgpack array. Rules of compatibility: fields are only ever appended, with a default;
none is removed, moved or given another meaning. So an older reader ignores what it does not know
and a newer one fills in what was not written. A change that cannot be made so raises the version
of the kind (`hotswap.swappable.Schema`). What every connection has stands in a nested array of its
own, `Transport`, so that it can grow without moving the fields of the layers.
"""

from __future__ import annotations

import msgspec


class Transport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What every connection has. See `proxy.connection`."""

    flags: int
    """Bits CONNECTING ... CLOGGED of `proxy.connection`."""
    peer: int
    """The serial of the other side, 0 for none."""
    silent: float
    """Seconds since bytes last came or went."""
    outbox: bytes = b""
    """Bytes not yet written."""
