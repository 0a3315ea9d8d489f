"""A socket that plays systemd: it hears sd_notify(3), stores descriptors, and passes them on to what it starts.

Nothing is answered by itself: `messages` is what came, in order, and a barrier stands until the test lifts it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.kit.waiting import eventually

PATIENCE = 20.0

# Puts descriptors where sd_listen_fds(3) looks for them, as nobody can before it is the process in question.
START = """
import fcntl, os, sys
given = [int(word) for word in sys.argv[1].split(",") if word]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in given]
for fd in given:  # of any number: whoever starts this may have hundreds open
    os.close(fd)
os.closerange(3, 200)
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(high))
os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
"""


class Message(NamedTuple):
    """One datagram."""

    lines: dict[str, str]
    pid: int  # of the sender


class Played:
    """The supervisor's side. A context manager."""

    def __init__(self, directory: Path, watchdog: float = 0.0) -> None:
        self.path = directory / "notify"
        self.messages: list[Message] = []
        self.stored: list[tuple[str, int]] = []
        self.barriers: list[int] = []
        self.watchdog = watchdog
        self._sock = self._open()

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(self.path))
        sock.setblocking(False)
        return sock

    def restart(self) -> None:
        """A new socket at the same path, and nothing in the store."""
        self.go_away()
        self._sock = self._open()

    def go_away(self) -> None:
        """Nobody hears."""
        self._sock.close()
        self.path.unlink(missing_ok=True)
        self._drop(lambda _name: True)
        self.messages.clear()

    @property
    def environment(self) -> dict[str, str]:
        watched = {"WATCHDOG_USEC": str(int(self.watchdog * 1e6))} if self.watchdog else {}
        return {"NOTIFY_SOCKET": str(self.path), **watched}

    def starting(self, argv: list[str]) -> tuple[list[str], list[int]]:
        """(a command line that becomes this one and finds the store from descriptor 3 on, what it must inherit)."""
        fds = [fd for _, fd in self.stored]
        names = ":".join(name for name, _ in self.stored)
        return [sys.executable, "-c", START, ",".join(map(str, fds)), names, *argv], fds

    def hear(self) -> None:
        """Take in whatever came."""
        while True:
            try:
                data, control, _, _ = self._sock.recvmsg(4096, 1024)
            except BlockingIOError:
                return
            fds, pid = list[int](), 0
            for level, kind, content in control:
                assert level == socket.SOL_SOCKET
                if kind == socket.SCM_RIGHTS:
                    fds += memoryview(content).cast("i").tolist()
                else:
                    pid = memoryview(content)[:4].cast("i")[0]
            lines = dict(line.split("=", 1) for line in data.decode().split("\n"))
            self.messages.append(Message(lines, pid))
            name = lines.get("FDNAME", "stored")
            if "FDSTORE" in lines:
                for fd in fds:
                    if any(os.path.sameopenfile(fd, known) for _, known in self.stored):
                        os.close(fd)
                    else:
                        self.stored.append((name, fd))
            elif "BARRIER" in lines:
                assert lines.keys() == {"BARRIER"}
                self.barriers += fds
            else:
                assert fds == []
            if "FDSTOREREMOVE" in lines:
                self._drop(lambda stored: stored == name)  # noqa: B023  called at once

    def _drop(self, which: Callable[[str], bool]) -> None:
        for entry in [entry for entry in self.stored if which(entry[0])]:
            self.stored.remove(entry)
            os.close(entry[1])

    def lift(self) -> None:
        """Everything up to here was seen to."""
        while self.barriers:
            os.close(self.barriers.pop())

    def wait(self, what: str, check: Callable[[], bool]) -> None:
        """Hear until this is so."""

        def so() -> bool:
            self.hear()
            return check()

        eventually(so, within=PATIENCE, what=what)

    def wait_told(self, **lines: str) -> Message:
        """Hear until one message has these lines; that one."""
        self.wait(f"told {lines}", lambda: self.find(**lines) is not None)
        found = self.find(**lines)
        assert found is not None
        return found

    def find(self, **lines: str) -> Message | None:
        """The first message that has these lines, of those heard."""
        return next((one for one in self.messages if lines.items() <= one.lines.items()), None)

    def close(self) -> None:
        self.lift()
        self.go_away()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
