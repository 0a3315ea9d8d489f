"""What a supervisor is told, and what it passes on: sd_notify(3) and sd_listen_fds(3), without libsystemd.

A datagram to the unix socket in NOTIFY_SOCKET, a path or (with @) an abstract name, of lines VARIABLE=VALUE:

    READY=1   STOPPING=1   STATUS=text   MAINPID=number   WATCHDOG=1   EXTEND_TIMEOUT_USEC=number
    FDSTORE=1, FDNAME=name, FDPOLL=0   with a descriptor (SCM_RIGHTS): keep a copy, pass it to the next process
    FDSTOREREMOVE=1, FDNAME=name       close every copy of that name
    BARRIER=1                          alone, with the write end of a pipe, closed when all before it is done

And in the environment of a process that it starts: LISTEN_FDS descriptors from 3 on, for the process LISTEN_PID, their
names parted by colons in LISTEN_FDNAMES; WATCHDOG_USEC, for the process WATCHDOG_PID if that is there.

systemd speaks it, and so does the agent to what it starts itself. Without NOTIFY_SOCKET nothing is done. No send
waits: what finds no room is sent when there is some, and whom nobody hears is not told. Serving never depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from hotswap.address import Address
from hotswap.errors import ConfigError
from hotswap.log import fields

log = logging.getLogger("hotswap")

FIRST: Final = 3  # SD_LISTEN_FDS_START
LONGEST_NAME: Final = 255  # sd_pid_notify_with_fds(3)
_QUEUE: Final = 1000  # messages with descriptors that wait for room; of those without as many more


class Passed(NamedTuple):
    """A descriptor that the supervisor passed on, and what it called it."""

    fd: int
    name: str


class Supervisor:
    """Whoever started this process and watches it, if anybody does. Use it in the event loop's thread."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.address = address
        """Of its socket; empty: nobody is told anything."""
        self.watchdog = watchdog
        """Seconds without WATCHDOG=1 after which this process counts as hung; 0: it is not watched."""
        self.starter = os.getppid()
        """Who started this process: the supervisor, or a source."""
        self._sock: socket.socket | None = None
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._deaf = False

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Supervisor:
        """As the environment says. A successor is to hear the same, but for what is meant for this process alone."""
        for_whom = environment.pop("WATCHDOG_PID", "")
        if for_whom and for_whom != str(os.getpid()):
            environment.pop("WATCHDOG_USEC", None)
        try:
            watchdog = max(int(environment.get("WATCHDOG_USEC", "0")), 0) / 1e6
        except ValueError:
            watchdog = 0.0
        address = environment.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in {"/", "@"} else "", watchdog)

    def tell(self, *lines: str, fds: Sequence[int] = ()) -> None:
        """Send these lines, with copies of descriptors. Returns at once, and never fails."""
        if not self.address:
            return
        message = "\n".join(lines).encode()
        if self._queue or not self._send(message, fds):
            if len(self._queue) >= (_QUEUE if fds else _QUEUE + _QUEUE):  # what is told of itself comes before copies
                self._unheard("it reads nothing")
                return
            copies: list[int] = []
            try:
                copies += (os.dup(fd) for fd in fds)
            except OSError as error:  # no descriptors are left
                _close(copies)
                self._unheard(error.strerror or str(error))
                return
            if not self._queue and self._sock is not None:
                asyncio.get_running_loop().add_writer(self._sock.fileno(), self._send_queued)
            self._queue.append((message, copies))

    def barrier(self) -> int:
        """The read end of a pipe that ends when everything told so far is done, or nobody hears. The caller's.

        Raises `OSError` if no descriptors are left.
        """
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.tell("BARRIER=1", fds=[write])
        os.close(write)
        return read

    def when_heard(self, then: Callable[[], object], patience: float) -> None:
        """Call `then` once everything told so far is done, or after so many seconds."""
        loop = asyncio.get_running_loop()
        try:
            barrier = self.barrier()
        except OSError as error:
            self._unheard(error.strerror or str(error))
            loop.call_later(patience, then)
            return

        def over() -> None:
            timer.cancel()
            loop.remove_reader(barrier)
            os.close(barrier)
            then()

        timer = loop.call_later(patience, over)
        loop.add_reader(barrier, over)

    def close(self) -> None:
        """Say nothing more; what waits is dropped."""
        self._disconnect()
        for _, fds in self._queue:
            _close(fds)
        self._queue.clear()

    def _send(self, message: bytes, fds: Sequence[int]) -> bool:
        """False if there is no room now."""
        why = ""
        for _ in range(2):  # its socket may have been made anew since the last time
            try:
                if self._sock is None:
                    self._sock = self._connect()
                socket.send_fds(self._sock, [message], fds)
            except BlockingIOError:
                return False
            except OSError as error:
                why = error.strerror or str(error)
                self._disconnect()
            else:
                self._deaf = False
                return True
        self._unheard(why)
        return True

    def _send_queued(self) -> None:
        while self._queue and self._send(*self._queue[0]):
            _close(self._queue.popleft()[1])
        if self._sock is None:
            self.close()  # nobody is there any more: it asks anew when it is back
        elif not self._queue:
            asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        try:
            sock.connect("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def _disconnect(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(RuntimeError):  # no loop runs any more
                asyncio.get_running_loop().remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _unheard(self, why: str) -> None:
        """Once for each time that it goes away."""
        if not self._deaf:
            self._deaf = True
            log.warning("the supervisor does not hear", extra=fields(socket=self.address, reason=why))


def passed(environment: MutableMapping[str, str] = os.environ) -> list[Passed]:
    """What was passed to this process, made close-on-exec; the variables are taken out. See sd_listen_fds(3)."""
    count, for_whom = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    environment.pop("LISTEN_PIDFDID", None)
    if for_whom != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return []
    found = []
    for at, fd in enumerate(range(FIRST, FIRST + min(int(count), 10_000))):
        with contextlib.suppress(OSError):  # not open: then it was not passed
            os.set_inheritable(fd, False)
            found.append(Passed(fd, names[at] if at < len(names) else ""))
    return found


def by_address(found: Iterable[Passed]) -> tuple[dict[str, int], list[str]]:
    """(the listeners by address, the names of what was closed because it is of no use).

    Of two with one address the first is kept: a socket unit's comes before those of the store.
    """
    kept: dict[str, int] = {}
    useless = []
    for fd, name in found:
        address = address_of(fd)
        if address is None:
            useless.append(name)
            os.close(fd)
        elif (key := str(address)) not in kept:
            os.set_blocking(fd, False)
            kept[key] = fd
        else:
            if not os.path.sameopenfile(fd, kept[key]):  # else the store's copy is as good as this one
                useless.append(name)
            os.close(fd)
    return kept, useless


def address_of(fd: int) -> Address | None:
    """The address that a stream socket is bound to; None for anything else. See getsockname(2)."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    sock = socket.socket(fileno=fd)
    try:
        name = sock.getsockname()
        if sock.type != socket.SOCK_STREAM:
            return None
        if sock.family == socket.AF_UNIX:
            return Address.parse(f"unix:{name}") if isinstance(name, str) and name else None
        host = name[0].partition("%")[0]
        return Address.parse(f"[{host}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{host}:{name[1]}")
    except (OSError, ConfigError):
        return None
    finally:
        sock.detach()


def name_of(address: str) -> str:
    """What a stored listener is called: its address, percent-encoded where a name may not have it. See FDNAME=."""
    name = quote(address, safe="/[]")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:200]}-{hashlib.sha256(address.encode()).hexdigest()[:32]}"


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
