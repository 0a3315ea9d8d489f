"""A ClientHello byte by byte, and what a server answers: for what no TLS library would offer any more.

record      type u8 | version u16 | length u16 | fragment                              RFC 8446 section 5.1
handshake   type u8 | length u24 | body                                                          section 4
ClientHello version u16 | random 32 | session id <0..32> | suites <2..65534> | compressions <1..255> |
            extensions <0..65535>                                                                section 4.1.2
extension   type u16 | data <0..65535>                                                           section 4.2
alert       level u8 | description u8                                                            section 6
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.kit.client import Client
from tests.kit.http import Closed
from tests.kit.tls import HOST

ALERT, HANDSHAKE = 21, 22
HEARTBEAT_EXTENSION = 15  # RFC 6520
RENEGOTIATION_EXTENSION = 0xFF01  # RFC 5746
FALLBACK = 0x5600  # the suite of RFC 7507 that says: I tried a later version first


def sized(data: bytes, width: int) -> bytes:
    """Behind its length."""
    return len(data).to_bytes(width, "big") + data


# What any TLS 1.2 client says: P-256 and X25519, uncompressed points, ECDSA and RSA with SHA-256, its host name.
USUAL: dict[int, bytes] = {
    0: sized(b"\0" + sized(HOST.encode(), 2), 2),
    10: bytes.fromhex("0004 0017 001d"),
    11: bytes.fromhex("01 00"),
    13: bytes.fromhex("0006 0403 0804 0401"),
    RENEGOTIATION_EXTENSION: b"\0",
}
SUITES = (0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9)  # ECDHE with GCM and ChaCha


class ServerHello(NamedTuple):
    """What the server chose."""

    version: int
    random: bytes
    suite: int
    compression: int
    extensions: dict[int, bytes]


class Alert(NamedTuple):
    """Why the server does not go on."""

    level: int
    description: int


def client_hello(
    *,
    version: int = 0x0303,
    suites: Sequence[int] = SUITES,
    compressions: Sequence[int] = (0,),
    extensions: Mapping[int, bytes] = USUAL,
) -> bytes:
    """One record."""
    body = version.to_bytes(2, "big") + os.urandom(32) + b"\0"
    body += sized(b"".join(suite.to_bytes(2, "big") for suite in suites), 2) + sized(bytes(compressions), 1)
    body += sized(b"".join(kind.to_bytes(2, "big") + sized(data, 2) for kind, data in extensions.items()), 2)
    return record(HANDSHAKE, b"\x01" + sized(body, 3), min(version, 0x0301))


def record(kind: int, fragment: bytes, version: int = 0x0303) -> bytes:
    """A record without protection."""
    return bytes([kind]) + version.to_bytes(2, "big") + sized(fragment, 2)


def answer_to(address: str, data: bytes) -> ServerHello | Alert:
    """What the server says first to these bytes. Raises `Closed` or `ConnectionError` if it says nothing."""
    with Client(address) as client:
        client.send(data)
        return read_answer(client)


def read_answer(client: Client) -> ServerHello | Alert:
    """The next record from the server, one without protection."""
    kind, _, length = client.take(1)[0], client.take(2), int.from_bytes(client.take(2), "big")
    fragment = client.take(length)
    if kind == ALERT:
        return Alert(*fragment)
    assert (kind, fragment[0]) == (HANDSHAKE, 2), f"{fragment[:50]!r} is no ServerHello"
    return _server_hello(fragment[4 : 4 + int.from_bytes(fragment[1:4], "big")])


def _server_hello(body: bytes) -> ServerHello:
    version, random = int.from_bytes(body[:2], "big"), body[2:34]
    at = 35 + body[34]
    suite, compression = int.from_bytes(body[at : at + 2], "big"), body[at + 2]
    at += 5
    extensions = {}
    while at < len(body):
        length = int.from_bytes(body[at + 2 : at + 4], "big")
        extensions[int.from_bytes(body[at : at + 2], "big")] = body[at + 4 : at + 4 + length]
        at += 4 + length
    return ServerHello(version, random, suite, compression, extensions)


def is_refused(address: str, data: bytes) -> bool:
    """Whether the server ends the connection upon these bytes: with an alert, or without a word."""
    try:
        return isinstance(answer_to(address, data), Alert)
    except (Closed, ConnectionError):
        return True
