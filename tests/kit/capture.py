"""FIN and RST segments on the wire, as the kernel sent them: what no client or server can hide.

A packet socket with a filter in the kernel lets only TCP segments through that carry FIN or RST from or to one
of the watched ports, over IPv4 and IPv6. On the loopback device a segment passes the socket in the very system
call that sends it, so what was sent before `end` is in the queue at `end`: no thread, no waiting, no race.

The filter (bpf(4) classic; offsets from the network header, since the socket is SOCK_DGRAM)::

    outgoing copy?  -> drop      loopback shows every segment twice: sent and received
    version 4: protocol 6, not a later fragment, X = header length
    version 6: next header 6, X = 40   (nothing here sends extension headers)
    flags at X + 13 & (FIN | RST) == 0 -> drop
    port at X or X + 2 in the list -> keep, else drop

An intended close is excluded by ending the window before it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

FIN, RST = 1, 4
SEEN = 160  # bytes of a segment that are kept: the headers
LARGEST = 1 << 16
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h; the socket module does not name them
SOL_PACKET, PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
ETH_P_ALL = 3
PKTTYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE, linux/filter.h
PACKET_OUTGOING = 4

_LOAD_BYTE, _LOAD_HALF, _LOAD_BYTE_X, _LOAD_HALF_X = 0x30, 0x28, 0x50, 0x48
_X_IMMEDIATE, _X_HEADER_LENGTH = 0x01, 0xB1
_AND, _JUMP, _IF_EQUAL, _IF_SET, _RETURN = 0x54, 0x05, 0x15, 0x45, 0x06


class Unpermitted(Exception):
    """Packet sockets need CAP_NET_RAW."""


class Segment(NamedTuple):
    """One end of a connection as it went over the wire."""

    flags: str
    source: int
    target: int

    def __str__(self) -> str:
        return f"{self.flags} {self.source} -> {self.target}"


class Capture:
    """Counts the FIN and RST segments of `ports` on `device` from `begin` to `end`."""

    def __init__(self, ports: Iterable[int], device: str = "lo") -> None:
        self.ports = sorted(set(ports))
        self._socket = packet_socket(self.ports, device)

    def begin(self) -> None:
        """Forget everything up to now."""
        self._drain()

    def end(self) -> list[Segment]:
        """The segments since `begin`. Raises `AssertionError` if the kernel had to drop any."""
        segments = self._drain()
        nothing_dropped(self._socket)
        return segments

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def _drain(self) -> list[Segment]:
        segments = []
        while True:
            try:
                segments.append(_segment(self._socket.recv(SEEN)))
            except BlockingIOError:
                return segments


def packet_socket(ports: list[int], device: str = "lo", *, whole: bool = False) -> socket.socket:
    """One that gets the ends of connections of these ports, or `whole` every segment. Raises `Unpermitted`."""
    try:
        # Protocol 0 receives nothing: the filter is in place before the bind that starts it.
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    except PermissionError:
        raise Unpermitted("packet sockets need CAP_NET_RAW: segments were not looked at") from None
    program = _program(ports, whole=whole)
    buffer = ctypes.create_string_buffer(program)
    filter_argument = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_argument)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    made.bind((device, ETH_P_ALL))
    return made


def nothing_dropped(watching: socket.socket) -> None:
    """Raises `AssertionError` if the kernel had to drop any."""
    _, dropped = struct.unpack("II", watching.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    assert not dropped, f"{dropped} segments overflowed the capture's queue"


def _segment(packet: bytes) -> Segment:
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    source, target = struct.unpack_from("!HH", packet, start)
    flags = packet[start + 13]
    return Segment("RST" if flags & RST else "FIN", source, target)


def _program(ports: list[int], *, whole: bool = False) -> bytes:
    """The filter as struct sock_filter[]. Jumps count the instructions they skip: on equal or set, on the contrary."""
    keep, drop = (_RETURN, 0, 0, LARGEST if whole else SEEN), (_RETURN, 0, 0, 0)
    six = [(_LOAD_BYTE, 0, 0, 6), (_IF_EQUAL, 1, 0, socket.IPPROTO_TCP), drop, (_X_IMMEDIATE, 0, 0, 40)]
    four = [
        (_LOAD_BYTE, 0, 0, 9),
        (_IF_EQUAL, 1, 0, socket.IPPROTO_TCP),
        drop,
        (_LOAD_HALF, 0, 0, 6),
        (_IF_SET, 0, 1, 0x1FFF),
        drop,
        (_X_HEADER_LENGTH, 0, 0, 0),
        (_JUMP, 0, 0, len(six)),
    ]
    received = [(_LOAD_BYTE, 0, 0, PKTTYPE), (_IF_EQUAL, 0, 1, PACKET_OUTGOING), drop]
    version = [(_LOAD_BYTE, 0, 0, 0), (_AND, 0, 0, 0xF0), (_IF_EQUAL, 0, len(four), 0x40)]
    flags = [] if whole else [(_LOAD_BYTE_X, 0, 0, 13), (_IF_SET, 1, 0, FIN | RST), drop]
    watched: list[tuple[int, int, int, int]] = []
    for offset in (0, 2):
        watched.append((_LOAD_HALF_X, 0, 0, offset))
        for port in ports:
            watched += [(_IF_EQUAL, 0, 1, port), keep]
    instructions = [*received, *version, *four, *six, *flags, *watched, drop]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
