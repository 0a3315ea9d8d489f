"""Everything the data plane asks of the operating system, in one small class.

The reactor gets a `Kernel` and calls nothing else, so the tests replace it by a simulated one with a
clock of their own (tests/proxy/kernel.py) and run the very same reactor and layers without a socket.

Descriptors are raw ints: a socket object costs three system calls (`socket.socket(fileno=fd)`) and
200 bytes. What `os` lacks for them comes from libc by ctypes; see the man page of the same name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import socket
import time
from typing import TYPE_CHECKING

from proxy import plumbing
from proxy.accesslog.sinks import open_sink
from proxy.calls import Calls, Poller
from proxy.proxy_protocol.header import UNIX, Pair

if TYPE_CHECKING:
    from hotswap.address import Address

_libc = ctypes.CDLL(None, use_errno=True)

# epoll's events, epoll_ctl(2).
IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERR = select.EPOLLERR
HUP = select.EPOLLHUP
EDGE = select.EPOLLET
READING = IN | select.EPOLLRDHUP | select.EPOLLPRI | EDGE
"""The interest of a connection that is read; an event of IN alone means bytes and nothing else."""

LONGEST_PEEK = 16384
"""Bytes that are looked at: a PROXY protocol header, or a ClientHello."""
# struct sockaddr_storage is 128 bytes, socket(7).
_ADDRESS_SIZE = 128
_UNSPECIFIED = (ctypes.c_char * 16)()  # sa_family 0 is AF_UNSPEC


class Kernel:
    """The real one. Failures are `OSError`, unless a method says that it returns the errno."""

    close = staticmethod(os.close)
    clock = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sink = staticmethod(open_sink)

    def __init__(self) -> None:
        self.calls = Calls()
        self._address = ctypes.create_string_buffer(_ADDRESS_SIZE)
        self._length = ctypes.c_uint32()
        self._error = ctypes.c_int()
        self._peeked = ctypes.create_string_buffer(LONGEST_PEEK)

    def epoll(self) -> Poller:
        """A fresh epoll instance."""
        return Poller()

    def open_files_limit(self) -> int:
        """The soft RLIMIT_NOFILE: descriptors are below it."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def spare(self) -> int:
        """A descriptor of no use but to be given back when descriptors run out."""
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def accept(self, listener: int) -> tuple[int, str]:
        """One connection, non-blocking, with the client's host: accept4(2)."""
        self._length.value = _ADDRESS_SIZE
        fd: int = _libc.accept4(
            listener, self._address, ctypes.byref(self._length), socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return fd, _host(self._address.raw)

    def peek(self, fd: int, size: int) -> bytes:
        """Bytes that wait, up to LONGEST_PEEK, without taking them: MSG_PEEK, recv(2)."""
        count: int = _libc.recv(fd, self._peeked, min(size, LONGEST_PEEK), socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if count < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return ctypes.string_at(self._peeked, count)

    def ends(self, fd: int) -> Pair | None:
        """Peer and own address of an accepted connection; None if it is gone."""
        sock = socket.socket(fileno=fd)
        try:
            if sock.family == socket.AF_UNIX:
                return Pair(UNIX, 0, UNIX, 0)
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError:
            return None
        finally:
            sock.detach()
        return Pair(peer[0].partition("%")[0], peer[1], own[0].partition("%")[0], own[1])

    def dial(self, address: Address, mark: int | None = None, source: str = "") -> tuple[int, int]:
        """Begin to connect. Returns (descriptor, errno): 0 is connected, EINPROGRESS is under way.

        With any other errno there is no descriptor (-1). `mark` is for the packets (SO_MARK, socket(7)); `source` the
        host that they come from, this machine's or not (IP_TRANSPARENT, ip(7)).
        """
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            return -1, error.errno or errno.EIO
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if mark is not None or source:
            try:
                plumbing.prepare(sock, mark, source)
            except OSError as error:
                sock.close()
                return -1, error.errno or errno.EIO
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            return -1, code
        return sock.detach(), code

    def connect_error(self, fd: int) -> int:
        """How a dial ended, 0 for well: SO_ERROR. Its first reader consumes it: only the owner asks."""
        self._length.value = ctypes.sizeof(self._error)
        _libc.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR, ctypes.byref(self._error), ctypes.byref(self._length))
        return self._error.value

    def send_fin(self, fd: int) -> None:
        """End our direction: shutdown(2). The connection may be gone already."""
        _libc.shutdown(fd, socket.SHUT_WR)

    def end_both(self, fd: int) -> None:
        """End both directions, whoever else holds a copy of the descriptor."""
        _libc.shutdown(fd, socket.SHUT_RDWR)

    def send_reset(self, fd: int) -> None:
        """Send a RST at once, whoever else holds a copy: connect(2) to AF_UNSPEC.

        SO_LINGER 0 would wait for the last copy to be closed. A unix socket knows no reset.
        """
        if _libc.connect(fd, _UNSPECIFIED, ctypes.sizeof(_UNSPECIFIED)) < 0:
            _libc.shutdown(fd, socket.SHUT_RDWR)

    def listen(self, fd: int, backlog: int) -> None:
        """Let clients in, perhaps for the second time."""
        _libc.listen(fd, backlog)

    def refuse(self, fd: int) -> None:
        """Have a TCP listener refuse clients and keep its address; `listen` opens it again.

        The one exception to "never shut a listener down": whoever holds a copy is meant, too.
        """
        _libc.shutdown(fd, socket.SHUT_RD)

    def prepare_listener(self, fd: int, *, transparent: bool = False) -> None:
        """Accepted connections inherit TCP_NODELAY from their listener on Linux: one call for all.

        A `transparent` one takes what tproxy sends it, whatever address that goes to.
        """
        _libc.setsockopt(
            fd, socket.IPPROTO_TCP, socket.TCP_NODELAY, ctypes.byref(ctypes.c_int(1)), ctypes.sizeof(ctypes.c_int)
        )
        plumbing.set_transparent(fd, transparent)

    local_name = staticmethod(plumbing.local_name)
    peer_name = staticmethod(plumbing.peer_name)
    redirected_from = staticmethod(plumbing.redirected_from)
    is_local = staticmethod(plumbing.is_local)

    def address_of(self, fd: int) -> str:
        """The bound address of a listener, for people: the real port where the configuration says 0."""
        sock = socket.socket(fileno=fd)
        try:
            name = sock.getsockname()
            family = sock.family
        finally:
            sock.detach()
        if family == socket.AF_UNIX:
            return f"unix:{name}"
        return f"[{name[0]}]:{name[1]}" if family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _host(sockaddr: bytes) -> str:
    """The host in a raw struct sockaddr: ip(7), ipv6(7)."""
    family = int.from_bytes(sockaddr[:2], "little" if _LITTLE else "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return "unix"


_LITTLE = socket.ntohs(1) != 1
