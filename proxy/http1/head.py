"""Request and response heads (RFC 9112 sections 2 to 6).

    head = start-line CRLF *( field-line CRLF ) CRLF

    request-line = method SP request-target SP "HTTP/" DIGIT "." DIGIT
    status-line  = "HTTP/" DIGIT "." DIGIT SP 3DIGIT [ SP reason-phrase ]

`find_end` looks for the end of a head in a growing buffer, `parse_request` and `parse_response` read a complete one.
Parsing is strict: what two implementations could read in two ways is refused. A refused message gets the same
status however the stream was cut: what `find_end` can refuse early takes precedence in a complete head too.

What is forwarded is cut from the original bytes (`raw`); lines that concern one hop only are left out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from proxy.http1 import fields
from proxy.http1.errors import BadMessage
from proxy.http1.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    HOP,
    HOST,
    HOSTS,
    LENGTHS,
    LINES,
    MAX_FORWARDS,
    OPTIONS,
    REQUEST_ID,
    TRANSFER_ENCODING,
    UPGRADE,
    Memo,
)
from proxy.http1.message import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead

FORMAT: Final = 2
"""The parser in C has the same number if it was built from sources that agree with this file (`proxy.http1.parser`)."""

MAX_TARGET: Final = 16384
"""Bytes of a request target; a longer one is answered 414."""

_REQUEST: Final = re.compile(rb"(" + fields.TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(| [\t \x21-\x7e\x80-\xff]*)")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE)
# A line end that is not CRLF, or a control character, can never become a valid head. A CR at the very end may.
_HOPELESS: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent again (RFC 9110 section 9.2.2)."""


class RequestLine(NamedTuple):
    """A parsed request line. ``minor`` is 0 or 1, ``authority`` comes from an absolute-form target, else empty.

    ``target`` is what goes upstream: origin-form or ``*``; ``path`` is the same without its query.
    """

    method: bytes
    target: bytes
    path: bytes
    minor: int
    authority: bytes
    raw: bytes


class StatusLine(NamedTuple):
    """A parsed status line; ``raw`` is how it goes downstream."""

    status: int
    minor: int
    raw: bytes


def find_end(buffer: bytes | bytearray, scanned: int, limit: int) -> int:
    """The position of the CRLF CRLF that ends the head, or -1 if it is not there yet.

    ``scanned`` bytes were looked at in vain before. Raises `BadMessage` as soon as no further bytes can make
    this a head of at most ``limit`` bytes.
    """
    end = buffer.find(b"\r\n\r\n", scanned - 3 if scanned > 3 else 0)
    if 0 <= end <= limit:
        return end
    if _HOPELESS.search(buffer, max(0, scanned - 1), limit) is not None:
        raise BadMessage(400, "malformed line end or control character")
    if len(buffer) > limit + 3 or end > limit:
        first = buffer.find(b"\r\n")
        raise BadMessage(414 if first < 0 or first > limit else 431, "the head is too long")
    return -1


def without_empty_lines(buffer: bytes) -> bytes:
    """Skip the empty lines before a request head (RFC 9112 section 2.2); a lone CR may become one."""
    start = 0
    while buffer.startswith(b"\r\n", start):
        start += 2
    buffer = buffer[start:]
    if buffer[:1] in {b"\r", b"\n"} and buffer != b"\r":
        raise BadMessage(400, "malformed line end")
    return buffer


def parse_request_line(line: bytes) -> RequestLine:
    """Read a request line. 400, 414, 501 (CONNECT) or 505 as `BadMessage`."""
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise BadMessage(400, "malformed request line")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise BadMessage(505, "HTTP/1.1 is spoken here")
    if len(target) > MAX_TARGET:
        raise BadMessage(414, "the request target is too long")
    if method == b"CONNECT":
        raise BadMessage(501, "CONNECT is not supported")
    authority = b""
    if target[0] != 0x2F:  # not origin-form
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            authority, target = absolute.groups()
            fields.host_of(b"Host:" + authority)
            if not target and method == b"OPTIONS":
                target = b"*"
            elif target[:1] != b"/":
                target = b"/" + target
        elif target != b"*" or method != b"OPTIONS":
            raise BadMessage(400, "malformed request target")
    return RequestLine(
        method=method,
        target=target,
        path=target.partition(b"?")[0],
        minor=0 if minor == b"0" else 1,
        authority=authority,
        raw=b"%b %b HTTP/1.1" % (method, target),
    )


def parse_status_line(line: bytes) -> StatusLine:
    """Read a status line. 502 as `BadMessage`."""
    match = _STATUS.fullmatch(line)
    if match is None:
        raise BadMessage(502, "malformed status line")
    return StatusLine(int(match[2]), 0 if match[1] == b"0" else 1, b"HTTP/1.1 %b%b" % (match[2], match[3] or b" "))


REQUEST_LINES: Final = Memo(parse_request_line)
STATUS_LINES: Final = Memo(parse_status_line)


def parse_request(raw: bytes, max_fields: int) -> RequestHead:
    """Read a whole request head without its final CRLF CRLF; `BadMessage` tells why not."""
    try:
        return _parse_request(raw, max_fields)
    except BadMessage:
        if _HOPELESS.search(raw + b"\r\n") is not None:  # as `find_end` says it of an incomplete head
            raise BadMessage(400, "malformed line end or control character") from None
        raise


def _parse_request(raw: bytes, max_fields: int) -> RequestHead:
    lines = raw.split(b"\r\n")
    head = RequestHead()
    start = REQUEST_LINES[lines[0]]
    head.method, head.path, head.minor = start.method, start.path, start.minor
    if len(lines) > max_fields + 1:
        raise BadMessage(431, "too many header lines")
    changed = start.raw != lines[0]
    lines[0] = start.raw
    hosts = 0
    length = -1
    chunked = False
    expect = b""
    drop: list[bytes] = []
    names: frozenset[bytes] = frozenset()
    keep_alive = close = upgrade = False
    marks = LINES
    for line in lines[1:]:
        mark = marks[line]
        if not mark:
            continue
        if mark == HOST:
            head.host = HOSTS[line]
            hosts += 1
        elif mark == CONTENT_LENGTH:
            if length >= 0:
                raise BadMessage(400, "more than one Content-Length")
            length = LENGTHS[line]
        elif mark == TRANSFER_ENCODING:
            if chunked:
                raise BadMessage(400, "more than one Transfer-Encoding")
            fields.check_chunked(line)
            chunked = True
        elif mark == CONNECTION:
            options = OPTIONS[line]
            close |= options.close
            keep_alive |= options.keep_alive
            upgrade |= options.upgrade
            names |= options.names
            drop.append(line)
        elif mark == HOP:
            drop.append(line)
        elif mark == UPGRADE:
            head.upgrade = b"%b, %b" % (head.upgrade, fields.value_of(line)) if head.upgrade else fields.value_of(line)
            drop.append(line)
        elif mark == EXPECT:
            expect += fields.value_of(line).lower()
            if start.minor == 0:  # RFC 9110 section 10.1.1: ignore it
                drop.append(line)
        elif mark == FORWARDED_FOR:
            value = fields.value_of(line)
            head.forwarded_for = b"%b, %b" % (head.forwarded_for, value) if head.forwarded_for else value
            drop.append(line)
        elif mark == FORWARDED_PROTO:
            head.scheme = True
        elif mark == REQUEST_ID:
            head.request_id = True
        elif mark == MAX_FORWARDS and start.method in {b"OPTIONS", b"TRACE"}:
            lines[lines.index(line)] = _one_fewer(line)
            changed = True
    if hosts != 1 and (hosts or start.minor):
        raise BadMessage(400, "exactly one Host is required")
    if chunked:
        if length >= 0:
            raise BadMessage(400, "Content-Length together with Transfer-Encoding")
        if start.minor == 0:
            raise BadMessage(400, "Transfer-Encoding in HTTP/1.0")
        head.length = CHUNKED
    elif length > 0:
        head.length = length
    if expect and start.minor:
        if expect != b"100-continue":
            raise BadMessage(417, "an expectation that is not supported")
        head.expects = True
    head.keep = not close if start.minor else keep_alive and not close
    head.hosts = hosts
    if not upgrade or not start.minor:
        head.upgrade = b""
    if start.authority:  # RFC 9112 section 3.2.2: the target decides, a differing Host is replaced
        head.host = start.authority
        _replace_host(lines, start.authority)
        head.hosts = 1
        changed = True
    if drop or names:
        lines = _without(lines, drop, names)
        changed = True
    head.raw = b"\r\n".join(lines) if changed else raw
    return head


def parse_response(raw: bytes, method: bytes, max_fields: int) -> ResponseHead:
    """Read a whole response head (no final CRLF CRLF) that answers a request of this method."""
    lines = raw.split(b"\r\n")
    start = STATUS_LINES[lines[0]]
    if len(lines) > max_fields + 1:
        raise BadMessage(502, "too many header lines")
    head = ResponseHead()
    head.status = status = start.status
    changed = start.raw != lines[0]
    lines[0] = start.raw
    length = -1
    chunked = False
    keep_alive = close = False
    drop: list[bytes] = []
    names: frozenset[bytes] = frozenset()
    framing: list[bytes] = []
    marks = LINES
    for line in lines[1:]:
        mark = marks[line]
        if not mark:
            continue
        if mark == CONTENT_LENGTH:
            if length >= 0:
                raise BadMessage(502, "more than one Content-Length")
            length = LENGTHS[line]
            framing.append(line)
        elif mark == TRANSFER_ENCODING:
            if chunked:
                raise BadMessage(502, "more than one Transfer-Encoding")
            fields.check_chunked(line)
            chunked = True
            framing.append(line)
        elif mark == CONNECTION:
            options = OPTIONS[line]
            close |= options.close
            keep_alive |= options.keep_alive
            names |= options.names
            drop.append(line)
        elif mark == UPGRADE:
            head.upgrade = fields.value_of(line)
            drop.append(line)
        elif mark == HOP:
            drop.append(line)
    if chunked and (length >= 0 or not start.minor):
        raise BadMessage(502, "Transfer-Encoding with Content-Length or in HTTP/1.0")
    head.chunked = chunked
    if method == b"HEAD" or status < 200 or status in {204, 304}:  # RFC 9112 section 6.3
        head.length = 0
        if status < 200 or status == 204:  # RFC 9110 section 8.6: these never state a length
            drop += framing
    elif chunked:
        head.length = CHUNKED
    elif length >= 0:
        head.length = length
    head.keep = not close and (start.minor == 1 or keep_alive) and head.length != UNTIL_CLOSE
    if drop or names:
        lines = _without(lines, drop, names)
        changed = True
    head.raw = b"\r\n".join(lines) if changed else raw
    return head


def _without(lines: list[bytes], drop: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    if not names:
        for line in drop:
            lines.remove(line)
        return lines
    kept = [line for line in lines[1:] if line not in drop and fields.name_of(line) not in names]
    return [lines[0], *kept]


def _one_fewer(line: bytes) -> bytes:
    """A Max-Forwards line for the next recipient (RFC 9110 section 7.6.2); there is none after 0."""
    value = fields.value_of(line)
    if not value.isdigit() or len(value) > 9:
        raise BadMessage(400, "malformed Max-Forwards")
    if int(value) == 0:
        raise BadMessage(501, "the proxy itself answers neither OPTIONS nor TRACE")
    return b"Max-Forwards: %d" % (int(value) - 1)


def _replace_host(lines: list[bytes], authority: bytes) -> None:
    host = b"Host: " + authority
    for index in range(1, len(lines)):
        if LINES[lines[index]] == HOST:
            lines[index] = host
            return
    lines.insert(1, host)
