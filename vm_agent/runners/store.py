"""Descriptors that are kept for a sidecar: duplicates of its listeners, so that a death closes none of them.

They come by ``FDSTORE=1`` and go to the next process by sd_listen_fds(3): from 3 on, counted in LISTEN_FDS, named in
LISTEN_FDNAMES. Like systemd's store it neither reads nor polls them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterable

LIMIT = 512  # as FileDescriptorStoreMax of the units


class Store:
    """What is kept for one sidecar, in the order in which it came."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept: list[tuple[str, int]] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def names(self) -> list[str]:
        """One a descriptor."""
        return [name for name, _ in self._kept]

    @property
    def fds(self) -> list[int]:
        """To be inherited, in the order of `names`."""
        return [fd for _, fd in self._kept]

    def add(self, name: str, fds: Iterable[int]) -> int:
        """Keep these; they belong to the store from now on. Returns how many did not fit, which are closed.

        One that is kept already, under whichever name, is not kept twice.
        """
        refused = 0
        there = {_identity(fd) for fd in self.fds}
        for fd in fds:
            if _identity(fd) in there:
                os.close(fd)
            elif len(self._kept) >= self._limit:
                os.close(fd)
                refused += 1
            else:
                there.add(_identity(fd))
                self._kept.append((name, fd))
        return refused

    def remove(self, name: str) -> None:
        """Let go of all that have this name."""
        for kept, fd in self._kept:
            if kept == name:
                os.close(fd)
        self._kept = [(kept, fd) for kept, fd in self._kept if kept != name]

    def clear(self) -> None:
        """Let go of everything."""
        for fd in self.fds:
            os.close(fd)
        self._kept = []

    def addresses(self) -> tuple[str, ...]:
        """Those of the kept sockets, as hotswap writes addresses."""
        found = []
        for fd in self.fds:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                    found.append(_text(sock.getsockname()))
        return tuple(sorted({text for text in found if text}))


def _identity(fd: int) -> tuple[int, int, int]:
    """A socket has an inode of its own, and one open file description; the two ends of a pipe share theirs."""
    info = os.fstat(fd)
    return info.st_dev, info.st_ino, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


def _text(name: object) -> str:
    match name:
        case str():
            return f"unix:{name}" if name else ""
        case bytes():
            return f"unix:{os.fsdecode(name)}"
        case (str(host), int(port), *more):
            return f"[{host}]:{port}" if more else f"{host}:{port}"
    return ""
