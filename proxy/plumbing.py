"""Sockets whose addresses are somebody else's: what `proxy.kernel` asks for where a listener or cluster wants it.

    SO_ORIGINAL_DST    getsockopt(SOL_IP or SOL_IPV6, 80): where a connection went before a redirect rule of netfilter
                       sent it here; include/uapi/linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h
    IP_TRANSPARENT     take connections to, and make them from, addresses of others: ip(7)
    SO_MARK            a number on every packet, for rules and routes: socket(7)

The last two need CAP_NET_ADMIN (or CAP_NET_RAW) in the network namespace's user namespace. The first needs nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

from hotswap.address import Address

ORIGINAL_DST: Final = 80
IPV6_TRANSPARENT: Final = 75  # linux/in6.h; the socket module does not name it
_SOCKADDR_IN6_SIZE: Final = 28


def prepare(sock: socket.socket, mark: int | None, source: str) -> None:
    """Before connect(2): a mark for its packets, and the host that they come from. Raises `OSError`."""
    if mark is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
    if not source:
        return
    six = ":" in source
    if six != (sock.family == socket.AF_INET6) or source == "unix":
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    set_transparent_of(sock, on=True)
    # The port is chosen by connect: then it need only be free towards that one endpoint, ip(7).
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))


def set_transparent_of(sock: socket.socket, *, on: bool) -> None:
    """Set or clear IP_TRANSPARENT. Raises `OSError`."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, on)
    elif sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, on)


def set_transparent(fd: int, on: bool) -> None:
    """The same for a listener: a rule with tproxy may send it what goes elsewhere. Raises `OSError`."""
    sock = socket.socket(fileno=fd)
    try:
        set_transparent_of(sock, on=on)
    finally:
        sock.detach()


def local_name(fd: int) -> str:
    """The near address of a connection: getsockname(2)."""
    sock = socket.socket(fileno=fd)
    try:
        return _text(sock.family, sock.getsockname())
    finally:
        sock.detach()


def peer_name(fd: int) -> str:
    """The far address of a connection: getpeername(2). Empty if it has gone."""
    sock = socket.socket(fileno=fd)
    try:
        return _text(sock.family, sock.getpeername())
    except OSError:
        return ""
    finally:
        sock.detach()


def redirected_from(fd: int) -> str:
    """Where a connection went before it was redirected; where it went if it was not. Empty if nobody knows."""
    sock = socket.socket(fileno=fd)
    try:
        level = socket.IPPROTO_IPV6 if sock.family == socket.AF_INET6 else socket.IPPROTO_IP
        raw = sock.getsockopt(level, ORIGINAL_DST, _SOCKADDR_IN6_SIZE)
        host = raw[8:24] if sock.family == socket.AF_INET6 else raw[4:8]
        return str(Address(sock.family, socket.inet_ntop(sock.family, host), int.from_bytes(raw[2:4], "big")))
    except OSError:
        return ""
    finally:
        sock.detach()


def is_local(host: str) -> bool:
    """Whether this machine (its network namespace) has that address. With ip_nonlocal_bind every one counts."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True


def forbidden() -> dict[str, str]:
    """What this process may not do: ``mark`` and ``transparent``, each with the system's word for it."""
    found = {}
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
        except OSError as error:
            found["mark"] = os.strerror(error.errno or errno.EPERM).lower()
        try:
            set_transparent_of(probe, on=True)
        except OSError as error:
            found["transparent"] = os.strerror(error.errno or errno.EPERM).lower()
    return found


def _text(family: int, name: tuple[str, int] | tuple[str, int, int, int] | str) -> str:
    return f"unix:{name}" if isinstance(name, str) else str(Address(family, name[0].partition("%")[0], name[1]))
