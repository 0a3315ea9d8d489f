"""System calls on real sockets, by the compiled module and by its twin in Python."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from proxy import calls
from proxy.compiled import source

DESCRIPTORS = Path("/proc/self/fd")
MEGABYTE = bytes(range(256)) * 4096


def twin() -> Any:
    """The module in Python, whatever the proxy runs with."""
    spec = spec_from_loader("calls_in_python", SourceFileLoader("calls_in_python", str(source("proxy.calls"))))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=[pytest.param("in C", marks=pytest.mark.in_c), "in Python"])
def system(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = calls.Calls() if request.param == "in C" else twin().Calls()
    yield made
    made.close()


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@pytest.fixture
def pairs() -> Iterator[list[socket.socket]]:
    """From a sender over `source` and `target` to a receiver."""
    made = [*tcp(), *tcp()]
    yield made
    for one in made:
        one.close()


def arrived(one: socket.socket) -> None:
    assert select.select([one], [], [], 5)[0]


def received(one: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        arrived(one)
        data += one.recv(size - len(data))
    return data


def pipes() -> set[int]:
    """Descriptors of this process that are ends of pipes."""
    return {int(fd.name) for fd in DESCRIPTORS.iterdir() if fd.is_fifo()}


def holds(fds: set[int]) -> list[int]:
    """Those of these pipes with something in them, which the next connection would be sent."""
    return select.select(fds, [], [], 0)[0]


def test_splice_passes_bytes_on(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, receiver = pairs
    sender.send(b"hello")
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 131072) == 5
    assert system.left == b""
    assert received(receiver, 5) == b"hello"
    assert system.splices


def test_splice_takes_no_more_than_it_is_told(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, receiver = pairs
    sender.send(b"hello")
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 2) == 2
    assert received(receiver, 2) == b"he"
    assert source.recv(10) == b"llo"


def test_splice_of_nothing_and_at_the_end(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, _ = pairs
    assert system.splice(source.fileno(), target.fileno(), 131072) == 0
    sender.shutdown(socket.SHUT_WR)
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 131072) == 0
    assert system.read(source.fileno(), 10) == b""


def test_what_a_full_target_does_not_take_is_left_and_the_pipe_is_empty(
    system: Any, pairs: list[socket.socket]
) -> None:
    sender, source, target, receiver = pairs
    target.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = passed = 0
    others = pipes()
    while not system.left:
        sent += sender.send(MEGABYTE[: 256 * 100])
        arrived(source)
        count = system.splice(source.fileno(), target.fileno(), 131072)
        passed += count
    assert len(pipes() - others) == 2
    assert holds(pipes() - others) == []
    passed -= len(system.left)
    left = system.left
    got = received(receiver, passed)
    rest = left
    while rest:
        assert select.select([], [target], [], 5)[1]
        rest = rest[system.write(target.fileno(), rest) :]
        got += receiver.recv(1 << 20) if select.select([receiver], [], [], 0)[0] else b""
    got += received(receiver, passed + len(left) - len(got))
    assert got == (MEGABYTE[: 256 * 100] * (sent // 25600 + 1))[: len(got)]


def test_bytes_for_a_target_that_is_gone_are_left_for_nobody_else(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, _ = pairs
    others = pipes()
    target.shutdown(socket.SHUT_WR)
    sender.send(b"secret")
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 131072) == 6
    assert system.left == b"secret"
    assert holds(pipes() - others) == []


def test_reset_of_the_source_is_a_failure(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, _ = pairs
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sender.close()
    arrived(source)
    with pytest.raises(ConnectionResetError):
        system.splice(source.fileno(), target.fileno(), 131072)


def test_urgent_bytes_do_not_stop_a_stream(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, receiver = pairs
    sender.send(b"one")
    sender.send(b"!", socket.MSG_OOB)
    sender.send(b"two")
    got = b""
    while len(got) < 6:
        arrived(source)
        if not system.splice(source.fileno(), target.fileno(), 131072):
            system.relay(source.fileno(), target.fileno(), 16384)
        got += receiver.recv(100) if select.select([receiver], [], [], 0.01)[0] else b""
    assert got == b"onetwo"


def test_unix_sockets_are_spliced_too(system: Any) -> None:
    sender, source = socket.socketpair()
    target, receiver = socket.socketpair()
    with sender, source, target, receiver:
        sender.send(b"hello")
        assert system.splice(source.fileno(), target.fileno(), 131072) == 5
        assert receiver.recv(10) == b"hello"


def test_without_descriptors_for_a_pipe_bytes_are_copied(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, receiver = pairs
    sender.send(b"hello")
    arrived(source)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = pipes()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        count = system.splice(source.fileno(), target.fileno(), 131072)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert count == 5
    assert received(receiver, 5) == b"hello"
    assert pipes() == before
    assert system.splices


def test_where_splice_is_refused_bytes_are_copied_from_then_on(system: Any, pairs: list[socket.socket]) -> None:
    """Here by the kernel for an odd target of splice(2): a file is no socket to take bytes from."""
    sender, source, target, receiver = pairs
    with Path("/proc/self/mem").open("rb") as odd, pytest.raises(OSError, match=r"non-socket|Input/output"):
        system.splice(odd.fileno(), target.fileno(), 16)
    assert not system.splices
    sender.send(b"hello")
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 131072) == 5
    assert received(receiver, 5) == b"hello"


def test_pipe_takes_two_descriptors_in_all_and_they_are_given_back(system: Any, pairs: list[socket.socket]) -> None:
    sender, source, target, _ = pairs
    before = pipes()
    for _ in range(5):
        sender.send(b"hello")
        arrived(source)
        system.splice(source.fileno(), target.fileno(), 131072)
    assert len(pipes()) == len(before) + 2
    system.close()
    assert pipes() == before
    sender.send(b"again")
    arrived(source)
    assert system.splice(source.fileno(), target.fileno(), 131072) == 5


@pytest.mark.parametrize("size", [1, 16384, 16385, 65536, 1 << 20])
def test_reading_gives_what_came(system: Any, pairs: list[socket.socket], size: int) -> None:
    sender, source, _, _ = pairs
    sender.send(MEGABYTE[:30000])
    arrived(source)
    data = b""
    while len(data) < 30000:
        arrived(source)
        piece = system.read(source.fileno(), size)
        assert 0 < len(piece) <= size
        data += piece
        if size == 1 and len(data) == 10:
            data += received(source, 30000 - 10)
    assert data == MEGABYTE[:30000]
