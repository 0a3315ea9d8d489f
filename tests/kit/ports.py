"""Addresses nobody else uses.

Ports come from below the range the kernel gives to outgoing connections (`ip_local_port_range` starts
at 32768), so no client of a busy test can take a port between its allocation and its bind. Two test runs on
one machine are kept apart by an flock per port, held until the run ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 18000, 31999

_locks: list[int] = []  # held for the life of this process: a port is given out once
_directory = Path(tempfile.gettempdir()) / f"hotswap-ports-{os.getuid()}"


def free_port() -> int:
    """A TCP port free on IPv4 and IPv6 loopback that no other test run will be given."""
    _directory.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(range(FIRST, LAST + 1), 500):
        fd = os.open(_directory / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _locked(fd) and _bindable(socket.AF_INET, "127.0.0.1", port) and _bindable(socket.AF_INET6, "::1", port):
            _locks.append(fd)
            return port
        os.close(fd)
    raise RuntimeError(f"no free port from {FIRST} to {LAST}")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bindable(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def loopback() -> str:
    """A fresh `127.0.0.1:port`."""
    return f"127.0.0.1:{free_port()}"


def loopback6() -> str:
    """A fresh `[::1]:port`."""
    return f"[::1]:{free_port()}"


def port_of(address: str) -> int:
    """The port in `host:port`."""
    return int(address.rpartition(":")[2])


def refused(address: str) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.settimeout(10)
        return probe.connect_ex(("127.0.0.1", port_of(address))) == errno.ECONNREFUSED
