"""Literals of HPACK as our encoder writes them, and which fields enter its table (RFC 7541 sections 6.2 and 7.1).

A field enters the table unless its name says that the next message will have another value. Nothing else is asked
(whether a field was seen before, say), so that no more than the table itself has to move in a handover.
"""

from __future__ import annotations

from typing import Final

from proxy.http2.huffman import encode, encoded_length
from proxy.http2.static_table import STATIC

ENTERS: Final = 0x40
NEVER_ENTERS: Final = 0x10
PLAIN: Final = 0

NEVER: Final = frozenset({b"authorization", b"proxy-authorization", b"set-cookie"})
"""Secrets: literals that no hop may index."""
SHORT: Final = 20
"""A cookie of fewer bytes could be guessed by what it compresses to (section 7.1.3)."""

UNINDEXED: Final = frozenset(
    {
        b":path",
        b"age",
        b"content-length",
        b"content-range",
        b"etag",
        b"grpc-message",
        b"grpc-status-details-bin",
        b"grpc-timeout",
        b"grpc-trace-bin",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-unmodified-since",
        b"last-modified",
        b"location",
        b"range",
        b"referer",
        b"traceparent",
        b"tracestate",
        b"x-b3-spanid",
        b"x-b3-traceid",
        b"x-forwarded-for",
        b"x-request-id",
    }
)
"""Fields whose values seldom come again on a connection that many share. They are not coded by Huffman either: that
costs either side some 3 us each, for a fifth of their few bytes."""

NAMES: Final = {field[0]: index for index, field in reversed(list(enumerate(STATIC))) if index}
"""The first index of each name of the static table."""

MEMO: Final = 1024
"""Literals that are remembered as they are written, and strings; each of at most `MEMO_LENGTH` bytes."""
MEMO_LENGTH: Final = 128

_STATIC: Final = {field: bytes((0x80 | index,)) for index, field in reversed(list(enumerate(STATIC))) if index}

FIXED: Final = _STATIC.copy()
"""Fields whose representation depends on no table of ours: those of the static one, and literals that enter none."""
_strings: dict[bytes, bytes] = {}


def secret(name: bytes, value: bytes) -> bool:
    """A cookie so short that its value could be guessed."""
    return name == b"cookie" and len(value) < SHORT


def integer(value: int, bits: int, first: int) -> bytes:
    """An integer behind the bits of `first` (section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: bytes, memo: bool) -> bytes:
    """A string literal; by Huffman where that is shorter (section 5.2). What `memo` does not permit is not kept."""
    known = _strings.get(text)
    if known is not None:
        return known
    out = raw(text)
    length = encoded_length(text)
    if length < len(text):
        out = integer(length, 7, 0x80) + encode(text)
    if memo and len(text) <= MEMO_LENGTH:
        if len(_strings) >= MEMO:
            _strings.clear()
        _strings[text] = out
    return out


def raw(text: bytes) -> bytes:
    """A string literal as it is."""
    return integer(len(text), 7, 0) + text


def literal(field: tuple[bytes, bytes]) -> bytes:
    """A literal that does not enter the table, with a name of the static one. See `FIXED`."""
    out = integer(NAMES[field[0]], 4, PLAIN) + raw(field[1])
    if len(field[1]) <= MEMO_LENGTH:
        if len(FIXED) >= MEMO:
            FIXED.clear()
            FIXED.update(_STATIC)
        FIXED[field] = out
    return out
