"""The system calls that a tick makes for every connection: the twin in Python of calls.pyx, which makes them from C.

    Calls     read and write of one descriptor
    Poller    an epoll instance, epoll(7), and the events that the last look found

`proxy.kernel.Kernel` has all others. The tests' kernel has simulated ones of both.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST: Final = 256
LONGEST: Final = 1e6  # seconds; more is no end
"""Events of one look."""
LARGEST_PIPE: Final = 1 << 20
_UNABLE: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM))
"""How a kernel says that it does not do this, or whoever filters system calls that they do not want it."""
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Calls:
    """Failures are `OSError`; EAGAIN is one, and tells that there is nothing now, or no room."""

    __slots__ = ("_ends", "left", "splices")

    def __init__(self) -> None:
        self.left = b""
        """What the last `relay` or `splice` could not write."""
        self._ends: tuple[int, int] | None = None
        self.splices = True
        """False once `splice` turned out not to work here."""

    def read(self, fd: int, size: int) -> bytes:
        """Bytes that came, up to `size` (at most 64 KB); none at the end: recv(2)."""
        return os.read(fd, size)

    def append(self, fd: int, buffer: bytearray, size: int, much: bool) -> int:
        """The same, behind what is there: for whoever alters what came. `much` will come, by all appearances."""
        data = self.read(fd, size)
        buffer += data
        return len(data)

    def write(self, fd: int, data: bytes | bytearray) -> int:
        """How many bytes the socket took: send(2)."""
        return os.write(fd, data)

    def relay(self, source: int, target: int, size: int) -> int:
        """Write to one what comes from the other. Returns how many bytes came, 0 at the end.

        Failures are those of reading. What could not be written, for whatever reason, is in `left`.
        """
        data = self.read(source, size)
        self.left = b""
        if data:
            try:
                count = self.write(target, data)
            except OSError:  # who writes it next will hear of it
                count = 0
            if count < len(data):
                self.left = data[count:]
        return len(data)

    def splice(self, source: int, target: int, size: int) -> int:
        """Do as `relay` does by reference: the bytes are not copied. 0 also if nothing is there now.

        Between the two is a pipe, which is empty again whenever this returns: what the target did not take is in
        `left`. Where it cannot be had, or is not for these descriptors, this relays; `splices` tells.
        """
        ends = self._pipe() if self.splices else None
        if ends is None:
            return self.relay(source, target, size)
        out, into = ends
        self.left = b""
        try:
            came = os.splice(source, into, size, flags=_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            self.splices = False
            return self.relay(source, target, size)
        inside = came
        with suppress(OSError):  # no room, or a failure: who writes it next will hear of it
            while inside:
                inside -= os.splice(out, target, inside, flags=_FLAGS)
        while inside > len(self.left):
            self.left += os.read(out, inside - len(self.left))
        return came

    def _pipe(self) -> tuple[int, int] | None:
        """Its ends. Without descriptors there is none for now."""
        if self._ends is None:
            try:
                self._ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                return None
            with suppress(OSError):  # where packets are small, more of them go into one portion
                fcntl(self._ends[1], F_SETPIPE_SZ, LARGEST_PIPE)
        return self._ends

    def close(self) -> None:
        """Give the pipe back; another one is made when it is needed."""
        if self._ends is not None:
            for fd in self._ends:
                os.close(fd)
            self._ends = None


class Poller:
    """Descriptors with masks of EPOLLIN and so on, and what became of them.

    After `wait` the first events stand in `fds` and `masks`, side by side.
    """

    __slots__ = ("_epoll", "fds", "masks")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.fds: Sequence[int] = ()
        self.masks: Sequence[int] = ()

    def fileno(self) -> int:
        """The descriptor of the instance itself; -1 when it is closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def close(self) -> None:
        """Forget all registrations."""
        self._epoll.close()

    def register(self, fd: int, mask: int) -> None:
        """EPOLL_CTL_ADD."""
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """EPOLL_CTL_MOD."""
        self._epoll.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        """EPOLL_CTL_DEL."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> int:
        """How many events there are by now, or after `timeout` seconds at most (inf: no end): epoll_wait(2)."""
        return self.hold(self._epoll.poll(max(timeout, 0.0) if timeout < LONGEST else None, MOST))

    def hold(self, events: Sequence[tuple[int, int]]) -> int:
        """Have these, of descriptors and masks, as the events of the last look. Returns how many there are."""
        if events:
            self.fds, self.masks = zip(*events, strict=True)
        return len(events)

    def poll(self, timeout: float = 0.0) -> list[tuple[int, int]]:
        """The same as a list, for whoever is in no hurry."""
        count = self.wait(timeout)
        return [(self.fds[at], self.masks[at]) for at in range(count)]
