"""A kernel without sockets: what the proxy's side and the far end's side of a connection see of each other.

Strict where the real one forgives: no edge is told twice, nothing is closed before EPOLL_CTL_DEL from an epoll that is
asked again, nothing is written before the dial succeeded or after the FIN.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import TYPE_CHECKING, NoReturn

from proxy.calls import MOST, Calls, Poller
from proxy.kernel import Kernel
from proxy.proxy_protocol.header import Pair
from tests.proxy.accesslog.lines import NOON, LineSink

if TYPE_CHECKING:
    from hotswap.address import Address
    from tests.proxy.simulation import World


class Socket:
    """An open file description: the kernel's side of a connection, and what the far end sees and does."""

    def __init__(self, world: World, address: Address | None = None, remote: str = "") -> None:
        self.world = world
        self.edges = 0
        """How often it became readable or writable: what an edge-triggered epoll tells."""
        self.address = address
        """Where the proxy dialled to; None for an accepted connection."""
        self.remote = remote
        self.mark: int | None = None
        self.source = ""
        """Where the proxy bound it to before it dialled."""
        self.near = ""
        """The address on the proxy's side."""
        self.far = ""
        """That of the far end."""
        self.destination = ""
        """Where an accepted connection went before it was redirected."""
        self.connecting = address is not None
        self.connect_error = 0
        self.inbox = bytearray()
        """Sent by the far end, not read by the proxy yet."""
        self.far_fin = False
        self.error = 0
        """A pending reset."""
        self.outbox = bytearray()
        """Written by the proxy, not taken by the far end yet."""
        self.room: int | None = None
        """Bytes the proxy may still write; None: any number."""
        self.ended = False
        """The far end saw a FIN."""
        self.reset = False
        """The far end saw a RST."""
        self.closed = False
        """No process holds it any more."""
        self.holders = 0
        self.clogged = False
        """A write found no room."""

    def __setattr__(self, name: str, value: object) -> None:
        """Whatever happens to it is an edge, also when a test plays with the fields."""
        super().__setattr__(name, value)
        if name in ("inbox", "far_fin", "error", "connecting"):
            super().__setattr__("edges", self.edges + 1)

    # ---- what the far end does ----

    def send(self, data: bytes) -> None:
        self.inbox += data
        self.world.settle()

    def fin(self) -> None:
        self.far_fin = True
        self.world.settle()

    def rst(self, code: int = errno.ECONNRESET) -> None:
        self.error = code
        self.world.settle()

    def accept(self) -> None:
        """The dial succeeds."""
        self.connecting = False
        self.world.settle()

    def refuse(self, code: int = errno.ECONNREFUSED) -> None:
        """The dial fails."""
        self.connecting = False
        self.connect_error = self.error = code
        self.world.settle()

    def take(self) -> bytes:
        """What came since the last look."""
        data = bytes(self.outbox)
        self.outbox.clear()
        return data

    def accept_bytes(self, room: int | None) -> None:
        """Be a slow reader: from now on, `room` bytes fit; None: any number."""
        self.room = room
        if self.clogged and room != 0:
            self.clogged = False
            self.edges += 1
        self.world.settle()

    # ---- what the kernel does ----

    def events(self) -> int:
        if self.connecting:
            return 0
        events = 0
        if self.inbox or self.far_fin or self.error:
            events |= EPOLLIN
        if self.error:
            events |= EPOLLERR | EPOLLHUP
        if self.far_fin:
            events |= EPOLLRDHUP
        if self.far_fin and self.ended:
            events |= EPOLLHUP
        if self.room is None or self.room > 0 or self.error or self.ended:
            events |= EPOLLOUT
        return events

    def read(self, size: int) -> bytes:
        if self.inbox:
            data = bytes(self.inbox[:size])
            del self.inbox[:size]
            return data
        if self.error:
            fail(self.error)
        if self.far_fin:
            return b""
        return fail(errno.EAGAIN)

    def write(self, data: bytes | bytearray) -> int:
        assert not self.connecting, "a write before the dial succeeded"
        assert not self.ended, "a write after the FIN"
        if self.error:
            fail(self.error)
        count = len(data) if self.room is None else min(len(data), self.room)
        self.clogged = count < len(data)
        if count == 0:
            fail(errno.EAGAIN)
        if self.room is not None:
            self.room -= count
        self.outbox += data[:count]
        return count


def fail(code: int) -> NoReturn:
    raise OSError(code, errno.errorcode[code])


class SimulatedCalls(Calls):
    """Those of a simulated kernel."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        super().__init__()
        self._kernel = kernel
        self.spliced = 0
        """Bytes that came by `splice`."""
        self.shortage = 0
        """Bytes of each portion for which a target has no room at that moment, though it has a moment later."""

    def splice(self, source: int, target: int, size: int) -> int:
        """Nothing comes also at the end, as from the real one."""
        sender, receiver = self._kernel.socket(source), self._kernel.socket(target)
        if not sender.inbox and not sender.error:
            return 0
        data = sender.read(size)
        self.spliced += len(data)
        gone = 0
        with suppress(OSError):
            gone = receiver.write(data[: max(0, len(data) - self.shortage)])
        self.left = data[gone:]
        return len(data)

    def read(self, fd: int, size: int) -> bytes:
        return self._kernel.socket(fd).read(size)

    def write(self, fd: int, data: bytes | bytearray) -> int:
        return self._kernel.socket(fd).write(data)


class SimulatedEpoll(Poller):
    """Ascending by descriptor, and strict: no edge is told twice, and the mistakes that the kernel forgives fail."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self.interests: dict[int, int] = {}
        self.told: dict[int, int] = {}
        """Edges of a descriptor that need not be told again."""
        self.closed = False

    def fileno(self) -> int:
        return 3

    def close(self) -> None:
        self.closed = True

    def register(self, fd: int, eventmask: int = 0) -> None:
        assert not self.closed
        assert fd not in self.interests, f"descriptor {fd} is registered twice"
        assert fd in self._kernel.open, f"descriptor {fd} is not open"
        self.interests[fd] = eventmask
        self.told[fd] = -1

    def modify(self, fd: int, eventmask: int) -> None:
        assert fd in self.interests
        self.interests[fd] = eventmask
        self.told[fd] = -1

    def unregister(self, fd: int) -> None:
        del self.interests[fd]

    def wait(self, timeout: float) -> int:
        assert not self.closed
        assert self.interests.keys() <= self._kernel.open.keys(), "closed before EPOLL_CTL_DEL"
        ready = []
        for fd, mask in sorted(self.interests.items()):
            if mask & EPOLLET:
                socket = self._kernel.socket(fd)
                if self.told[fd] == socket.edges:
                    continue
                self.told[fd] = socket.edges
                if mask & EPOLLOUT and socket.room == 0:
                    socket.clogged = True  # who asked in vain is told later, as after a write: SOCK_NOSPACE, tcp_poll()
            events = self._kernel.events(fd) & (mask | EPOLLERR | EPOLLHUP)
            if events:
                ready.append((fd, events))
        return self.hold(ready[:MOST])


class SimulatedKernel(Kernel):
    """Descriptors of one process. The clock of a process starts anywhere."""

    def __init__(self, world: World, first_fd: int, offset: float) -> None:
        super().__init__()
        self._world = world
        self._next_fd = first_fd
        self._offset = offset
        self.open: dict[int, Socket | list[Socket]] = {}
        self.limit = 20000
        self.calls = SimulatedCalls(self)
        self.close = self._close
        self.local_name = self._local_name
        self.peer_name = self._peer_name
        self.redirected_from = self._redirected_from
        self.is_local = lambda host: host == "198.51.100.1"
        self.transparent: dict[int, bool] = {}
        """Listeners that were prepared, and whether they take what goes elsewhere."""
        self.refusing: set[int] = set()
        """Listeners that were shut down."""
        self.clock = lambda: world.time + offset
        self.wall = lambda: NOON + world.time
        self.sink = lambda target: LineSink(world.lines.setdefault(target, []))  # type: ignore[assignment,return-value]

    def install(self, thing: Socket | list[Socket]) -> int:
        """A descriptor for it."""
        fd = self._next_fd
        while fd in self.open:
            fd += 1
        if fd >= self.limit:
            fail(errno.EMFILE)
        self.open[fd] = thing
        if isinstance(thing, Socket):
            thing.holders += 1
        return fd

    def socket(self, fd: int) -> Socket:
        thing = self.open[fd]
        assert isinstance(thing, Socket)
        return thing

    def events(self, fd: int) -> int:
        thing = self.open[fd]
        if isinstance(thing, Socket):
            return thing.events()
        return EPOLLIN if thing else 0

    def _close(self, fd: int) -> None:
        thing = self.open.pop(fd)
        if isinstance(thing, Socket):
            thing.holders -= 1
            if not thing.holders:
                thing.closed = thing.ended = True

    def epoll(self) -> Poller:
        return SimulatedEpoll(self)

    def open_files_limit(self) -> int:
        return self.limit

    def spare(self) -> int:
        return self.install([])

    def accept(self, listener: int) -> tuple[int, str]:
        queue = self.open[listener]
        assert isinstance(queue, list)
        if not queue:
            fail(errno.EAGAIN)
        fd = self.install(queue[0])
        return fd, queue.pop(0).remote

    def peek(self, fd: int, size: int) -> bytes:
        socket = self.socket(fd)
        return bytes(socket.inbox[:size]) or socket.read(size)

    def ends(self, fd: int) -> Pair | None:
        return Pair(self.socket(fd).remote, 56324, "198.51.100.7", 443)

    def dial(self, address: Address, mark: int | None = None, source: str = "") -> tuple[int, int]:
        code = self._world.refusing.get(str(address))
        if code is not None:
            return -1, code
        socket = Socket(self._world, address)
        socket.mark, socket.source = mark, source
        socket.near = f"{source or '198.51.100.1'}:{next(self._world.ports)}"
        self._world.dials.append(socket)
        return self.install(socket), errno.EINPROGRESS

    def connect_error(self, fd: int) -> int:
        return self.socket(fd).connect_error or self.socket(fd).error

    def send_fin(self, fd: int) -> None:
        self.socket(fd).ended = True

    def end_both(self, fd: int) -> None:
        self.socket(fd).ended = True

    def send_reset(self, fd: int) -> None:
        self.socket(fd).reset = True

    def listen(self, fd: int, backlog: int) -> None:
        self.refusing.discard(fd)

    def refuse(self, fd: int) -> None:
        self.refusing.add(fd)

    def prepare_listener(self, fd: int, *, transparent: bool = False) -> None:
        self.transparent[fd] = transparent

    def _local_name(self, fd: int) -> str:
        return self.socket(fd).near

    def _peer_name(self, fd: int) -> str:
        return self.socket(fd).far

    def _redirected_from(self, fd: int) -> str:
        return self.socket(fd).destination

    def address_of(self, fd: int) -> str:
        return "127.0.0.1:1"
