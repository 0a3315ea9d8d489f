"""gRPC over HTTP/2, as far as a proxy speaks it: whose call it is, how long it may take, how it is told that it failed.

    content-type   application/grpc, perhaps with +proto, +json or parameters
    grpc-timeout   1*8DIGIT ("H" | "M" | "S" | "m" | "u" | "n")     hours, minutes, seconds, milli-, micro-, nanoseconds
    grpc-status    a number; with grpc-message (percent-encoded) in the trailers, or in the only HEADERS of an answer

Source: PROTOCOL-HTTP2.md, statuscodes.md and http-grpc-status-mapping.md of grpc/grpc (doc/).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.http2.heads import Head

    Field = tuple[bytes, bytes]

DEADLINE_EXCEEDED: Final = 4
UNAVAILABLE: Final = 14
_UNKNOWN: Final = 2
_STATUSES: Final = {400: 13, 401: 16, 403: 7, 404: 12, 413: 8, 429: 14, 431: 8, 502: 14, 503: 14, 504: 14}
"""Of HTTP, in those of gRPC. 413 and 431 are RESOURCE_EXHAUSTED, which says more than the UNKNOWN of the mapping."""

_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?", re.IGNORECASE)
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

_NOTHING: Final = ((), False, None)


def is_grpc(content_type: bytes) -> bool:
    """Whether a request with this content-type is a call. ``application/grpc-web`` is something else."""
    return content_type[:16].lower() == b"application/grpc" and _TYPE.fullmatch(content_type) is not None


def timeout(value: bytes) -> float | None:
    """The seconds that a client waits; None if that is not legible."""
    match = _TIMEOUT.fullmatch(value)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def status_of(http: int, *, late: bool) -> int:
    """How gRPC calls an answer of ours; `late`: a deadline passed."""
    return DEADLINE_EXCEEDED if late else _STATUSES.get(http, _UNKNOWN)


def failure(status: int, message: str) -> list[Field]:
    """The trailers of a call that failed."""
    return [(b"grpc-status", b"%d" % status), (b"grpc-message", _escaped(message))]


def only_answer(status: int, message: str) -> list[Field]:
    """The HEADERS that are all of an answer ("Trailers-Only")."""
    return [(b":status", b"200"), (b"content-type", b"application/grpc"), *failure(status, message)]


def _escaped(message: str) -> bytes:
    """All but printable ASCII, and the percent sign, as %XX of its UTF-8."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in message.encode()
    )


def about(head: Head) -> tuple[tuple[bytes, ...], bool, float | None]:
    """Of a request: names of fields that no table may hold, whether it is a call, the seconds that its client waits.

    Remembered with a head that comes again: 0.1 us instead of 1.1.
    """
    if head.plain:
        return _NOTHING
    if head.about is not None:
        return head.about
    called = False
    patience = None
    sealed = []
    for field in head.fields:
        if field.__class__ is not tuple:
            sealed.append(field[0])
        if field[0] == b"content-type":
            called = is_grpc(field[1])
        elif field[0] == b"grpc-timeout":
            patience = timeout(field[1])
    head.about = made = (tuple(sealed), called, patience if called else None)
    return made
