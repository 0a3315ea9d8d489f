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

import itertools
from typing import TYPE_CHECKING, cast

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.server import ProxyServer
from proxy.ticker import Ticker
from tests.proxy.dns.asker import ManualAsker
from tests.proxy.heart import ManualHeart
from tests.proxy.simulated_kernel import SimulatedKernel, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotswap.address import Address
    from proxy.config.model import Config
    from proxy.reactor import Reactor


__all__ = ["ManualTicker", "SimulatedKernel", "Socket", "World"]


class NoWatch:
    """Files do not change here, unless a test says so."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def follow(self, paths: Iterable[str]) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class ManualTicker(Ticker):
    """The world ticks; this only knows whether it may."""

    __slots__ = ("running",)

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor)
        self.running = False

    def attach(self) -> None:
        pass

    def renew(self) -> None:
        pass

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
        self.ports = itertools.count(40000)
        """Of the proxy's dials."""
        self.lines: dict[str, list[str]] = {}
        """The lines of access logs by their target."""
        self.queues: dict[Address, list[Socket]] = {}
        """Accept queues by listener address."""
        self.stragglers: list[tuple[ProxyServer, int, ProxyServer]] = []
        """What follows once it is a value: from whom, its serial, to whom."""
        self.retired: list[ProxyServer] = []
        """Former generations that still have connections."""
        self.asker = ManualAsker
        self.kernel = self._boot()
        self.proxy = self._proxy(self.kernel)
        self.proxy.start()
        self.settle()

    def _boot(self) -> SimulatedKernel:
        return SimulatedKernel(self, first_fd=10 + 7 * self.moves, offset=1000.0 + 333.25 * self.moves)

    def _proxy(self, kernel: SimulatedKernel) -> ProxyServer:
        beside = {"heart": ManualHeart, "asker": self.asker, "watch": NoWatch, "beat": NoWatch}
        proxy = ProxyServer(self.config, kernel, ManualTicker, **beside)  # type: ignore[arg-type]  # each fits its key
        proxy.adopt(
            {one.name: kernel.install(self.queues.setdefault(one.address, [])) for one in self.config.listeners}
        )
        return proxy

    # ---- what happens outside ----

    def connect(self, listener: str, remote: str = "192.0.2.1", **addresses: str) -> Socket:
        """A client connects. `addresses` are those of the socket: ``near``, ``far``, ``destination``."""
        socket = Socket(self, remote=remote)
        for name, address in addresses.items():
            setattr(socket, name, address)
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
        if self.moving and not self.greeting:
            self.move()
            self.tick()

    @property
    def greeting(self) -> bool:
        """A TLS handshake with an endpoint is under way. A handover at each step of it would begin it anew forever."""
        connections = self.proxy.reactor.connections.values()
        return any(one.connecting and one.tls is not None for one in connections)

    def tick(self) -> None:
        """A tick polls until nothing is ready; the clock stands still meanwhile."""
        for proxy in (*self.retired, self.proxy):
            proxy.reactor.tick()
            self._send_stragglers()
            assert not proxy.reactor.unflushed, "something was left undone at the end of a tick"
            assert proxy.reactor.bugs <= self.expected_bugs, "a layer raised, see the log"
        self.retired = [proxy for proxy in self.retired if not proxy.idle()]

    def move(self, config: Config | None = None, meanwhile: Callable[[], None] | None = None) -> ProxyServer:
        """A whole handover as `hotswap.Generation` drives it, without its protocol. Returns the source.

        `meanwhile` happens between a first round and the last one, which copies only what has changed by then.
        """
        source = self.proxy
        here = self.kernel.clock()
        self.moves += 1
        kernel = self._boot()
        self.config = config or self.config
        destination = self._proxy(kernel)
        wanted = {str(spec.address) for spec in destination.wanted()}
        source.agree(dict.fromkeys(source.schemas(), 1), wanted)
        destination.accept_descriptors(source.descriptors())
        source.sharing(True)
        copied: dict[int, int] = {}
        if meanwhile is not None:
            self.copy(source, destination, kernel, copied)
            meanwhile()
            here = self.kernel.clock()
        source.freeze()
        self.copy(source, destination, kernel, copied)
        stragglers = {*source.stragglers()}
        destination.expect_stragglers(stragglers)
        destination.restore_shared(source.save_shared(here), kernel.clock())
        destination.start()
        removed = {spec.name: -1 for spec in source.wanted() if str(spec.address) not in wanted}
        self.stragglers += [(source, serial, destination) for serial in stragglers.difference(source.staying())]
        source.retire({*source.staying(), *stragglers}, removed)
        destination.sharing(False)
        self._farewell(source)
        self.kernel, self.proxy = kernel, destination
        if not source.idle():
            self.retired.append(source)
        return source

    def _send_stragglers(self) -> None:
        """Those that are values by now follow. Like real sources, these look until there are none."""
        for source, serial, destination in [*self.stragglers]:
            if serial in source.stragglers():
                continue
            self.stragglers.remove((source, serial, destination))
            value = source.values().get(serial)
            if value is not None:
                kernel = cast("SimulatedKernel", destination.reactor.kernel)
                socket = cast("SimulatedKernel", source.reactor.kernel).socket(value.fd)
                state = value.save(source.reactor.kernel.clock())
                saved = Saved(value.kind, serial, value.changes, state, kernel.install(socket))
                destination.restore(saved, kernel.clock())
                source.forget(serial)
            if not any(one is destination for _, _, one in self.stragglers):
                destination.expect_stragglers(())
            self._farewell(source)

    def _farewell(self, source: ProxyServer) -> None:
        """Nothing follows any more: the source heard that the destination is there for good."""
        if not any(one is source for one, _, _ in self.stragglers):
            source.sharing(False)

    def copy(
        self,
        source: ProxyServer,
        destination: ProxyServer,
        kernel: SimulatedKernel,
        copied: dict[int, int] | None = None,
    ) -> None:
        """One round; `kernel` is the destination's. What it cannot restore stays with its other side.

        `copied` are the change counts of the rounds before: what has not changed is left out, and there already.
        """
        copied = {} if copied is None else copied
        here, there = source.reactor.kernel.clock(), kernel.clock()
        sockets = cast("SimulatedKernel", source.reactor.kernel)
        stragglers = source.stragglers()
        for serial, value in source.values().items():
            if serial in stragglers:
                continue
            if serial in source.staying() or copied.get(serial) == value.changes:
                continue
            copied[serial] = value.changes
            saved = Saved(value.kind, serial, value.changes, value.save(here))
            if serial not in destination.values():
                saved = saved._replace(fd=kernel.install(sockets.socket(value.fd)))
            try:
                destination.restore(saved, there)
            except CannotRestore as reason:
                source.keep([serial], str(reason))
        for serial in [*destination.values()]:
            if serial in source.staying() or serial in stragglers or serial not in source.values():
                destination.forget(serial)
