"""One field line of a message head (RFC 9110 section 5, RFC 9112 section 5).

    field-line = field-name ":" OWS field-value OWS          no CRLF here

A line is validated once and its meaning to a proxy remembered under its exact bytes: clients and servers repeat
most of their lines, and a lookup costs a tenth of a parse. The memory of lines is bounded in their number and
in the length of each, and forgets everything when full, so a peer that sends ever new lines gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from proxy.http1.errors import BadMessage

# Marks: what a line means to a proxy. Plain integers, because 0 has to be cheap to test.
PASS: Final = 0  # forward as it is
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
HOP: Final = 5  # concerns this hop alone: drop
UPGRADE: Final = 6
EXPECT: Final = 7
FORWARDED_FOR: Final = 8
FORWARDED_PROTO: Final = 9
REQUEST_ID: Final = 10
MAX_FORWARDS: Final = 11

MARKS: Final = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"te": HOP,  # trailers are forwarded in any case, and other codings of this hop are not spoken
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-request-id": REQUEST_ID,
    b"max-forwards": MAX_FORWARDS,
}

# A peer must not make us drop these by naming them in Connection (RFC 9110 section 7.6.1 forbids it to).
NEVER_HOP: Final = frozenset(MARKS) - {b"keep-alive", b"proxy-connection", b"te", b"upgrade"} | {b"via"}

MAX_MEMO_LINES: Final = 4096
MAX_MEMO_LINE: Final = 512

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A value has no control characters but tabs: CR, LF and NUL are dangerous, the others never legal (RFC 9110 5.5).
_LINE: Final = re.compile(rb"(" + TOKEN + rb"):[\t \x21-\x7e\x80-\xff]*")
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]*)(?::[0-9]{0,5})?")
_TOKENS: Final = re.compile(rb"[\t ,]*(?:" + TOKEN + rb"[\t ]*(?:,[\t ,]*|$))*")
MAX_LENGTH: Final = 2**63 - 1


T = TypeVar("T")


class Memo(dict[bytes, T]):
    """What lines mean, by their bytes: ``memo[line]`` reads a new one with ``read`` and remembers the result.

    ``read`` raises `BadMessage`, and then nothing is remembered.
    """

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[bytes], T]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, line: bytes) -> T:
        meaning = self._read(line)
        if len(line) <= MAX_MEMO_LINE:
            if len(self) >= MAX_MEMO_LINES:
                self.clear()
            self[line] = meaning
        return meaning


def mark_of(line: bytes) -> int:
    """The mark of a field line; refused (400): a folded one, a space before the colon, a bare CR or LF, a NUL."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadMessage(400, "malformed header line")
    return MARKS.get(match[1].lower(), PASS)


def name_of(line: bytes) -> bytes:
    """The field name of a valid line, in lower case."""
    return line[: line.index(b":")].lower()


def value_of(line: bytes) -> bytes:
    """The field value of a valid line, without the white space around it."""
    return line[line.index(b":") + 1 :].strip(b" \t")


def content_length(line: bytes) -> int:
    """The length a Content-Length line states. Signs, lists, and what 63 bits cannot hold are refused."""
    value = value_of(line)
    if _DIGITS.fullmatch(value) is None or (length := int(value)) > MAX_LENGTH:
        raise BadMessage(400, "malformed Content-Length")
    return length


def check_chunked(line: bytes) -> None:
    """Take a Transfer-Encoding line only if it says ``chunked`` and nothing else.

    Further codings under a final ``chunked`` are legal but not spoken here (501); any other end
    leaves the length of the message undefined (400, RFC 9112 section 6.3).
    """
    value = value_of(line).lower()
    if value == b"chunked":
        return
    codings = [coding.strip(b" \t") for coding in value.split(b",")]
    if codings[-1] == b"chunked" and b"chunked" not in codings[:-1] and b"" not in codings:
        raise BadMessage(501, "a transfer coding that is not supported")
    raise BadMessage(400, "malformed Transfer-Encoding")


def host_of(line: bytes) -> bytes:
    """The value of a Host line; refused unless it can be an authority (RFC 9110 section 7.2)."""
    value = value_of(line)
    if _HOST.fullmatch(value) is None:
        raise BadMessage(400, "malformed Host")
    return value


class Options(NamedTuple):
    """What a Connection line asks for. ``names`` are the further fields that concern this hop alone."""

    close: bool
    keep_alive: bool
    upgrade: bool
    names: frozenset[bytes]


def connection_options(line: bytes) -> Options:
    """Read a Connection line."""
    value = value_of(line).lower()
    if _TOKENS.fullmatch(value) is None:
        raise BadMessage(400, "malformed Connection")
    tokens = {token.strip(b" \t") for token in value.split(b",")} - {b""}
    return Options(
        close=b"close" in tokens,
        keep_alive=b"keep-alive" in tokens,
        upgrade=b"upgrade" in tokens,
        names=frozenset(tokens - {b"close", b"keep-alive", b"upgrade"} - NEVER_HOP),
    )


LINES: Final = Memo(mark_of)
LENGTHS: Final = Memo(content_length)
HOSTS: Final = Memo(host_of)
OPTIONS: Final = Memo(connection_options)
