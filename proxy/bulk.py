"""Long streams that pass from one socket to another by reference, without being read: splice(2).

    source --splice--> [pipe] --splice--> target
                          `-- what the target does not take --> outbox of the target, and the source is paused

That costs a third of reading and writing (docs/benchmarks.md, "Large transfers"). Whether a connection is `bulk` is
decided by what comes at a time: it becomes so by 32 KB, and is no longer by less than 16. A proxy that keeps up with
the sender seldom finds more. In portions, since a reader may be slow.

**Nothing is in the pipe between two events**, so a connection is the same value as without it: no handover has to wait
for one, and one pipe, two descriptors, serves all connections of a process. What it costs over a pipe for each stands
in ARCHITECTURE.md, "The proxy".

Bytes may pass unseen where a layer says so (`Relay.ahead`): relays and tunnels, bodies up to their last byte, the data
of long chunks. Not with TLS on either side, nor where filters or mirrors look at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.connection import BULK, CHUNK, HIGH
from proxy.guests import HOSTED

if TYPE_CHECKING:
    from proxy.calls import Calls
    from proxy.relay import Relay

SPLICED: Final = HIGH + BULK
"""Bytes of a portion: 112 KB. What a target does not take of it waits in its outbox, no more than reads may leave
there. (128 KB would be a little cheaper.)"""
PORTIONS: Final = 4
"""One after the other of the same connection, before others have their turn."""
ENDLESS: Final = 1 << 62
"""More bytes than ever come."""


def carry(source: Relay, calls: Calls, now: float) -> bool:
    """Pass on what waits at `source`, which is `bulk` and readable. False if it is to be read in the ordinary way.

    That is so also when nothing more seems to be there: only a read tells an end, and passes urgent bytes.
    """
    target = source.peer
    if source.paused or source.tls is not None or target is None or target.tls is not None:
        return False
    if target.outbox or target.connecting or target.shutting or not 0 <= target.fd < HOSTED:
        return False
    moved = 0
    for portion in range(PORTIONS):  # noqa: B007 - a name for the compiler
        reach = source.ahead()
        if reach < SPLICED:
            return False
        try:
            size = calls.splice(source.fd, target.fd, SPLICED)
        except OSError as error:
            source.plane.io_failed(source, error)
            return True
        if not size:
            break
        moved += size
        source.active = now
        source.changes += 1
        source.carried(size)
        source.tally(source.count_in, size)
        left = calls.left
        if size > len(left):
            target.active = now
            target.changes += 1
            target.tally(target.count_out, size - len(left))
        if left:
            target.send(left)
            target.clogged = target.stale = True  # also by less than HIGH: it has no room
            source.pause()
            source.plane.unread(source)  # it may be resumed in this very batch, and more may be there
            return True
    else:
        source.plane.unread(source)
        return True
    source.bulk = moved >= CHUNK
    return False
