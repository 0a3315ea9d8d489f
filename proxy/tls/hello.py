"""The first bytes of a connection: whether they begin a TLS handshake, and what its ClientHello asks for.

A record (RFC 8446 section 5.1), and the message in one or several of them (4.1.2):

    0  u8   type 22, handshake            0  u8   type 1, ClientHello
    1  u16  version 0x0300 ... 0x0304     1  u24  length
    3  u16  length, up to 16384           4  u16  version
    5       fragment                      6  [32] random
                                         38       session id  (u8 length)
                                                  suites      (u16 length)
                                                  compression (u8 length)
                                                  extensions  (u16 length), each u16 type, u16 length, body

What is read of the extensions: server_name (0, RFC 6066 section 3), max_fragment_length (1, section 4),
record_size_limit (28, RFC 8449).
"""

from __future__ import annotations

from typing import Final, NamedTuple

HEADER: Final = 5
HANDSHAKE: Final = 22
LONGEST_HELLO: Final = 16384
"""Bytes, with the headers of its records, that a ClientHello may take."""
MOST_RECORDS: Final = 64
"""Records that a ClientHello may be cut into: it is read anew whenever a part of it comes, some microseconds each."""
LARGEST_PLAIN: Final = 16384
"""Bytes of plaintext in a record."""

_CLIENT_HELLO = 1
_RANDOM_END = 38  # of the message
_SERVER_NAME, _MAX_FRAGMENT, _SIZE_LIMIT = 0, 1, 28
_HOST_NAME = 0
_LEAST_SIZE = 64  # that may be asked for, RFC 8449 section 4


class Hello(NamedTuple):
    """What a ClientHello asks for."""

    server_name: str = ""
    """In lower case; empty without one."""
    limit: int = LARGEST_PLAIN
    """Bytes of plaintext in a record that the client takes."""


class NotHello(Exception):
    """The bytes begin no ClientHello."""


def looks_like_tls(first: bytes) -> bool | None:
    """Whether the first bytes of a connection begin a TLS record; None: they do so far, and there must be more.

    Three are enough. No text begins so, nor does HTTP or bolt.
    """
    if not b"\x16\x03".startswith(first[:2]) or (len(first) > 2 and first[2] > 4):
        return False
    return True if len(first) > 2 else None


def read_hello(data: bytes) -> Hello | None:
    """The ClientHello at the beginning of a connection; None: it is not complete. Raises `NotHello`."""
    if looks_like_tls(data) is False:
        raise NotHello("no TLS handshake")
    message = b""
    at = count = 0
    while len(data) - at >= HEADER:
        kind, length = data[at], data[at + 3] << 8 | data[at + 4]
        count += 1
        if count > MOST_RECORDS:
            raise NotHello("the ClientHello is cut into too many records")
        if kind != HANDSHAKE or not 0 < length <= LARGEST_PLAIN:
            raise NotHello("no handshake record")
        message += data[at + HEADER : at + HEADER + length]
        if message and message[0] != _CLIENT_HELLO:
            raise NotHello("no ClientHello")
        if len(message) >= 4:
            size = 4 + int.from_bytes(message[1:4], "big")
            if size > LONGEST_HELLO:
                raise NotHello("the ClientHello is too long")
            if len(message) >= size:
                return parse_hello(message[4:size])
        at += HEADER + length
    if len(data) >= LONGEST_HELLO:
        raise NotHello("the ClientHello is too long")
    return None


def parse_hello(body: bytes) -> Hello:
    """A ClientHello without the head of its message. Raises `NotHello`."""
    at = _RANDOM_END - 4
    try:
        at += 1 + body[at]
        at += 2 + (body[at] << 8 | body[at + 1])
        at += 1 + body[at]
        if at == len(body):
            return Hello()
        end = at + 2 + (body[at] << 8 | body[at + 1])
        at += 2
        name, limit = "", LARGEST_PLAIN
        if end != len(body):
            raise NotHello("its extensions do not fit")
        while at < end:
            kind, size = body[at] << 8 | body[at + 1], body[at + 2] << 8 | body[at + 3]
            content = body[at + 4 : at + 4 + size]
            at += 4 + size
            if at > end:
                raise NotHello("an extension does not fit")
            if kind == _SERVER_NAME:
                name = _host_name(content)
            elif kind == _MAX_FRAGMENT and size == 1 and 1 <= content[0] <= 4:
                limit = min(limit, 256 << content[0])
            elif kind == _SIZE_LIMIT and size == 2:
                asked = max(_LEAST_SIZE, int.from_bytes(content, "big"))
                limit = min(limit, asked - 1)  # it counts the byte for the type in TLS 1.3
    except IndexError:
        raise NotHello("it is cut off") from None
    return Hello(name, limit)


def _host_name(content: bytes) -> str:
    """The first name of a server_name extension; empty if it is none that could be looked up."""
    if len(content) < 5 or content[2] != _HOST_NAME:
        return ""
    size = content[3] << 8 | content[4]
    try:
        return content[5 : 5 + size].decode("ascii").lower().rstrip(".")
    except UnicodeDecodeError:
        return ""


def records(data: bytes) -> list[bytes]:
    """Cut whole records apart, each with its header."""
    found = []
    at = 0
    while len(data) - at >= HEADER:
        end = at + HEADER + (data[at + 3] << 8 | data[at + 4])
        found.append(data[at:end])
        at = end
    return found
