"""The coupling of the data plane to the event loop."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig
from proxy.kernel import Kernel
from proxy.reactor import Reactor
from proxy.server import ProxyServer
from proxy.ticker import Loop, Ticker
from tests.proxy.sockets import bound, listening

LOOPBACK = Address.parse("127.0.0.1:0")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(scenario, 10))


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

    run(scenario())


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

    run(scenario())


class Busy(Reactor):
    """A reactor that always has something to do: a descriptor that is readable and that nobody reads."""

    __slots__ = ("always", "batches", "then")

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__(Kernel())
        self.always, far_end = socket.socketpair()
        far_end.send(b"x")
        far_end.close()
        self.reserve(self.always.fileno())
        self.epoll.register(self.always.fileno(), select.EPOLLIN)
        self.batches = 0
        self.then = then

    def _ready_otherwise(self, fd: int) -> None:
        if fd == self.always.fileno():
            self.batches += 1
            self.then()
        else:
            super()._ready_otherwise(fd)

    def close(self) -> None:  # type: ignore[override]  # the end of the test, not of a connection
        self.always.close()
        self.epoll.close()
        self.acceptor.close()


@contextmanager
def ticking(reactor: Busy) -> Iterator[Ticker]:
    ticker = Ticker(reactor)
    ticker.start()
    try:
        yield ticker
    finally:
        ticker.stop()
        reactor.close()


def test_control_plane_gets_its_turn_beside_a_busy_data_plane() -> None:
    async def scenario() -> None:
        far_end, end = socket.socketpair()
        with ticking(Busy()) as _, far_end, end:
            for sock in (far_end, end):
                sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.01)
            await loop.sock_sendall(far_end, b"one")
            assert await loop.sock_recv(end, 10) == b"one"

    run(scenario())


def test_data_plane_gets_its_turn_beside_a_busy_control_plane() -> None:
    async def scenario() -> None:
        reactor = Busy()
        with ticking(reactor):
            for _ in range(10):
                before = reactor.batches
                await asyncio.sleep(0)
                assert reactor.batches > before

    run(scenario())


def test_what_a_tick_has_for_the_loop_is_done_at_once() -> None:
    async def scenario() -> None:
        loop, done, later = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def once() -> None:
            reactor.epoll.unregister(reactor.always.fileno())  # from now on there is nothing else
            loop.call_soon(done.set)
            loop.call_later(0.001, later.set)

        reactor = Busy(once)
        with ticking(reactor):
            await done.wait()
            await later.wait()

    run(scenario())


def test_bug_in_a_tick_ends_no_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        reactor = Busy()
        with ticking(reactor):
            reactor.agenda = None  # type: ignore[assignment]  # a bug
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    run(scenario())
    assert {record.message for record in caplog.records} == {"a bug in a tick"}


def test_frozen_it_does_not_tick() -> None:
    async def scenario() -> None:
        reactor = Busy()
        with ticking(reactor) as ticker:
            await asyncio.sleep(0)
            ticker.stop()
            before = reactor.batches
            await asyncio.sleep(0.01)
            assert reactor.batches == before, "it ticked while frozen"

    run(scenario())


def test_loop_of_another_kind_is_refused() -> None:
    async def scenario() -> None:
        reactor = Busy()
        with pytest.raises(RuntimeError, match="loop_factory"):
            Ticker(reactor).attach()
        reactor.close()

    asyncio.run(scenario())
