"""The proxy in a simulated world: no sockets, no real time, every run the same.

A `World` holds a real `ProxyServer` on a simulated kernel. A test plays the clients and the servers::

    world = World(tcp_config())
    client = world.connect("db")        # a client connects to the listener "db"
    server = world.dialled()            # the proxy dialled an endpoint: play the server
    server.accept()
    client.send(b"hello")
    assert server.take() == b"hello"    # everything that came since the last look
    server.fin()
    assert client.ended

Each action is followed by ticks until nothing moves. With ``World(..., moving=True)`` every action is followed by a
handover as well: save, restore into a second proxy in a process of its own (other descriptors, another
clock), retire the first. A test that takes the fixture ``world`` runs both ways; ``HOTSWAP_SAVE_RESTORE=0`` or
``=1`` in the environment chooses one of them for the whole suite.
"""

from __future__ import annotations

import errno
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING, NoReturn, cast

from hotswap.address import Address
from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.kernel import Epoll, Kernel
from proxy.server import ProxyServer
from proxy.ticker import Ticker
from tests.proxy.accesslog.lines import NOON, LineSink
from tests.proxy.heart import ManualHeart

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.reactor import Reactor


class Socket:
    """An open file description: the kernel's side of a connection, and what the far end sees and does."""

    def __init__(self, world: World, address: Address | None = None, remote: str = "") -> None:
        self.world = world
        self.address = address
        """Where the proxy dialled to; None for an accepted connection."""
        self.remote = remote
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
        if count == 0:
            fail(errno.EAGAIN)
        if self.room is not None:
            self.room -= count
        self.outbox += data[:count]
        return count


def fail(code: int) -> NoReturn:
    raise OSError(code, errno.errorcode[code])


class SimulatedEpoll:
    """Level-triggered, ascending by descriptor, and strict: the mistakes that the kernel forgives fail."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self.masks: dict[int, int] = {}
        self.closed = False

    def fileno(self) -> int:
        return 3

    def close(self) -> None:
        self.closed = True

    def register(self, fd: int, eventmask: int = 0) -> None:
        assert not self.closed
        assert fd not in self.masks, f"descriptor {fd} is registered twice"
        assert fd in self._kernel.open, f"descriptor {fd} is not open"
        self.masks[fd] = eventmask

    def modify(self, fd: int, eventmask: int) -> None:
        assert self.masks[fd] != eventmask, "a system call that changes nothing"
        self.masks[fd] = eventmask

    def unregister(self, fd: int) -> None:
        del self.masks[fd]

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        ready = []
        for fd, mask in sorted(self.masks.items()):
            events = self._kernel.events(fd) & (mask | EPOLLERR | EPOLLHUP)
            if events:
                ready.append((fd, events))
        return ready[:maxevents]


class SimulatedKernel(Kernel):
    """Descriptors of one process. The clock of a process starts anywhere."""

    def __init__(self, world: World, first_fd: int, offset: float) -> None:
        super().__init__()
        self._world = world
        self._next_fd = first_fd
        self._offset = offset
        self.open: dict[int, Socket | list[Socket]] = {}
        self.limit = 20000
        self.epolls: list[SimulatedEpoll] = []
        self.refusing: set[int] = set()
        """Listeners that were shut down."""
        self.read = self._read
        self.write = self._write  # type: ignore[assignment]
        self.close = self._close
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

    def _read(self, fd: int, size: int) -> bytes:
        return self.socket(fd).read(size)

    def _write(self, fd: int, data: bytes | bytearray) -> int:
        return self.socket(fd).write(data)

    def _close(self, fd: int) -> None:
        thing = self.open.pop(fd)
        for epoll in self.epolls:
            assert epoll.closed or fd not in epoll.masks, "closed before EPOLL_CTL_DEL"
        if isinstance(thing, Socket):
            thing.holders -= 1
            if not thing.holders:
                thing.closed = thing.ended = True

    def epoll(self) -> Epoll:
        epoll = SimulatedEpoll(self)
        self.epolls.append(epoll)
        return cast("Epoll", epoll)

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

    def dial(self, address: Address) -> tuple[int, int]:
        code = self._world.refusing.get(str(address))
        if code is not None:
            return -1, code
        socket = Socket(self._world, address)
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

    def prepare_listener(self, fd: int) -> None:
        pass

    def address_of(self, fd: int) -> str:
        return "127.0.0.1:1"


class ManualTicker(Ticker):
    """The world ticks; this only knows whether it may."""

    __slots__ = ("running",)

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor)
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


class World:
    """One proxy at a time, the clients and the servers around it, and the time."""

    def __init__(self, config: Config, *, moving: bool = False) -> None:
        self.config = config
        self.moving = moving
        self.moves = 0
        self.expected_bugs = 0
        self.time = 0.0
        self.dials: list[Socket] = []
        self.refusing: dict[str, int] = {}
        """Addresses where a dial fails at once, with the errno."""
        self.lines: dict[str, list[str]] = {}
        """The lines of access logs by their target."""
        self.queues: dict[Address, list[Socket]] = {}
        """Accept queues by listener address."""
        self.retired: list[ProxyServer] = []
        """Former generations that still have connections."""
        self.kernel = self._boot()
        self.proxy = self._proxy(self.kernel)
        self.proxy.start()
        self.settle()

    def _boot(self) -> SimulatedKernel:
        return SimulatedKernel(self, first_fd=10 + 7 * self.moves, offset=1000.0 + 333.25 * self.moves)

    def _proxy(self, kernel: SimulatedKernel) -> ProxyServer:
        proxy = ProxyServer(self.config, kernel, ManualTicker, heart=ManualHeart)
        proxy.adopt(
            {one.name: kernel.install(self.queues.setdefault(one.address, [])) for one in self.config.listeners}
        )
        return proxy

    # ---- what happens outside ----

    def connect(self, listener: str, remote: str = "192.0.2.1") -> Socket:
        """A client connects."""
        socket = Socket(self, remote=remote)
        self.queue(listener).append(socket)
        self.settle()
        return socket

    def queue(self, listener: str) -> list[Socket]:
        """The accept queue of a configured listener."""
        return self.queues[next(one.address for one in self.config.listeners if one.name == listener)]

    def dialled(self) -> Socket:
        """The oldest dial of the proxy that nobody looked at yet."""
        return self.dials.pop(0)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.time += seconds
        self.settle()

    # ---- what the proxy does ----

    def settle(self) -> None:
        """Tick until nothing happens; then, if moving, hand over to another process and tick there."""
        self.tick()
        if self.moving:
            self.move()
            self.tick()

    def tick(self) -> None:
        """A tick polls until nothing is ready; the clock stands still meanwhile."""
        for proxy in (self.proxy, *self.retired):
            proxy.reactor.tick()
            assert not proxy.reactor.unflushed, "something was left undone at the end of a tick"
            assert proxy.reactor.bugs <= self.expected_bugs, "a layer raised, see the log"
        self.retired = [proxy for proxy in self.retired if not proxy.idle()]

    def move(self, config: Config | None = None) -> ProxyServer:
        """A whole handover as `hotswap.Generation` drives it, without its protocol. Returns the source."""
        source = self.proxy
        here = self.kernel.clock()
        self.moves += 1
        kernel = self._boot()
        self.config = config or self.config
        destination = self._proxy(kernel)
        wanted = {str(spec.address) for spec in destination.wanted()}
        source.agree({}, wanted)
        source.sharing(True)
        source.freeze()
        self.copy(source, destination, kernel)
        destination.restore_shared(source.save_shared(here), kernel.clock())
        destination.start()
        removed = {spec.name: -1 for spec in source.wanted() if str(spec.address) not in wanted}
        source.retire(source.staying().keys(), removed)
        source.sharing(False)
        destination.sharing(False)
        self.kernel, self.proxy = kernel, destination
        if not source.idle():
            self.retired.append(source)
        return source

    def copy(self, source: ProxyServer, destination: ProxyServer, kernel: SimulatedKernel) -> None:
        """One round; `kernel` is the destination's. What it cannot restore stays with its other side."""
        here, there = source.reactor.kernel.clock(), kernel.clock()
        sockets = cast("SimulatedKernel", source.reactor.kernel)
        for serial, value in source.values().items():
            saved = Saved(value.kind, serial, value.changes, value.save(here))
            if serial in source.staying():
                continue
            if serial not in destination.values():
                saved = saved._replace(fd=kernel.install(sockets.socket(value.fd)))
            try:
                destination.restore(saved, there)
            except CannotRestore as reason:
                source.keep([serial], str(reason))
        for serial in [*destination.values()]:
            if serial in source.staying() or serial not in source.values():
                destination.forget(serial)
