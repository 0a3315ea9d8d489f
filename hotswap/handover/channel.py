"""The handover channel: messages with descriptors over AF_UNIX SOCK_SEQPACKET, never blocking.

Sending never fails for lack of room: what the socket does not take waits in the outbox and goes out
from `pump`. Two limits keep the kernel's own limits out of sight:

* at most `WINDOW` messages with fds are unacknowledged (an unprivileged sender may have only NOFILE
  descriptors in flight, unix(7) ETOOMANYREFS; where it happens all the same it is "try again");
* a message carries 253 fds and 64 KB at most.

Received descriptors are close-on-exec. A truncated control message (MSG_CTRUNC: this process is out of
descriptors) is an error of the channel, and the descriptors that did come are closed.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
from collections import deque
from typing import Any, NamedTuple

from hotswap.errors import HotswapError, ProtocolError
from hotswap.handover import wire
from hotswap.peers import CREDENTIALS, admitted

WINDOW = 4
_ANCILLARY = socket.CMSG_SPACE(wire.MAX_FDS * 4) + socket.CMSG_SPACE(CREDENTIALS.size)
_AGAIN = (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_NOBODY_READS = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNREFUSED)
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_SEND_BUFFER = 1 << 20


class Stranger(ProtocolError):
    """A message from another user: refused before a byte of it is parsed."""

    def __init__(self, uid: int) -> None:
        super().__init__(f"a message from uid {uid}, who has no part in this")
        self.uid = uid


class Received(NamedTuple):
    """One message with what came along."""

    message: Any  # of `wire.AnyMessage`, unless the channel has words of its own
    fds: list[int]
    uid: int


class Channel:
    """One end of a handover channel. `ended` is set once the other end is closed and drained.

    `peers` are users besides our own and root who may be at the other end.
    """

    __slots__ = ("_outbox", "_sock", "_uids", "_unacknowledged", "corrupt_next", "ended")

    def __init__(self, sock: socket.socket, peers: frozenset[int] = frozenset()) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._sock = sock
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._unacknowledged = 0
        self._uids = admitted(peers)
        self.ended = False
        self.corrupt_next = False

    def fileno(self) -> int:
        """For the event loop."""
        return self._sock.fileno()

    @property
    def sending(self) -> bool:
        """Something waits for room in the socket or for an acknowledgement."""
        return bool(self._outbox)

    @property
    def wants_write(self) -> bool:
        """The socket is full: wait for it to become writable, then `pump`."""
        return bool(self._outbox) and not (self._unacknowledged >= WINDOW and self._outbox[0][1])

    def send(self, message: wire.Message, fds: tuple[int, ...] = (), close: tuple[int, ...] = ()) -> None:
        """Send or queue. `close` names those of `fds` that are of no further use to the caller.

        A queued message holds duplicates: the connection behind a descriptor may be closed, and its
        number taken by another, before the socket has room.
        """
        self.send_bytes(wire.encode(message), fds, close)

    def send_bytes(self, data: bytes, fds: tuple[int, ...] = (), close: tuple[int, ...] = ()) -> None:
        """The same for a message that is encoded already."""
        if self.corrupt_next:
            self.corrupt_next = False
            data = bytes(byte ^ 0xA5 for byte in data)
        if not self._outbox and self._transmit(data, fds):
            _close_all(close)
        else:
            self._outbox.append((data, tuple(fd if fd in close else os.dup(fd) for fd in fds)))

    def pump(self) -> None:
        """Send as much of the outbox as socket and window take."""
        while self._outbox and self._transmit(*self._outbox[0]):
            _close_all(self._outbox.popleft()[1])

    def _transmit(self, data: bytes, fds: tuple[int, ...]) -> bool:
        """True if the message is gone: into the socket, or nowhere because nobody reads any more."""
        if fds and self._unacknowledged >= WINDOW:
            return False
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in _AGAIN:
                return False
            if self._sock.fileno() >= 0 and error.errno not in _NOBODY_READS:
                raise HotswapError(f"a message cannot be sent: {error.strerror}") from None
            return True
        self._unacknowledged += bool(fds)
        return True

    def receive(self) -> Received | None:
        """The next message, or None if there is none now. Raises `ProtocolError`.

        Acknowledgements are handled here and never returned.
        """
        while not self.ended:
            try:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    wire.MAX_MESSAGE + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # Once, if the other end closed with messages of ours unread; its own still wait behind it.
                continue
            except OSError:
                data, ancillary, flags = b"", [], 0
            fds, uid = _unpack(ancillary)
            if not data and not ancillary:  # an empty message brings its sender's credentials, the end brings nothing
                self.ended = True
                return None
            if uid not in self._uids:
                _close_all(fds)
                raise Stranger(uid)
            message = self._checked(data, fds, flags)
            if isinstance(message, wire.Ack):
                _close_all(fds)
                self._unacknowledged = max(0, self._unacknowledged - message.count)
                self.pump()
                continue
            return Received(message, fds, uid)
        return None

    def _checked(self, data: bytes, fds: list[int], flags: int) -> Any:
        try:
            if flags & socket.MSG_CTRUNC:
                return self.truncated(fds)
            if flags & socket.MSG_TRUNC or len(data) > wire.MAX_MESSAGE:
                raise ProtocolError(f"a message of more than {wire.MAX_MESSAGE} bytes")
            return self.decode(data)
        except ProtocolError:
            _close_all(fds)
            raise

    def truncated(self, fds: list[int]) -> Any:
        """Some descriptors of a message were lost; `fds` is what came. A message in its place, or `ProtocolError`."""
        raise ProtocolError("descriptors were lost on the way: too few free fds, raise RLIMIT_NOFILE")

    def decode(self, data: bytes) -> Any:
        """What the bytes of a message mean; a channel with words of its own overrides it. Raises `ProtocolError`."""
        return wire.decode(data)

    def acknowledge(self, count: int = 1) -> None:
        """Tell the sender that `count` messages with fds are dealt with."""
        self.send(wire.Ack(count))

    def wait(self, timeout: float, pidfd: int = -1) -> bool:
        """Block until something can be read or written, or `timeout` seconds passed; True: `pidfd` died.

        For the stop-and-copy only: while frozen there is nothing else to do.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | (select.POLLOUT if self.wants_write else 0))
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        return any(fd == pidfd for fd, _ in poll.poll(max(0.0, timeout) * 1000))

    def close(self) -> None:
        """Close this end; what was queued is dropped."""
        self._drop_outbox()
        self._sock.close()

    def _drop_outbox(self) -> None:
        for _, fds in self._outbox:
            _close_all(fds)
        self._outbox.clear()


def _unpack(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    fds: list[int] = []
    uid = -1
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
            fds.extend(received)
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            uid = int(CREDENTIALS.unpack(payload[: CREDENTIALS.size])[1])
    return fds, uid


def _close_all(fds: tuple[int, ...] | list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def to_memfd(state: bytes) -> int:
    """A sealed memfd with `state` in it; the caller closes it."""
    fd = os.memfd_create("hotswap-value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(state)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def from_memfd(fd: int) -> bytes:
    """What a memfd of an untrusted peer holds. Raises `ProtocolError` unless sealed and bounded; closes it."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        size = os.fstat(fd).st_size
        if seals & _SEALS != _SEALS or size > wire.MAX_VALUE:
            raise ProtocolError("a value in a memfd that is not sealed, or is too large")
        data = b""
        while len(data) < size:
            data += os.pread(fd, size - len(data), len(data))
        return data
    except OSError as error:
        raise ProtocolError(f"a value in a descriptor that is no memfd: {error}") from None
    finally:
        os.close(fd)
