"""Binding, or inheriting, the listeners of a generation. They match by address, never by name.

An inherited address is never bound again. In a handover a new one is bound without SO_REUSEADDR: two
sockets with it bind happily and only the later listen() fails, when it is too late to refuse. Unless
nothing but connections is in the way, those of a listener that was there before: they listen to nobody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotswap.address import Address
from hotswap.errors import BindFailed
from hotswap.swappable import ListenerSpec

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def bind(address: Address, *, reuse: bool) -> int:
    """A bound, non-blocking stream socket that does not listen yet. Raises `BindFailed`."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if address.family == socket.AF_UNIX:
            _clear_stale(address)
        elif reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bind(sock, address)
    except OSError as error:
        sock.close()
        raise BindFailed(f"{address} cannot be bound: {error.strerror}; see who listens there with: ss -ltnp") from None
    return sock.detach()


def _bind(sock: socket.socket, address: Address) -> None:
    try:
        sock.bind(address.sockaddr)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _only_connections(address):
            raise
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address.sockaddr)


def _only_connections(address: Address, proc: Path = Path("/proc/self/net")) -> bool:
    """Whether there are connections on that port, and nobody who listens. See proc_net_tcp in the kernel's documents.

    A socket that is bound and does not listen yet stands in neither table: then nothing is found, and the answer is no.
    """
    if address.family == socket.AF_UNIX:
        return False
    states = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / name).read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if int(local.rpartition(":")[2], 16) == address.port:
                    states.add(state)
    return bool(states) and _LISTEN not in states


def listen(fd: int, backlog: int) -> None:
    """Listen, or listen again: on a moved unix listener that refreshes whom SO_PEERCRED names."""
    sock = socket.socket(fileno=fd)
    try:
        if sock.family != socket.AF_UNIX:
            # What it accepts inherits this: connections that outlive the listener do not keep its address.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.listen(backlog)
    except OSError as error:
        raise BindFailed(f"cannot listen on {sock.getsockname()}: {error.strerror}") from None
    finally:
        sock.detach()


def resolve(
    wanted: Sequence[ListenerSpec], inherited: Mapping[str, int], *, reuse: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """(fd by address of everything wanted, inherited fds nobody wants). Binds what was not inherited.

    Raises `BindFailed`, and then has closed what it bound itself.
    """
    found: dict[str, int] = {}
    fresh: list[int] = []
    try:
        for spec in wanted:
            key = str(spec.address)
            if key in inherited:
                found[key] = inherited[key]
            else:
                fresh.append(bind(spec.address, reuse=reuse))
                found[key] = fresh[-1]
    except BindFailed:
        for fd in fresh:
            os.close(fd)
        raise
    return found, {key: fd for key, fd in inherited.items() if key not in found}


def _clear_stale(address: Address) -> None:
    """Remove the socket file of a listener that died; one that answers stays and makes bind fail."""
    # connect(2) refuses a plain file as it refuses a dead socket: that file is somebody's data.
    if not Path(address.host).is_socket():
        return
    probe = socket.socket(address.family, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(address.sockaddr)
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.host)  # noqa: PTH108  an Address holds text
    except OSError:
        pass  # bind tells what is wrong
    finally:
        probe.close()
