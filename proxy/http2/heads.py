"""What a header list must be to be taken for a message (RFC 9113 sections 8.2 and 8.3, RFC 8441).

A field is looked at once and what it means remembered, as `proxy.http1.fields` does with lines: peers repeat most of
theirs. Fields that are never indexed are secrets, and are not remembered; nor are paths, which seldom come again and
would put all others out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.http2.errors import Malformed
from proxy.http2.literals import NEVER
from proxy.http2.static_table import STATIC

if TYPE_CHECKING:
    from proxy.http1.message import RequestHead
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
COOKIE: Final = 512
ABOUT_CALLS: Final = 1024
"""What `proxy.http2.grpc` looks at."""
SEALED: Final = 2048
"""Not a field: one of them is never indexed."""
FREE: Final = PASS | COOKIE | ABOUT_CALLS
"""Those that may come more than once."""
REGULAR: Final = FREE | CONTENT_LENGTH | HOST
_USUAL: Final = METHOD | SCHEME | AUTHORITY | PATH

# What a list may have to be.
REQUEST: Final = 0
RESPONSE: Final = 1
TRAILERS: Final = 2

MAX_MEMO: Final = 4096
MAX_MEMO_FIELD: Final = 512
MAX_OWN: Final = 2048
"""Bytes of lines that nobody else has."""

_PSEUDO: Final = {
    b":method": (METHOD, re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")),
    b":scheme": (SCHEME, re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")),
    # No user information (section 8.3.1), and never empty: http and https have no such authority.
    b":authority": (
        AUTHORITY,
        re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]+)(?::[0-9]{0,5})?"),
    ),
    b":protocol": (PROTOCOL, re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")),
    b":status": (STATUS, re.compile(rb"[1-9][0-9][0-9]")),
}
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# No control characters but tabs, and no white space at either end (section 8.2.1; RFC 9110 section 5.5). Told by what
# is left without them: a third of what a regular expression takes.
_IN_VALUES: Final = b"\t" + bytes((*range(0x20, 0x7F), *range(0x80, 0x100)))
_IN_PATHS: Final = bytes((0x21, 0x22, *range(0x24, 0x7F), *range(0x80, 0x100)))
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
MAX_LENGTH: Final = 2**63 - 1
_HOP: Final = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_PATH_NAME: Final = STATIC[4][0]
"""The object that decoders give."""


class Head:
    """A valid header list, and what its fields say. A block that comes again gives this very object: alter nothing."""

    __slots__ = (
        "about",
        "authority",
        "cookies",
        "fields",
        "host",
        "large",
        "length",
        "lines",
        "made",
        "made_ended",
        "made_most",
        "method",
        "path",
        "plain",
        "protocol",
        "status",
    )

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.length = -1
        """What Content-Length says, -1 without one."""
        self.status = 0
        """Of a response."""
        self.method = self.path = self.authority = self.host = self.protocol = b""
        """Of a request."""
        self.lines: list[bytes] | None = None
        """Of a request: the fields that are passed on, as lines of HTTP/1.1."""
        self.cookies: list[bytes] | None = None
        """The same: the crumbs."""
        self.large = False
        """It holds so many lines of its own that it is not to be remembered: a short block may unfold to 64 KB."""
        self.plain = False
        """It is no call of gRPC, and no field is sealed."""
        self.about: tuple[tuple[bytes, ...], bool, float | None] | None = None
        """What `proxy.http2.grpc.about` says of it. Derived."""
        self.made: RequestHead | None = None
        """What `proxy.http2.text.request_head` made of it, and from what else. Derived."""
        self.made_ended = False
        self.made_most = 0


class Meaning:
    """What a field is: its bit, and the line of HTTP/1.1 that it becomes, empty for one that becomes none."""

    __slots__ = ("bit", "line")

    def __init__(self, bit: int, line: bytes) -> None:
        self.bit = bit
        self.line = line


_PATH: Final = Meaning(PATH, b"")
_MEANINGS: Final[dict[Field, Meaning]] = {}
"""Of fields that were met. Forgets all when full, so that ever new fields gain nothing."""


def meaning(field: Field) -> Meaning:
    """Look at a field; from now on `_MEANINGS` has it. Raises `Malformed`."""
    name, value = field
    if name == b":path":
        if (not value or value[0] != 0x2F or value.translate(None, _IN_PATHS)) and value != b"*":
            raise Malformed("malformed :path")
        return _PATH
    bit = _bit(name, value)
    made = Meaning(bit, b"\r\n%b: %b" % field if bit & (REGULAR & ~HOST) and name != b"te" else b"")
    if field.__class__ is tuple and name not in NEVER and len(name) + len(value) <= MAX_MEMO_FIELD:
        if len(_MEANINGS) >= MAX_MEMO:
            _MEANINGS.clear()
        _MEANINGS[field] = made
    return made


def _bit(name: bytes, value: bytes) -> int:
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
        bit = 0 if name in _HOP or name in {b"te", b"content-length"} else PASS
        if name == b"host":
            bit = HOST
        elif name == b"cookie":
            bit = COOKIE
        elif name in {b"content-type", b"grpc-timeout"}:
            bit = ABOUT_CALLS
        if len(name) <= MAX_MEMO_FIELD:
            if len(self) >= MAX_MEMO:
                self.clear()
            self[name] = bit
        return bit


_NAMES: Final = _Names()


def read(fields: list[Field], kind: int, connect: bool) -> Head:
    """A header list as what it has to be; `connect`: with the extended CONNECT (RFC 8441). Raises `Malformed`."""
    head = Head()
    head.fields = fields
    if kind == REQUEST:
        head.lines = []
    seen = _gather(head)
    if kind == REQUEST:
        # Nearly all there are stop here.
        if seen & ~(FREE | SEALED) != _USUAL or head.method == b"CONNECT" or head.path == b"*":
            _request(head, seen, connect)
        head.plain = not seen & (ABOUT_CALLS | SEALED)
    elif kind == RESPONSE:
        if seen & ~(REGULAR | SEALED) != STATUS or head.status == 101:
            raise Malformed("the pseudo-fields are not those of a response")
    elif seen & ~(REGULAR | SEALED):
        raise Malformed("a pseudo-field among trailers")
    return head


def _gather(head: Head) -> int:
    """The bits of a list. What is more than passed on goes into the head. Raises `Malformed`."""
    meanings = _MEANINGS
    lines = head.lines
    seen = own = 0
    for field in head.fields:
        known = None if field[0] is _PATH_NAME else meanings.get(field)
        if known is None:
            known = meaning(field)
            own += len(known.line)
            if type(field) is not tuple:
                seen |= SEALED
        bit = known.bit
        if bit & FREE:
            seen |= bit
            if lines is not None:
                if bit == COOKIE:
                    _crumb(head, field[1])
                elif known.line:
                    lines.append(known.line)
            continue
        if seen & bit:
            raise Malformed(f"{field[0].decode()} stands there twice")
        if not bit & REGULAR and seen & REGULAR:
            raise Malformed("a pseudo-field behind other fields")
        seen |= bit
        if bit == PATH:
            head.path = field[1]
        elif bit == METHOD:
            head.method = field[1]
        elif bit == AUTHORITY:
            head.authority = field[1]
        elif bit == STATUS:
            head.status = int(field[1])
        elif bit == CONTENT_LENGTH:
            head.length = int(field[1])
            if lines is not None:
                lines.append(known.line)
        elif bit == HOST:
            head.host = field[1]
        elif bit == PROTOCOL:
            head.protocol = field[1]
    head.large = own > MAX_OWN
    return seen


def _crumb(head: Head, value: bytes) -> None:
    if head.cookies is None:
        head.cookies = []
    head.cookies.append(value)


def _request(head: Head, seen: int, connect: bool) -> None:
    """Whether an unusual list is that of a request all the same."""
    wanted = METHOD | SCHEME | PATH
    if head.method == b"CONNECT":
        wanted = METHOD | AUTHORITY
        if seen & PROTOCOL:
            if not connect:
                raise Malformed(":protocol is not expected")
            wanted |= SCHEME | PATH | PROTOCOL
    pseudo = seen & ~(REGULAR | SEALED)
    if pseudo & ~AUTHORITY != wanted & ~AUTHORITY or wanted & ~pseudo:
        raise Malformed("the pseudo-fields are not those of a request")
    if head.path == b"*" and head.method != b"OPTIONS":
        raise Malformed("malformed :path")
    if seen & HOST and seen & AUTHORITY and head.host.lower() != head.authority.lower():
        raise Malformed("host is not :authority")
