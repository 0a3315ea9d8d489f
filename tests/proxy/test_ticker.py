"""The coupling of the data plane to the event loop."""

from __future__ import annotations

import asyncio
import socket

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig
from proxy.kernel import Kernel
from proxy.reactor import Reactor
from proxy.server import ProxyServer
from proxy.ticker import Ticker
from tests.proxy.sockets import bound, listening

LOOPBACK = Address.parse("127.0.0.1:0")


def proxy(front: Address, back: Address, connect_timeout: float = 5.0) -> ProxyServer:
    return ProxyServer(
        Config(
            name="edge",
            listeners=(
                ListenerConfig(name="front", address=front, protocol="tcp", routes=(RouteConfig(cluster="back"),)),
            ),
            clusters=(
                ClusterConfig(name="back", endpoints=(EndpointConfig(address=back),), connect_timeout=connect_timeout),
            ),
        )
    )


def close(server: ProxyServer) -> None:
    server.ticker.stop()
    server.reactor.end_all(reset=False)
    server.reactor.epoll.close()
    server.reactor.acceptor.close()


def test_serves_between_start_and_freeze_and_again_after_thaw() -> None:
    async def scenario() -> None:
        front, back = listening(LOOPBACK), listening(LOOPBACK)
        server = proxy(bound(front), bound(back))
        server.adopt({"front": front.fileno()})
        loop = asyncio.get_running_loop()
        server.start()
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, bound(front).sockaddr)
        upstream, _ = await loop.sock_accept(back)
        await loop.sock_sendall(client, b"one")
        assert await loop.sock_recv(upstream, 10) == b"one"
        server.freeze()
        await loop.sock_sendall(client, b"two")
        for _ in range(3):
            await asyncio.sleep(0)
        assert all(not value.outbox for value in server.values().values())
        receiving = asyncio.ensure_future(loop.sock_recv(upstream, 10))
        done, _ = await asyncio.wait([receiving], timeout=0.05)
        assert not done
        server.thaw()
        assert await receiving == b"two"
        close(server)
        for sock in (front, back, client, upstream):
            sock.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_deadlines_fire_without_any_event() -> None:
    async def scenario() -> None:
        front, back = listening(LOOPBACK), listening(LOOPBACK)
        back.listen(0)
        filler = socket.create_connection(bound(back).sockaddr)  # type: ignore[arg-type]
        server = proxy(bound(front), bound(back), connect_timeout=0.05)
        server.adopt({"front": front.fileno()})
        server.start()
        reader, writer = await asyncio.open_connection(*bound(front).sockaddr[:2])
        try:
            assert await reader.read() == b"", "a reset was expected"
        except ConnectionResetError:
            pass
        else:
            raise AssertionError
        writer.close()
        close(server)
        for sock in (front, back, filler):
            sock.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


class Readable(Reactor):
    """A reactor that always has something to do, and notes when it is asked to."""

    __slots__ = ("end", "ticks")

    def __init__(self, end: socket.socket) -> None:
        super().__init__(Kernel())
        self.end = end
        self.ticks = 0

    def fileno(self) -> int:
        return self.end.fileno()

    def tick(self, timeout: float = 0.0) -> None:
        self.ticks += 1


def test_a_freeze_in_the_turn_that_had_seen_events_comes_before_the_tick() -> None:
    async def scenario() -> None:
        end, far_end = socket.socketpair()
        reactor = Readable(end)
        ticker = Ticker(reactor)
        frozen = asyncio.Event()
        before = 0

        def freeze() -> None:
            nonlocal before
            ticker.stop()
            before = reactor.ticks
            frozen.set()

        ticker.start()
        far_end.send(b"x")
        # The next turn looks at the descriptors, then calls this, then what the descriptors asked for.
        asyncio.get_running_loop().call_soon(freeze)
        await frozen.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert reactor.ticks == before, "it ticked while frozen"
        end.close()
        far_end.close()
        reactor.epoll.close()
        reactor.acceptor.close()

    asyncio.run(scenario())
