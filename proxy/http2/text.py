"""Heads of HTTP/2 as text of HTTP/1.1, and back (RFC 9113 sections 8.2, 8.3; RFC 8441).

Everything between the two sides of the proxy (routes, filters, retries, mirrors, the access log) speaks of a message
as HTTP/1.1 has it. So a stream begins by its head in that form, and ends by a head in this one.

    HTTP/2                                   HTTP/1.1
    :method, :path                           the request line
    :authority, else host                    Host
    cookie, cookie, ...                      Cookie, joined by "; "
    no content-length, and no END_STREAM     Transfer-Encoding: chunked
    :method CONNECT, :protocol websocket     GET, Connection: upgrade, Upgrade: websocket, Sec-WebSocket-Key
    trailers                                 the trailer section of chunks
    :status                                  the status line

What a session passes on is valid already: names in lower case, no control characters, no fields of one hop.
"""

from __future__ import annotations

import secrets
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final

from proxy.http1.errors import BadMessage
from proxy.http1.fields import HOP, LINES, PASS, TRANSFER_ENCODING, UPGRADE, Memo
from proxy.http1.parser import parse_request
from proxy.http2.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from proxy.http1.message import RequestHead
    from proxy.http2.heads import Head

    Field = tuple[bytes, bytes]

CHUNKED_LINE: Final = b"\r\ntransfer-encoding: chunked"
MAX_REMEMBERED: Final = 2048
"""Bytes of a head that is remembered: a block of a few bytes may unfold to 64 KB."""
LAST_CHUNK: Final = b"0\r\n\r\n"
_WEBSOCKET: Final = b"\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: "
_DROPPED: Final = frozenset({HOP, TRANSFER_ENCODING, UPGRADE})


def request_text(head: Head, ended: bool) -> bytes:
    """The head of a request, without its final CRLF CRLF. `ended`: no body follows. 400 or 501 as `BadMessage`."""
    method = head.method
    tail = b""
    if head.protocol:
        if head.protocol != b"websocket":
            raise BadMessage(501, "this protocol is not tunnelled")
        method = b"GET"
        tail = _WEBSOCKET + b2a_base64(secrets.token_bytes(16), newline=False)
    elif not ended and head.length < 0:
        tail = CHUNKED_LINE
    lines = head.lines or []
    if head.cookies:
        lines = [*lines, b"\r\ncookie: ", b"; ".join(head.cookies)]
    parts = [method, b" ", head.path or b"*", b" HTTP/1.1\r\nhost: ", head.authority or head.host, *lines, tail]
    return b"".join(parts)


def request_head(head: Head, most: int, ended: bool) -> RequestHead:
    """The same as what all others know of a request; it may have `most` lines.

    What is made is remembered with a head that comes again: 0.1 us instead of 4.0. So what this returns may come again,
    and is altered only as it is for every request.
    """
    made = head.made
    if made is not None and head.made_ended == ended and head.made_most == most:
        return made
    made = parse_request(request_text(head, ended), most)
    if not made.upgrade and len(made.raw) <= MAX_REMEMBERED:  # a WebSocket's key is another each time
        head.made, head.made_ended, head.made_most = made, ended, most
    return made


def chunk(piece: bytes) -> bytes:
    """A piece of a body as one chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def last_chunk(trailers: Iterable[Field]) -> bytes:
    """The end of a chunked body."""
    return b"".join([b"0\r\n", *[b"%b: %b\r\n" % field for field in trailers], b"\r\n"])


def _field(line: bytes) -> Field | None:
    """A line as a field; None for one that concerns a hop of HTTP/1.1 alone."""
    if LINES[line] in _DROPPED:
        return None
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


_FIELDS: Final = Memo(_field)


def response_fields(status: int, raw: bytes) -> list[Field]:
    """The fields of a response whose head is this text, without its final CRLF CRLF."""
    fields = [(b":status", b"%d" % status)]
    lines = raw.split(b"\r\n")
    for line in lines[1:]:
        field = _FIELDS[line]
        if field is not None:
            fields.append(field)
    fields.append((b"via", b"2 hotswap"))
    return fields


def answer_fields(status: int, raw: bytes, sealed: Collection[bytes], called: bool) -> list[Field]:
    """The same, with those of these names never indexed. `called`: it answers a call of gRPC."""
    fields = seal(response_fields(status, raw), sealed)
    if called:  # a whole answer of gRPC in one HEADERS says nothing of a length
        fields = [field for field in fields if field[0] != b"content-length"]
    return fields


def trailer_fields(section: bytes, sealed: Collection[bytes] = ()) -> list[Field]:
    """The fields of a trailer section, whose last line is empty. `sealed` are names that no table may hold."""
    found = [_FIELDS[line] for line in section.split(b"\r\n") if line and LINES[line] == PASS]
    return seal([field for field in found if field is not None], sealed)
