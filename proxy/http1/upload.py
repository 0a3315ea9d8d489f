"""The body of a request on its way to the upstream, and to mirrors.

bytes --> length or chunks --> upstream, which may pause the client
                          `--> mirrors, which may not: see `proxy.http1.mirror`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.bulk import ENDLESS
from proxy.http1.body import Chunks
from proxy.http1.errors import BadMessage
from proxy.http1.filtered import Filtered
from proxy.http1.message import CHUNKED
from proxy.http1.mirror import Mirror, copy
from proxy.http1.states import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.connection import Connection
    from proxy.http1.message import RequestHead
    from proxy.plane import Plane

SEND, BOTH, DISCARD, TUNNEL = Step.SEND, Step.BOTH, Step.DISCARD, Step.TUNNEL


class Upload(Filtered):
    """A client connection whose request may have a body."""

    __slots__ = ("copies",)

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.copies: tuple[Mirror, ...] = ()
        """The mirrors that still get the body."""

    def _begin_body(self, head: RequestHead) -> None:
        limit = self.listener.config.max_body
        if limit is not None and head.length > limit:
            raise BadMessage(413, "the body is too large")
        self.left = head.length
        self.chunks = Chunks() if head.length == CHUNKED else None
        self.expects = head.expects

    def _take_body(self, data: bytes) -> bytes:
        """Forward, or drop, what belongs to the request body. Returns what follows it."""
        if not data:
            return data
        rest = b""
        chunks = self.chunks
        if chunks is None:
            piece = data if len(data) <= self.left else data[: self.left]
            rest = data[len(piece) :]
            self.left -= len(piece)
        else:
            config = self.listener.config
            piece = chunks.feed(data, (config.max_header_bytes, config.max_headers))
            if chunks.broken is not None or (config.max_body is not None and chunks.size > config.max_body):
                self._refuse_body(chunks.broken or BadMessage(413, "the body is too large"))
                return b""
            if chunks.done:
                rest = chunks.rest
                self.chunks = None
                self.left = 0
        self.expects = False
        if self.record is not None:
            self.record.received += len(data) - len(rest)
        if self.step is DISCARD:
            self.spendable -= len(data)
            if self.left and self.spendable < 0:
                self._last()
                return b""
        else:
            self._forward_body(piece)
            if self.copies:
                self._copy_body(piece)
        if not self.left:
            self._sent()
        return rest

    def ahead(self) -> int:
        """The body up to its last byte, or the data of a chunk; nothing of it where a mirror gets it, too. A tunnel."""
        step = self.step
        if step is TUNNEL:
            return 0 if self.inbox else ENDLESS
        if (step is not SEND and step is not BOTH) or self.copies or self.held or self.expects or self.inbox:
            return 0
        return self.left - 1 if self.chunks is None else self.chunks.ahead()

    def carried(self, size: int) -> None:
        """A part of the body went to the upstream, or what the client says in a tunnel."""
        if self.record is not None:
            self.record.received += size
        if self.step is TUNNEL:
            self.passed += size
        elif self.chunks is None:
            self.left -= size
        else:
            self.chunks.left -= size

    def _forward_body(self, piece: bytes) -> None:
        upstream = self.peer
        self.held = b""
        if upstream is not None and piece:
            upstream.send(piece)
            if upstream.clogged:
                self.pause()

    def _refuse_body(self, why: BadMessage) -> None:
        """Answer if that is still possible. The upstream never sees the body's end."""
        if self.step is SEND:
            self._reply(why.status, why.reason, keep=False)
        elif self.step is BOTH:
            self._abort()
        else:
            self._last()

    # ---- mirrors ----

    def _copy(self, wishes: Sequence[str]) -> None:
        """Send `held`, and the body that is to come, to these clusters as well."""
        if self.upgrade:
            return  # a tunnel has no copy
        clusters = [self.listener.clusters[name] for name in wishes if name in self.listener.clusters]
        whole = not self.left
        mirrors = [copy(self, cluster, self.held, whole=whole) for cluster in clusters]
        self.copies = () if whole else tuple(mirror for mirror in mirrors if mirror is not None)

    def _copy_body(self, piece: bytes) -> None:
        for mirror in self.copies:
            mirror.give(piece)
        if not self.left:
            mirrors, self.copies = self.copies, ()
            for mirror in mirrors:
                mirror.complete()

    def lost_copy(self, mirror: Mirror) -> None:
        """This one ended."""
        self.copies = tuple(one for one in self.copies if one is not mirror)
        self.changes += 1

    def _drop_copies(self) -> None:
        copies, self.copies = self.copies, ()
        for mirror in copies:
            mirror.orphaned()

    def _discard(self) -> None:
        self._drop_copies()
        super()._discard()

    def _last(self) -> None:
        self._drop_copies()
        super()._last()

    def over(self) -> None:
        """The body will not be complete."""
        self._drop_copies()
        super().over()

    def bonds(self) -> tuple[Connection, ...]:
        """With the mirrors that get the body."""
        return (*super().bonds(), *self.copies)

    def met(self, other: Connection) -> None:
        """A mirror is there."""
        if isinstance(other, Mirror):
            self.copies = (*self.copies, other)

    def _take(self, data: bytes) -> None:
        raise NotImplementedError
