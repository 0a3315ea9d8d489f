"""What a sidecar tells whoever started it: sd_notify(3), from the receiving end.

A message is one datagram on the socket that ``NOTIFY_SOCKET`` names, of lines ``NAME=value`` parted by newlines, with
descriptors and the sender's credentials beside it (unix(7), SCM_RIGHTS, SCM_CREDENTIALS):

    READY=1               it serves
    MAINPID=4711          this process is the main one from now on
    STATUS=text           for people
    STOPPING=1            it ends, by its own will
    WATCHDOG=1            a sign of life; ``trigger``: it hangs, and says so
    WATCHDOG_USEC=n       another time limit for signs of life, microseconds
    FDSTORE=1             keep the descriptors that are attached, for after a death
    FDNAME=text           under this name; up to 255 printable ASCII characters without a colon, else ``stored``
    FDSTOREREMOVE=1       let go of those kept under FDNAME
    BARRIER=1             close the one descriptor attached, and so show that everything before was dealt with

Names that are not known are ignored. A message may have 4096 bytes, and 253 descriptors (SCM_MAX_FD).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hotswap.address import MAX_UNIX_PATH
from hotswap.errors import HotswapError

VARIABLE = "NOTIFY_SOCKET"
MESSAGE_LIMIT = 4096
DESCRIPTOR_LIMIT = 253
NAME_LIMIT = 255
STATUS_LIMIT = 512
MESSAGES_A_WAKE = 64
UNNAMED = "stored"

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_ANCILLARY = socket.CMSG_SPACE(DESCRIPTOR_LIMIT * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)


@dataclass(frozen=True)
class Message:
    """One message; what it does not say is None or False."""

    ready: bool = False
    main_pid: int | None = None
    status: str | None = None
    stopping: bool = False
    alive: bool = False
    hangs: bool = False
    watchdog: float | None = None
    """Seconds."""
    store: bool = False
    remove: bool = False
    name: str = UNNAMED
    barrier: bool = False


@dataclass(frozen=True)
class Letter:
    """A message with what came beside it. Whoever gets it closes the descriptors."""

    message: Message
    pid: int
    uid: int
    fds: tuple[int, ...]


def parse(data: bytes) -> Message:
    """What a datagram says. A value that makes no sense counts as not said, as with systemd."""
    said: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            said[name] = value
    watchdog = _number(said.get("WATCHDOG_USEC"))
    status = said.get("STATUS")
    return Message(
        ready=said.get("READY") == "1",
        main_pid=_number(said.get("MAINPID")),
        status=None if status is None else "".join(one for one in status[:STATUS_LIMIT] if one.isprintable()),
        stopping=said.get("STOPPING") == "1",
        alive=said.get("WATCHDOG") == "1",
        hangs=said.get("WATCHDOG") == "trigger",
        watchdog=None if watchdog is None else watchdog / 1e6,
        store=said.get("FDSTORE") == "1",
        remove=said.get("FDSTOREREMOVE") == "1",
        name=_name(said.get("FDNAME", "")),
        barrier=said.get("BARRIER") == "1",
    )


def _number(text: str | None) -> int | None:
    """A positive decimal number of at most 18 digits."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text) or None


def _name(text: str) -> str:
    fits = 0 < len(text) <= NAME_LIMIT and text.isascii() and text.isprintable() and ":" not in text
    return text if fits else UNNAMED


class NotifySocket:
    """The socket of one sidecar, bound at a path that only its user may send to."""

    def __init__(self, path: Path, uid: int) -> None:
        """Bind it, in the place of one that an agent before this one left. Raises `HotswapError`."""
        self.path = path
        if len(os.fsencode(path)) >= MAX_UNIX_PATH:
            raise HotswapError(f"{path} is longer than a unix socket's path may be: choose a shorter runtime directory")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            # Bound aside and moved into place: there is never a moment without a socket, or with one of other rights.
            fresh = path.with_name(f"{path.name}~")
            fresh.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                self._sock.bind(str(fresh))
            finally:
                os.umask(mask)
            os.chown(fresh, uid, -1, follow_symlinks=False)
            fresh.rename(path)
        except OSError as error:
            self._sock.close()
            raise HotswapError(f"{path} cannot be bound: {error.strerror}; the agent needs to write there") from None

    def fileno(self) -> int:
        """To be polled."""
        return self._sock.fileno()

    def give(self, uid: int) -> None:
        """Let this user send, and no longer the one before. Raises `HotswapError`."""
        try:
            os.chown(self.path, uid, -1, follow_symlinks=False)
        except OSError as error:
            raise HotswapError(f"{self.path} cannot be given to uid {uid}: {error.strerror}") from None

    def receive(self, deliver: Callable[[Letter], None]) -> int:
        """Deliver what is there, some at most; how many were thrown away because they came cut or without a sender.

        Descriptors of what is delivered belong to `deliver`; it does not raise.
        """
        spoilt = 0
        for _ in range(MESSAGES_A_WAKE):
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(MESSAGE_LIMIT, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                break  # nothing left
            letter = _opened(data, ancillary)
            if letter is None or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                spoilt += 1
                for fd in letter.fds if letter is not None else ():
                    os.close(fd)
                continue
            deliver(letter)
        return spoilt

    def close(self) -> None:
        """Hear no more. The path stays for an agent that comes after."""
        self._sock.close()

    def remove(self) -> None:
        """Hear no more, for good."""
        self.close()
        self.path.unlink(missing_ok=True)


def _opened(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> Letter | None:
    """None if the sender is not known; its descriptors are closed then."""
    fds: list[int] = []
    sender: tuple[int, int] | None = None
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            count = len(content) // 4
            fds += struct.unpack(f"{count}i", content[: count * 4])
        elif kind == socket.SCM_CREDENTIALS and len(content) >= _CREDENTIALS.size:
            pid, uid, _ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
            sender = (pid, uid)
    if sender is None:
        for fd in fds:
            os.close(fd)
        return None
    return Letter(parse(data), sender[0], sender[1], tuple(fds))
