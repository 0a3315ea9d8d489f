"""The same towards endpoints: a request's head of HTTP/1.1 as one of HTTP/2, and a response's the other way.

    HTTP/1.1                                   HTTP/2
    the request line, Host                     :method, :path, :scheme, :authority
    Connection: upgrade, Upgrade: websocket    :method CONNECT, :protocol websocket (RFC 8441)
    Transfer-Encoding: chunked                 (the end of the stream)
                                               te: trailers, which we take in any case
    the status line                            :status
    Transfer-Encoding: chunked                 no content-length, and no END_STREAM
    101 Switching Protocols                    2xx to CONNECT

The counterpart of `proxy.http2.text`.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.http1.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    HOP,
    HOST,
    LENGTHS,
    LINES,
    TRANSFER_ENCODING,
    UPGRADE,
)
from proxy.http1.message import CHUNKED
from proxy.http2.hpack import Never
from proxy.http2.sealing import seal
from proxy.http2.text import CHUNKED_LINE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Field = tuple[bytes, bytes]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""
_KEY: Final = b"sec-websocket-key"
_TRAILERS: Final = (b"te", b"trailers")
_STATUSES: Final = {b"%d" % one: b"HTTP/1.1 %d %b" % (one, one.phrase.encode()) for one in HTTPStatus}
"""HTTP/2 has no reason phrase. One may be empty in HTTP/1.1, but there are clients that do not know (h2load)."""


class Request(NamedTuple):
    """A request as HTTP/2 has it."""

    fields: list[Field]
    length: int
    """Bytes of its body, or `CHUNKED`."""
    key: bytes
    """Of a WebSocket: what its client wants to see the answer to; else empty."""


def request_fields(raw: bytes, secure: bool, sealed: Collection[bytes] = ()) -> Request:
    """What a request's head says, as `proxy.http1.forward.request_head` wrote it, without its final CRLF CRLF.

    `secure`: it goes over TLS. `sealed` are names of fields that no table may hold (RFC 7541 section 6.2.3).
    An upgrade to anything but WebSocket is left out, as HTTP/1.1 permits (RFC 9110 section 7.8).
    """
    lines = raw.split(b"\r\n")
    method, target, _ = lines[0].split(b" ", 2)
    authority = protocol = key = b""
    length = 0
    fields: list[Field] = []
    for line in lines[1:]:
        mark = LINES[line]
        if mark in {CONNECTION, HOP}:
            continue
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if mark == HOST:
            authority = value
        elif mark == TRANSFER_ENCODING:
            length = CHUNKED
        elif mark == UPGRADE:
            protocol = value.lower()
        else:
            if mark == CONTENT_LENGTH:
                length = LENGTHS[line]
            fields.append(Never(name, value) if name in sealed else (name, value))
    pseudo = [(b":method", method), (b":scheme", b"https" if secure else b"http"), (b":path", target)]
    if authority:
        pseudo.append((b":authority", authority))
    if protocol == b"websocket":
        key = b"".join([value for name, value in fields if name == _KEY][:1])
    if key:
        fields = [field for field in fields if field[0] != _KEY]
        pseudo[0] = (b":method", b"CONNECT")
        pseudo.append((b":protocol", protocol))
        return Request([*seal(pseudo, sealed), *fields], CHUNKED, key)
    return Request([*seal(pseudo, sealed), *fields, _TRAILERS], length, b"")


def response_text(fields: Sequence[Field], ended: bool, bodyless: bool) -> tuple[bytes, bool]:
    """A response's head with its final CRLF CRLF, and whether its body has to be put in chunks.

    `ended`: no body follows. `bodyless`: it answers HEAD.
    """
    status = fields[0][1]
    parts = [_STATUSES.get(status) or b"HTTP/1.1 %b " % status]
    sized = False
    for name, value in fields:
        if name[0] != 0x3A:
            sized = sized or name == b"content-length"
            parts.append(b"\r\n%b: %b" % (name, value))
    none = bodyless or status[:1] == b"1" or status in {b"204", b"304"}
    wraps = not (sized or ended or none)
    if wraps:
        parts.append(CHUNKED_LINE)
    elif not sized and not none:
        parts.append(b"\r\ncontent-length: 0")
    parts.append(b"\r\n\r\n")
    return b"".join(parts), wraps


def switching_text(fields: Sequence[Field], key: bytes) -> bytes:
    """What a client of HTTP/1.1 is told when its WebSocket was taken (RFC 6455 section 4.2.2, RFC 8441 section 5)."""
    accept = b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
    told = (b"content-length", b"sec-websocket-accept")
    lines = [b"%b: %b\r\n" % field for field in fields if field[0][0] != 0x3A and field[0] not in told]
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %b\r\n"
    )
    return b"".join((head % accept, *lines, b"\r\n"))
