"""What a protocol has of its own, as far as the code that all of them share asks for it.

A `Wire` is one object for each protocol, without a state. None of its methods is called in the loops over runs of
frames, but for single frames: errors, heartbeats, calls that somebody looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from proxy.accesslog.log import AccessLog
    from proxy.accesslog.record import Record
    from proxy.filters.api import Request, Response


LAST_ID: Final = 0x7FFFFFFF
"""Ids are signed numbers to many peers."""

SINGLE: Final = 0
SAME: Final = 1
EVERY: Final = 2
"""Which calls go the same way as the one before them: none, those with the same text for routes, every one."""


class BadFrame(Exception):
    """The stream cannot be followed any further: the connection has to end."""


class Head(Protocol):
    """The head of a frame."""

    @property
    def version(self) -> int:
        """Of the protocol: connections of one version share calls."""

    @property
    def id(self) -> int:
        """Whose call it is."""

    @property
    def codec(self) -> int:
        """With `ver1`, what an error of our own for this call has to know."""

    @property
    def ver1(self) -> int:
        """See `codec`."""

    @property
    def length(self) -> int:
        """Of the whole frame."""

    @property
    def calls(self) -> bool:
        """It is a call that goes on, with an answer or without."""

    @property
    def answers(self) -> bool:
        """It is an answer, to a call or to anything else."""

    @property
    def wants_answer(self) -> bool:
        """It is a request that somebody waits for. What is no request, and not this, is never answered."""

    @property
    def patience(self) -> float:
        """The seconds that the caller waits, as far as the head says so; 0: it does not."""

    @property
    def payload(self) -> int:
        """Bytes of its content."""

    @property
    def status(self) -> int:
        """Of an answer."""


class Wire:
    """One protocol."""

    protocol: ClassVar[str]
    """By the name that listeners have for it."""
    ok: ClassVar[int]
    """The status of success."""

    # ---- statuses of errors of our own ----

    no_route: ClassVar[int]
    not_sent: ClassVar[int]
    """No endpoint is left. The call reached no server."""
    timeout: ClassVar[int]
    busy: ClassVar[int]
    closed: ClassVar[int]
    """The connection to the server ended before its answer came."""
    unreadable: ClassVar[int]
    """The frame is too long, or what is to be known of it cannot be read."""
    bad_answer: ClassVar[int]
    """The answer is too long."""
    refused: ClassVar[int]
    """A filter failed."""

    def verdict(self, status: int) -> int:
        """What a filter answers, which knows HTTP, in the protocol's own numbers."""
        raise NotImplementedError

    # ---- frames ----

    def read_head(self, data: bytes | bytearray, at: int) -> Head | None:
        """The head of the frame that begins there; None if more bytes are needed. Raises `BadFrame`."""
        raise NotImplementedError

    def frames(self, data: bytes | bytearray) -> Iterator[tuple[Head, int]]:
        """The heads of whole frames and where each begins. Stops at the first that is not whole. Raises `BadFrame`."""
        at = 0
        while at < len(data):
            head = self.read_head(data, at)
            if head is None or at + head.length > len(data):
                return
            yield head, at
            at += head.length

    def renumber(self, frame: bytearray, head: Head, number: int) -> None:
        """Give a frame another id. Nothing else of it changes."""
        raise NotImplementedError

    def error(self, number: int, codec: int, ver1: int, status: int) -> bytes:
        """An answer of our own."""
        raise NotImplementedError

    def heartbeat(self, version: int, number: int) -> bytes:
        """A heartbeat of our own."""
        raise NotImplementedError

    # ---- calls that somebody looks at ----

    def patience(self, frame: bytearray) -> float:
        """The seconds that a call gets at least, where its head has no room to say how long the caller waits."""
        return 0.0

    def text(self, frame: bytearray, head: Head) -> bytes:
        """The part of a frame that routes and filters read."""
        raise NotImplementedError

    def with_text(self, frame: bytearray, head: Head, text: bytes) -> bytearray:
        """The frame with another one. Raises `ValueError` if that cannot be."""
        raise NotImplementedError

    def readable(self, text: bytes) -> bool:
        """Filters can read it."""
        raise NotImplementedError

    def call(self, text: bytes, notes: dict[str, Any], client: str) -> Request:
        """A call as filters see it. Raises `ValueError`."""
        raise NotImplementedError

    def answer(self, text: bytes, notes: dict[str, Any], status: int) -> Response:
        """An answer as filters see it. Raises `ValueError`."""
        raise NotImplementedError

    def record(self, log: AccessLog, text: bytes, kind: str, size: int, now: float) -> Record:
        """What the access log keeps of a call; what cannot be read is left out."""
        raise NotImplementedError


def torn_by(wire: Wire, outbox: bytes | bytearray, torn: int, written: int) -> int:
    """Bytes at the beginning of what is left of an outbox that belong to a frame of which a part was written.

    `torn` are those at the beginning of the whole outbox.
    """
    if written <= torn:
        return torn - written
    for head, at in wire.frames(outbox[torn:]):
        end = torn + at + head.length
        if end >= written:
            return end - written
    return 0
