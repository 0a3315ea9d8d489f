r"""The header of the PROXY protocol (haproxy, doc/proxy-protocol.txt, sections 2.1 and 2.2). Bytes and values, no I/O.

Version 1, a line of 107 bytes at most:

    PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n       TCP6 likewise: source, destination, their ports
    PROXY UNKNOWN\r\n                                     whatever stands before the \r\n says nothing

Version 2, numbers in network byte order:

    0   12  0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
    12   1  0x20 LOCAL: the proxy speaks for itself, what follows is skipped; 0x21 PROXY: for a client
    13   1  family << 4 | transport: families 0 unspecified, 1 IPv4, 2 IPv6, 3 unix; transports 0, 1 stream, 2 datagram
    14   2  bytes that follow
    16      source address, destination address, source port, destination port: 12 bytes for IPv4, 36 for IPv6
            (unix: two paths of 108 bytes), then TLVs: type (1), length (2), value. Type 3 is a CRC32C over the whole
            header with zeroes in its place (RFC 4960 appendix B); it is checked, all others are skipped.

What is no such header is refused at its first wrong byte.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, NamedTuple

import msgspec

LONGEST_LINE: Final = 107
LONGEST: Final = 4096
"""Bytes of a header that are taken; nginx takes as many."""
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
UNIX: Final = "unix"
"""Stands for the host of a client on a unix socket."""

_LINE: Final = b"PROXY "
_FIXED: Final = 16
_HEAD: Final = Struct("!12sBBH")
_PORTS: Final = Struct("!HH")
_LOCAL, _PROXY = 0x20, 0x21
_IPV4, _IPV6, _UNIX = 1, 2, 3
_STREAM: Final = 1
_SIZES: Final = {0: 0, _IPV4: 12, _IPV6: 36, _UNIX: 216}
_CRC32C: Final = 3
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)


class BadHeader(ValueError):
    """These bytes are no header, or none that may be believed."""


class Pair(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who connected, and to where. Hosts are IP addresses, both of one family, or `UNIX`."""

    source: str
    source_port: int
    target: str
    target_port: int


class Header(NamedTuple):
    """A whole header."""

    size: int
    """Its bytes."""
    pair: Pair | None
    """None: it does not tell; the connection's own addresses hold."""


def parse(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None: more must come. Raises `BadHeader`."""
    if data[:1] == _LINE[:1]:
        return _parse_line(data)
    if not data.startswith(SIGNATURE[: len(data)]):
        raise BadHeader("no PROXY protocol header")
    if len(data) < _FIXED:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"version and command 0x{command:02x} are unknown")
    if family >> 4 not in _SIZES or family & 15 > 2:
        raise BadHeader(f"family and transport 0x{family:02x} are unknown")
    size = _FIXED + length
    if size > LONGEST:
        raise BadHeader(f"a header of {size} bytes is too long")
    if command == _PROXY and length < _SIZES[family >> 4]:
        raise BadHeader(f"{length} bytes are too few for an address of family {family >> 4}")
    if len(data) < size:
        return None
    if command == _LOCAL or not family >> 4:
        return Header(size, None)
    _check(data[:size], _FIXED + _SIZES[family >> 4])
    return Header(size, _pair(data, family))


def encode(version: str, pair: Pair | None) -> bytes:
    """The header for ``v1`` or ``v2``. Without a pair, or for unix sockets: UNKNOWN, or LOCAL."""
    if pair is None or UNIX in (pair.source, pair.target):
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _HEAD.pack(SIGNATURE, _LOCAL, 0, 0)
    source, target = ip_address(pair.source), ip_address(pair.target)
    if source.version != target.version:  # one family for both, RFC 4291 section 2.5.5.2
        source, target = _wide(source), _wide(target)
    if version == "v1":
        line = f"PROXY TCP{source.version} {source} {target} {pair.source_port} {pair.target_port}\r\n"
        return line.encode()
    family = (_IPV4 if source.version == 4 else _IPV6) << 4 | _STREAM
    addresses = source.packed + target.packed + _PORTS.pack(pair.source_port, pair.target_port)
    return _HEAD.pack(SIGNATURE, _PROXY, family, len(addresses)) + addresses


def plain_host(host: str) -> str:
    """Without the wrapping of an IPv4 address in an IPv6 one, under which rules about IPv4 would not know it."""
    if not host.startswith("::ffff:"):
        return host
    mapped = IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


def _wide(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


def _parse_line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    line = data[: LONGEST_LINE if end < 0 else end]
    if not line.startswith(_LINE[: len(line)]) or b"\n" in line or b"\r" in line[:-1] or (end >= 0 and b"\r" in line):
        raise BadHeader("no PROXY protocol header")
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise BadHeader(f"a line without an end in its first {LONGEST_LINE} bytes")
        return None
    words = line.decode("latin-1").split(" ")
    if len(words) > 1 and words[1] == "UNKNOWN":
        return Header(end + 2, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeader("a line that is not as it should be")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        source, target = (_host(word, kind) for word in words[2:4])
    except ValueError:
        raise BadHeader("an address that is none") from None
    return Header(end + 2, Pair(source, _port(words[4]), target, _port(words[5])))


def _host(word: str, kind: type[IPv4Address | IPv6Address]) -> str:
    if "%" in word:  # a zone is no part of an address
        raise BadHeader("an address that is none")
    return str(kind(word))


def _port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise BadHeader("a port that is none")
    return int(word)


def _pair(data: bytes, family: int) -> Pair | None:
    if family & 15 != _STREAM:
        return None  # section 2.2: what a receiver has no use for counts as unspecified
    if family >> 4 == _UNIX:
        return Pair(UNIX, 0, UNIX, 0)
    width, kind = (4, IPv4Address) if family >> 4 == _IPV4 else (16, IPv6Address)
    middle = _FIXED + width
    ports = _PORTS.unpack_from(data, middle + width)
    source, target = str(kind(data[_FIXED:middle])), str(kind(data[middle : middle + width]))
    return Pair(source, ports[0], target, ports[1])


def _check(header: bytes, at: int) -> None:
    """Walk the TLVs from ``at`` to the end of the header."""
    found = -1
    while at < len(header):
        length = int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 + length > len(header):
            raise BadHeader("a TLV that does not fit")
        if header[at] == _CRC32C:
            if length != 4 or found >= 0:
                raise BadHeader("a CRC32C that is none")
            found = at + 3
        at += 3 + length
    if found >= 0:
        cleared = header[:found] + bytes(4) + header[found + 4 :]
        if crc32c(cleared) != int.from_bytes(header[found : found + 4], "big"):
            raise BadHeader("the CRC32C is wrong")


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli, RFC 3720 section 12.1. The standard library has none."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_entry, range(256)))
