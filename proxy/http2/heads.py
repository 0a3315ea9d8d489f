"""What a header list must be to be taken for a message (RFC 9113 sections 8.2 and 8.3, RFC 8441).

A field is looked at once and what it means remembered, as `proxy.http1.fields` does with lines: peers repeat most of
theirs. Fields that are never indexed are secrets, and are not remembered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.http2.errors import Malformed
from proxy.http2.literals import NEVER

if TYPE_CHECKING:
    from proxy.http1.head import RequestHead
    from proxy.http2.hpack import Field

# What a field is, as bits, so that a list's fields can be gathered in one number.
PASS: Final = 1
CONTENT_LENGTH: Final = 2
HOST: Final = 4
METHOD: Final = 8
SCHEME: Final = 16
AUTHORITY: Final = 32
PATH: Final = 64
PROTOCOL: Final = 128
STATUS: Final = 256
REGULAR: Final = PASS | CONTENT_LENGTH | HOST
_USUAL: Final = METHOD | SCHEME | AUTHORITY | PATH

MAX_MEMO: Final = 4096
MAX_MEMO_FIELD: Final = 512

_PSEUDO: Final = {
    b":method": (METHOD, re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")),
    b":scheme": (SCHEME, re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")),
    # No user information (section 8.3.1), and never empty: http and https have no such authority.
    b":authority": (
        AUTHORITY,
        re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]+)(?::[0-9]{0,5})?"),
    ),
    b":path": (PATH, re.compile(rb"\*|/[\x21\x22\x24-\x7e\x80-\xff]*")),
    b":protocol": (PROTOCOL, re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")),
    b":status": (STATUS, re.compile(rb"[1-9][0-9][0-9]")),
}
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# No control characters but tabs, and no white space at either end (section 8.2.1; RFC 9110 section 5.5). Told by what
# is left without them: a third of what a regular expression takes.
_IN_VALUES: Final = b"\t" + bytes((*range(0x20, 0x7F), *range(0x80, 0x100)))
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
MAX_LENGTH: Final = 2**63 - 1
_HOP: Final = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Repeated(list["Field"]):
    """The fields of a block that came twice: while it is remembered, each one like it gives this very object."""

    __slots__ = ("about", "made")

    made: tuple[bool, int, RequestHead] | None
    """What `proxy.http2.text.request_head` made of them, and from what else. It is forgotten with the block."""
    about: tuple[tuple[bytes, ...], bool, float | None] | None
    """What `proxy.http2.grpc.about` says of them."""

    def __init__(self, fields: list[Field]) -> None:
        super().__init__(fields)
        self.made = self.about = None


class Head(NamedTuple):
    """A valid header list."""

    fields: list[Field]
    length: int = -1
    """What Content-Length says, -1 without one."""
    status: int = 0
    """Of a response."""
    method: bytes = b""
    """Of a request."""


def meaning(field: Field) -> int:
    """The bit of a field. Raises `Malformed`."""
    name, value = field
    pseudo = _PSEUDO.get(name)
    if pseudo is not None:
        if pseudo[1].fullmatch(value) is None:
            raise Malformed(f"malformed {name.decode()}")
        return pseudo[0]
    bit = _NAMES[name]
    if value.translate(None, _IN_VALUES) or value != value.strip(b"\t "):
        raise Malformed("malformed value")
    if bit:
        return bit
    if name == b"te" and value.lower() == b"trailers":
        return PASS
    if name == b"content-length":
        if _DIGITS.fullmatch(value) is None or int(value) > MAX_LENGTH:
            raise Malformed("malformed content-length")
        return CONTENT_LENGTH
    raise Malformed(f"{name.decode()} has no place in HTTP/2")


class _Names(dict[bytes, int]):
    """The bits of names; 0 for those that mean something, or are allowed, by their value."""

    def __missing__(self, name: bytes) -> int:
        if _NAME.fullmatch(name) is None:
            raise Malformed("malformed name")
        bit = 0 if name in _HOP or name in {b"te", b"content-length"} else HOST if name == b"host" else PASS
        if len(name) <= MAX_MEMO_FIELD:
            if len(self) >= MAX_MEMO:
                self.clear()
            self[name] = bit
        return bit


_NAMES: Final = _Names()


class _Meanings(dict["Field", int]):
    """`meaning` of fields that were met. Forgets all when full, so that ever new fields gain nothing."""

    def __missing__(self, field: Field) -> int:
        bit = meaning(field)
        name, value = field
        if field.__class__ is tuple and name not in NEVER and len(name) + len(value) <= MAX_MEMO_FIELD:
            if len(self) >= MAX_MEMO:
                self.clear()
            self[field] = bit
        return bit


_MEANINGS: Final = _Meanings()


def _gather(fields: list[Field]) -> tuple[int, dict[int, bytes]]:
    """The bits of a list, and the values of those that are more than passed on. Raises `Malformed`."""
    meanings = _MEANINGS
    seen = 0
    values = {}
    for field in fields:
        bit = meanings[field]
        if bit == PASS:
            seen |= PASS
            continue
        if seen & bit:
            raise Malformed(f"{field[0].decode()} stands there twice")
        if bit > REGULAR and seen & REGULAR:
            raise Malformed("a pseudo-field behind other fields")
        seen |= bit
        values[bit] = field[1]
    return seen, values


def request(fields: list[Field], *, connect: bool) -> Head:
    """A request's head; `connect`: with the extended CONNECT method of RFC 8441. Raises `Malformed`."""
    seen, values = _gather(fields)
    method = values.get(METHOD, b"")
    if seen & ~PASS == _USUAL and method != b"CONNECT" and values[PATH] != b"*":
        return Head(fields, -1, 0, method)  # nearly all, and 0.4 us less for them
    wanted = METHOD | SCHEME | PATH
    if method == b"CONNECT":
        wanted = METHOD | AUTHORITY
        if seen & PROTOCOL:
            if not connect:
                raise Malformed(":protocol is not expected")
            wanted |= SCHEME | PATH | PROTOCOL
    seen &= ~REGULAR
    if seen & ~AUTHORITY != wanted & ~AUTHORITY or wanted & ~seen:
        raise Malformed("the pseudo-fields are not those of a request")
    if values.get(PATH) == b"*" and method != b"OPTIONS":
        raise Malformed("malformed :path")
    if HOST in values and AUTHORITY in values and values[HOST].lower() != values[AUTHORITY].lower():
        raise Malformed("host is not :authority")
    return Head(fields, int(values.get(CONTENT_LENGTH, -1)), 0, method)


def response(fields: list[Field]) -> Head:
    """A response's head, 1xx ones included. Raises `Malformed`."""
    seen, values = _gather(fields)
    if seen & ~REGULAR != STATUS or (status := int(values[STATUS])) == 101:
        raise Malformed("the pseudo-fields are not those of a response")
    return Head(fields, int(values.get(CONTENT_LENGTH, -1)), status)


def trailers(fields: list[Field]) -> Head:
    """What ends a message. Raises `Malformed`."""
    seen, _ = _gather(fields)
    if seen & ~REGULAR:
        raise Malformed("a pseudo-field among trailers")
    return Head(fields)
