"""What a session tells whoever owns it. Calls come from within `Session.received` and the verbs of the session.

Each may call verbs of the session in turn. After `reset`, or its own `Session.reset`, an owner hears nothing more of
a stream; after `broken`, nothing at all. Verbs for streams that are gone do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field


class Owner:
    """A connection, as its session sees it. It is a class, and no protocol of Python, so that it is called in C."""

    __slots__ = ()

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        """A request (a new stream), or a response, 1xx ones included. Valid; pseudo-fields first. `end`: no body.

        The same object may come again: it is not to be altered.
        """

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        """The payload of one DATA frame; empty only at the end. To be given back by `Session.consumed`."""

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        """The message ends with these."""

    def reset(self, stream_id: int, code: int) -> None:
        """The stream ended too early: reset by the peer, or by us for what it sent.

        REFUSED_STREAM: the peer did not look at the request, which may be sent again.
        """

    def refused(self, stream_id: int, status: int) -> None:
        """A request that never became one was answered with this status by the session: for counters and logs."""

    def writable(self, stream_id: int) -> None:
        """All that waited is on its way, after `Session.send_body` had returned False; the end as well, if it came."""

    def settled(self) -> None:
        """The peer's settings came, or changed: `Session.theirs`. More streams may be possible."""

    def pong(self) -> None:
        """An answer to `Session.ping` came."""

    def goaway(self, last: int, code: int) -> None:
        """The peer takes no streams after `last`. Those of ours beyond it are reset next, with REFUSED_STREAM."""

    def broken(self, code: int, reason: str) -> None:
        """The peer broke the protocol or a limit. GOAWAY is in `Session.take`; write it and end the connection."""
