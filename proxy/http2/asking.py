"""A health check over HTTP/2: what is sent, and what the bytes that came so far say.

    http2   GET of a path, answered below 400
    grpc    grpc.health.v1.Health/Check for the server as a whole, answered SERVING (grpc/grpc doc/health-checking.md)

Both are functions of bytes alone, so that a check under way moves as what it has read: the session is made anew for
each look. It acknowledges nothing, which nobody has to wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.http2.budget import Limits
from proxy.http2.errors import name_of
from proxy.http2.owner import Owner
from proxy.http2.session import Session
from proxy.http2.settings import Settings

if TYPE_CHECKING:
    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field

_LIMITS: Final = Limits()
_CHECK: Final = b"/grpc.health.v1.Health/Check"
_FOR_ALL: Final = bytes(5)
"""One message of no bytes, not compressed: HealthCheckRequest without a service."""
_SERVING: Final = b"\x08\x01"
"""HealthCheckResponse with status 1, in the encoding of protobuf."""


class _Listener(Owner):
    """The owner of such a session (`proxy.http2.owner`)."""

    def __init__(self) -> None:
        self.status = 0
        self.message = b""
        self.grpc = b""
        self.ended = False
        self.problem = ""

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        """A response."""
        self.status = head.status
        self._trailing(head.fields)
        self.ended = end

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        """Its body."""
        self.message += piece
        self.ended = end

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        """Its end."""
        self._trailing(fields)
        self.ended = True

    def _trailing(self, fields: list[Field]) -> None:
        self.grpc = next((value for name, value in fields if name == b"grpc-status"), self.grpc)

    def reset(self, stream_id: int, code: int) -> None:
        """It is not answered."""
        self.problem = self.problem or f"it reset the stream: {name_of(code)}"

    def broken(self, code: int, reason: str) -> None:
        """It is something else."""
        self.problem = f"it does not speak HTTP/2: {name_of(code)}, {reason}"


def _asked(path: str, authority: str, *, grpc: bool) -> tuple[Session, _Listener]:
    owner = _Listener()
    session = Session(owner, Settings(), _LIMITS, server=False)
    session.begin()
    number = session.open()
    fields = [
        (b":method", b"POST" if grpc else b"GET"),
        (b":scheme", b"http"),
        (b":path", _CHECK if grpc else path.encode()),
        (b":authority", authority.encode()),
        (b"user-agent", b"hotswap"),
    ]
    if grpc:
        fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    session.send_headers(number, fields, not grpc)
    if grpc:
        session.send_body(number, _FOR_ALL, True)
    return session, owner


def question(path: str, authority: str, *, grpc: bool) -> bytes:
    """What is sent. `path` is not used by `grpc`."""
    return _asked(path, authority, grpc=grpc)[0].take()


def answer(path: str, authority: str, data: bytes, *, grpc: bool) -> str | None:
    """What the bytes so far say: empty for alive, else the reason; None: read on."""
    session, owner = _asked(path, authority, grpc=grpc)
    session.take()
    session.received(data, 0.0)
    if owner.status >= 400 or (owner.status >= 200 and not grpc):
        return "" if owner.status < 400 else f"it answered {'the check' if grpc else path} with {owner.status}"
    if not owner.ended:
        return owner.problem or None
    if owner.grpc != b"0":
        return f"it answered the check with grpc-status {owner.grpc.decode('ascii', 'replace') or 'missing'}"
    return "" if owner.message[5:].startswith(_SERVING) else "it says that it does not serve"
