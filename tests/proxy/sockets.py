"""The proxy on real sockets, ticked by hand: the kernel is the one thing a simulation cannot prove."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig
from proxy.kernel import Kernel
from proxy.server import ProxyServer
from tests.proxy.simulation import ManualTicker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEADLINE = 30.0


def listening(address: Address) -> socket.socket:
    """A listening socket; port 0 takes any."""
    sock = socket.socket(address.family)
    sock.bind(address.sockaddr)
    sock.listen(512)
    sock.setblocking(False)
    return sock


def bound(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(sock.family, name, 0)
    return Address(sock.family, name[0], name[1])


class Bench:
    """A tcp proxy with one listener, its upstreams, and clients. Close it."""

    def __init__(
        self,
        front: Address,
        backs: Sequence[Address],
        kernel: Kernel | None = None,
        *,
        max_connections: int | None = None,
    ) -> None:
        self.listener = listening(front)
        self.upstreams = [listening(back) for back in backs]
        self.open: list[socket.socket] = [self.listener, *self.upstreams]
        self.config = Config(
            name="edge",
            listeners=(
                ListenerConfig(
                    name="front",
                    address=bound(self.listener),
                    protocol="tcp",
                    routes=(RouteConfig(cluster="back"),),
                    max_connections=max_connections,
                ),
            ),
            clusters=(
                ClusterConfig(
                    name="back",
                    endpoints=tuple(EndpointConfig(address=bound(upstream)) for upstream in self.upstreams),
                    connect_timeout=5.0,
                ),
            ),
        )
        self.proxies = [self.boot(kernel)]
        self.proxy.start()

    def boot(self, kernel: Kernel | None = None) -> ProxyServer:
        proxy = ProxyServer(self.config, kernel, ManualTicker)
        proxy.adopt({"front": self.listener.fileno()})
        return proxy

    @property
    def proxy(self) -> ProxyServer:
        """The one that owns."""
        return self.proxies[-1]

    def client(self) -> socket.socket:
        """A client connects; the proxy need not have accepted yet."""
        sock = socket.socket(self.listener.family)
        sock.setblocking(True)
        sock.settimeout(DEADLINE)
        sock.connect(self.listener.getsockname())
        sock.setblocking(False)
        self.open.append(sock)
        return sock

    def server(self, number: int = 0) -> socket.socket:
        """The upstream's side of the next connection."""
        accepted: list[socket.socket] = []

        def come() -> bool:
            try:
                accepted.append(self.upstreams[number].accept()[0])
            except BlockingIOError:
                return False
            return True

        self.until(come)
        accepted[0].setblocking(False)
        self.open.append(accepted[0])
        return accepted[0]

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = self.client()
        return client, self.server()

    def until(self, condition: Callable[[], bool]) -> None:
        """Tick until it holds."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self.proxy.reactor.tick(0.02)

    def rest(self) -> None:
        """Tick until nothing happens."""
        before = -1
        while before != self.changes():
            before = self.changes()
            self.proxy.reactor.tick(0.02)

    def changes(self) -> int:
        """Grows with whatever the proxy does."""
        reactor = self.proxy.reactor
        return reactor.next_serial + sum(connection.changes for connection in reactor.connections.values())

    def receive(self, sock: socket.socket, count: int) -> bytes:
        """Exactly that many bytes, or what came before the end."""
        got = bytearray()
        ended = False

        def enough() -> bool:
            nonlocal ended
            try:
                data = sock.recv(65536)
            except BlockingIOError:
                return False
            ended = not data
            got.extend(data)
            return ended or len(got) >= count

        if count:
            self.until(enough)
        return bytes(got)

    def ends(self, sock: socket.socket) -> None:
        """A FIN comes, and nothing before it."""
        assert self.receive(sock, 1) == b""

    def is_reset(self, sock: socket.socket) -> None:
        def reset() -> bool:
            try:
                assert sock.recv(100), "a FIN instead of a reset"
            except ConnectionResetError:
                return True
            except BlockingIOError:
                pass
            return False

        self.until(reset)

    def close(self) -> None:
        for proxy in self.proxies:
            for connection in proxy.values().values():
                proxy.reactor.kernel.close(connection.fd)
            proxy.reactor.epoll.close()
            proxy.reactor.acceptor.close()
        for sock in self.open:
            sock.close()


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
