"""The reactor on real sockets."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from hotswap.address import Address
from hotswap.swappable import Saved
from proxy.connection import HIGH
from proxy.kernel import Kernel
from tests.kit.descriptors import no_free_descriptor
from tests.proxy.sockets import Bench, bound, listening, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.server import ProxyServer

LOOPBACK = Address.parse("127.0.0.1:0")


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Benches that are closed however the test ends."""
    made: list[Bench] = []

    def make(
        front: Address = LOOPBACK, backs: Sequence[Address] = (LOOPBACK,), max_connections: int | None = None
    ) -> Bench:
        made.append(Bench(front, backs, max_connections=max_connections))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


@pytest.mark.parametrize("family", ["127.0.0.1:0", "[::1]:0", "unix"])
def test_relays_over_every_address_family(family: str, tmp_path: Path, make_bench: Callable[..., Bench]) -> None:
    front, back = (Address.parse(f"unix:{tmp_path}/{end}" if family == "unix" else family) for end in ("f", "b"))
    bench = make_bench(front, [back])
    client, server = bench.pair()
    client.send(b"ping")
    assert bench.receive(server, 4) == b"ping"
    server.send(b"pong")
    assert bench.receive(client, 4) == b"pong"
    remote = next(one["remote"] for one in bench.proxy.connections() if "remote" in one)
    assert remote == {"127.0.0.1:0": "127.0.0.1", "[::1]:0": "::1", "unix": "unix"}[family]
    client.shutdown(socket.SHUT_WR)
    bench.ends(server)
    server.close()
    bench.ends(client)
    bench.rest()
    assert not bench.proxy.values()


def test_small_packets_are_not_delayed(bench: Bench) -> None:
    bench.pair()
    bench.rest()
    for connection in bench.proxy.values().values():
        with socket.socket(fileno=os.dup(connection.fd)) as copy:
            assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_slow_reader_stops_the_sender_and_gets_every_byte(bench: Bench) -> None:
    client, server = bench.pair()
    payload = os.urandom(1 << 20) * 24
    sent = 0
    while True:
        try:
            sent += client.send(payload[sent:])
        except BlockingIOError:
            bench.rest()
            try:
                sent += client.send(payload[sent:])
            except BlockingIOError:
                break
    assert sent < len(payload), "the buffers of the kernel are larger than this test believes"
    assert max(len(connection.outbox) for connection in bench.proxy.values().values()) < 2 * HIGH
    got = bytearray()
    while len(got) < len(payload):
        got += bench.receive(server, 1)
        try:
            sent += client.send(payload[sent:])
        except BlockingIOError:
            pass
    assert got == payload


def test_no_byte_gets_stuck_with_many_streams_in_bursts(bench: Bench) -> None:
    """An edge that is lost shows here: a stream that stops for good."""
    random = Random(1)
    payload = random.randbytes(700_000)
    pairs = [bench.pair() for _ in range(12)]
    flows = [Flow(*ends) for pair in pairs for ends in (pair, pair[::-1])]

    def all_done() -> bool:
        for flow in random.sample(flows, k=len(flows) // 2):
            flow.move(payload, random.choice([1, 100, 16384, 16385, 65536, 200_000]))
        return all(flow.ended for flow in flows)

    bench.until(all_done)
    assert all(flow.got == payload for flow in flows)
    bench.until(lambda: not bench.proxy.values())


class Flow:
    """One direction of a stream, in portions of any size."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self.sender, self.receiver = sender, receiver
        self.sent = 0
        self.got = bytearray()
        self.ended = False

    def move(self, payload: bytes, size: int) -> None:
        """Send and receive up to `size` bytes, whatever of it is possible now."""
        with suppress(BlockingIOError):
            if self.sent < len(payload):
                self.sent += self.sender.send(payload[self.sent : self.sent + size])
                if self.sent == len(payload):
                    self.sender.shutdown(socket.SHUT_WR)
        with suppress(BlockingIOError):
            if not self.ended:
                data = self.receiver.recv(size)
                self.got += data
                self.ended = not data


def test_half_closed_either_way(bench: Bench) -> None:
    client, server = bench.pair()
    client.send(b"question")
    client.shutdown(socket.SHUT_WR)
    assert bench.receive(server, 100) == b"question"
    server.send(b"answer" * 1000)
    server.shutdown(socket.SHUT_WR)
    assert bench.receive(client, 100_000) == b"answer" * 1000
    bench.until(lambda: not bench.proxy.values())


@pytest.mark.parametrize("side", [0, 1])
def test_reset_passes_through(bench: Bench, side: int) -> None:
    ends = bench.pair()
    bench.rest()
    reset(ends[side])
    bench.is_reset(ends[1 - side])
    assert not bench.proxy.values()


def test_refused_dial_goes_to_the_next_endpoint_and_the_last_one_resets(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(backs=[LOOPBACK, LOOPBACK])
    bench.upstreams[0].close()
    client = bench.client()
    server = bench.server(1)
    client.send(b"x")
    assert bench.receive(server, 1) == b"x"
    bench.upstreams[1].close()
    bench.is_reset(bench.client())


def test_hang_up_while_paused_does_not_spin(bench: Bench) -> None:
    client, server = bench.pair()
    bench.rest()
    downstream = next(iter(bench.proxy.values().values()))
    downstream.pause()
    downstream.shut()
    bench.rest()
    client.shutdown(socket.SHUT_WR)
    bench.rest()
    assert bench.proxy.reactor.epoll.poll(0) == []
    client.close()
    downstream.resume()
    bench.proxy.reactor.settle()
    bench.ends(server)


# ---- other processes hold copies ----


def test_connection_ends_though_a_copy_is_held_elsewhere(bench: Bench) -> None:
    client, server = bench.pair()
    bench.rest()
    copies = [os.dup(connection.fd) for connection in bench.proxy.values().values()]
    bench.proxy.sharing(True)
    server.close()
    bench.ends(client)
    client.close()
    bench.until(lambda: not bench.proxy.values())
    for copy in copies:
        os.close(copy)


def test_reset_passes_though_a_copy_is_held_elsewhere(bench: Bench) -> None:
    client, server = bench.pair()
    bench.rest()
    copies = [os.dup(connection.fd) for connection in bench.proxy.values().values()]
    bench.proxy.sharing(True)
    reset(server)
    bench.is_reset(client)
    for copy in copies:
        os.close(copy)


def restore_second(bench: Bench) -> ProxyServer:
    """A second proxy in the same process, inert, with copies of everything."""
    source, destination = bench.proxy, bench.boot()
    source.sharing(True)
    source.freeze()
    now = source.reactor.kernel.clock()
    for serial, value in source.values().items():
        saved = Saved(value.kind, serial, value.changes, value.save(now), os.dup(value.fd))
        destination.restore(saved, now)
    destination.restore_shared(source.save_shared(now), now)
    return destination


def test_restored_connections_are_inert_until_started_and_then_lack_nothing(bench: Bench) -> None:
    client, server = bench.pair()
    bench.rest()
    client.send(b"early")
    destination = restore_second(bench)
    assert bench.proxy.reactor.epoll.poll(0.1), "the source can still read it"
    source = bench.proxy
    bench.proxies.append(destination)
    destination.start()
    source.retire((), {})
    assert source.idle()
    assert bench.receive(server, 5) == b"early"
    server.send(b"late")
    assert bench.receive(client, 4) == b"late"
    source.reactor.tick()
    source.sharing(False)
    server.close()
    bench.ends(client)


def test_forgotten_copies_leave_the_connection_alone(bench: Bench) -> None:
    client, server = bench.pair()
    bench.rest()
    destination = restore_second(bench)
    for serial in list(destination.values()):
        destination.forget(serial)
    bench.proxy.sharing(False)
    bench.proxy.thaw()
    client.send(b"still there")
    assert bench.receive(server, 11) == b"still there"
    destination.reactor.epoll.close()
    destination.reactor.acceptor.close()


def test_dial_under_way_is_completed_by_the_destination(bench: Bench) -> None:
    back = bench.upstreams[0]
    back.listen(0)
    filler = socket.create_connection(back.getsockname())  # the queue is full: the next SYN is dropped
    bench.open.append(filler)
    client = bench.client()
    client.send(b"hello")
    bench.rest()
    assert any(connection.connecting for connection in bench.proxy.values().values())
    destination = restore_second(bench)
    source = bench.proxy
    bench.proxies.append(destination)
    destination.start()
    source.retire((), {})
    assert bench.server().getpeername() == filler.getsockname()
    server = bench.server()  # a second later, when the SYN is repeated
    assert bench.receive(server, 5) == b"hello"


# ---- accepting ----


class ScarceKernel(Kernel):
    """Believes in a lower limit of open files."""

    limit = 0

    def open_files_limit(self) -> int:
        return self.limit


def test_accepting_stops_before_descriptors_run_out_and_goes_on_when_some_are_freed(bench: Bench) -> None:
    probe = os.dup(0)
    os.close(probe)
    ScarceKernel.limit = probe + 24
    scarce = bench.boot(ScarceKernel())
    bench.proxies.append(scarce)
    scarce.start()
    clients = [bench.client() for _ in range(20)]
    bench.rest()
    accepted = scarce.listeners["front"].connections
    assert 0 < accepted < 20
    assert not scarce.status()["accepting"]
    for number, client in enumerate(clients):
        server = bench.server()
        server.send(b"served")
        assert bench.receive(client, 6) == b"served", number
        client.close()
        server.close()
    bench.until(lambda: scarce.reactor.acceptor.accepting)


def test_exhausted_descriptors_refuse_nobody(bench: Bench) -> None:
    client = bench.client()
    with no_free_descriptor():
        bench.proxy.reactor.tick(0.05)
        assert bench.proxy.reactor.acceptor.accepted == 0
        assert bench.proxy.reactor.epoll.poll(0) == [], "the listener is polled no more"
    server = bench.server()  # accepting is tried again after a pause
    client.send(b"x")
    assert bench.receive(server, 1) == b"x"


def test_listener_takes_no_more_than_its_limit(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(max_connections=2)
    clients = [bench.client() for _ in range(3)]
    bench.rest()
    assert len(bench.proxy.values()) == 4
    servers = [bench.server(), bench.server()]
    clients[0].close()
    servers[0].close()
    bench.until(lambda: bench.proxy.reactor.acceptor.accepted == 3)


def test_draining_proxy_serves_who_waits_and_refuses_who_comes_later(bench: Bench) -> None:
    client = bench.client()
    address = bench.listener.getsockname()
    fd = bench.listener.detach()
    bench.proxy.drain(bench.proxy.reactor.kernel.clock() + 60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    server = bench.server()
    server.send(b"served")
    assert bench.receive(client, 6) == b"served"


# ---- the kernel class ----


def test_dial_tells_what_is_wrong_at_once() -> None:
    fd, code = Kernel().dial(Address.parse("unix:/nonexistent/socket"))
    assert (fd, os.strerror(code)) == (-1, "No such file or directory")


def test_bound_address_is_told_with_its_real_port() -> None:
    with listening(LOOPBACK) as sock:
        assert Kernel().address_of(sock.fileno()) == str(bound(sock))
    with listening(Address.parse("[::1]:0")) as sock:
        assert Kernel().address_of(sock.fileno()) == str(bound(sock))
