"""Real sockets, on the loopback of this machine or in network namespaces of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hotswap.address import Address
from hotswap.errors import HotswapError
from tests.kit.networks import Network, needed
from vm_agent.network import sockets
from vm_agent.network.listening import Finding
from vm_agent.network.sockets import Watch

HOLDER = """
import socket, sys
number = int(sys.argv[1])
if number:
    kept = socket.socket(fileno=number)
else:
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", int(sys.argv[2])))
    kept.listen(8)
print(*kept.getsockname()[:2], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(
    exits: ExitStack, family: int = socket.AF_INET, backlog: int = 8, *, reuse: bool = False
) -> socket.socket:
    sock = exits.enter_context(socket.socket(family))
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.listen(backlog)
    return sock


def address(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"unix:{name}" if isinstance(name, str) else str(Address(sock.family, *name[:2]))


def holder(exits: ExitStack, copy: socket.socket | None = None, port: int = 0) -> tuple[int, str]:
    """A process that has a copy, or listens itself; its pid, and where."""
    number = 0 if copy is None else copy.fileno()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(number), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[number] if number else [],
        text=True,
    )
    exits.callback(end, process)
    assert process.stdout
    name, bound = process.stdout.readline().split()
    return process.pid, f"{name}:{bound}"


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("", timeout=10)


def connect(exits: ExitStack, sock: socket.socket, count: int) -> None:
    for _ in range(count):
        client = exits.enter_context(socket.socket(sock.family))
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(sock.getsockname())


def kinds(findings: tuple[Finding, ...]) -> list[str]:
    return [one.kind for one in findings]


def test_listeners_of_all_three_kinds_are_seen(exits: ExitStack, tmp_path: Path) -> None:
    unix = exits.enter_context(socket.socket(socket.AF_UNIX))
    unix.bind(str(tmp_path / "edge.sock"))
    unix.listen(3)
    made = [listening(exits), listening(exits, socket.AF_INET6), unix]
    promised = [address(sock) for sock in made]
    assert Watch().check(promised, os.getpid()) == ()
    seen = {one.address: one for one in sockets.look(promised, os.getpid()).listeners}
    assert [seen[text].inode for text in promised] == [os.fstat(sock.fileno()).st_ino for sock in made]
    assert [seen[text].backlog for text in promised] == [8, 8, 3]


def test_an_abstract_name_that_looks_like_the_path_is_another_address(exits: ExitStack, tmp_path: Path) -> None:
    path = str(tmp_path / "edge.sock")
    abstract = exits.enter_context(socket.socket(socket.AF_UNIX))
    abstract.bind(f"\0{path}")
    abstract.listen()
    assert kinds(Watch().check([f"unix:{path}"], os.getpid())) == ["absent"]


def test_one_that_is_bound_and_does_not_listen_is_absent(exits: ExitStack) -> None:
    sock = exits.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    assert kinds(Watch().check([address(sock)], os.getpid())) == ["absent"]


def test_it_can_be_asked_from_within_an_event_loop(exits: ExitStack) -> None:
    sock = listening(exits)

    async def ask() -> tuple[Finding, ...]:
        return Watch().check([address(sock)], os.getpid())

    assert asyncio.run(ask()) == ()


def test_a_listener_of_another_process_is_found_with_its_name(exits: ExitStack) -> None:
    pid, where = holder(exits)
    (found,) = Watch().check([where], os.getppid())
    assert found.kind == "foreign"
    assert f"to process {pid} (" in found.text
    assert Watch().check([where], pid) == ()


def test_the_agents_copy_of_a_listener_does_not_confuse(exits: ExitStack) -> None:
    sock = listening(exits)
    pid, where = holder(exits, sock)
    watch = Watch()
    assert watch.check([where], pid) == ()
    assert watch.check([where], pid, everybody=True) == ()


def test_once_the_sidecar_died_the_agents_copy_is_what_is_there(exits: ExitStack) -> None:
    sock = listening(exits)
    with ExitStack() as brief:
        pid, where = holder(brief, sock)
    assert Watch().check([where], 0) == ()
    assert kinds(Watch().check([where], pid)) == ["foreign"], "it is no more, and so has nothing"


def test_who_else_has_a_copy_is_found_by_looking_at_everybody(exits: ExitStack) -> None:
    sock = listening(exits)
    first, where = holder(exits, sock)
    second, _ = holder(exits, sock)
    watch = Watch()
    assert watch.check([where], first) == ()
    (found,) = watch.check([where], first, everybody=True)
    assert (found.kind, f"process {second} (" in found.text) == ("shared", True)
    assert watch.check([where], first, [second], everybody=True) == ()


def test_somebody_who_takes_a_share_of_the_connections_is_found(exits: ExitStack) -> None:
    sock = listening(exits, reuse=True)
    pid, where = holder(exits, port=sock.getsockname()[1])
    (found,) = Watch().check([where], os.getpid())
    assert (found.kind, f"process {pid} (" in found.text) == ("rival", True)


def test_an_accept_queue_that_overflows_is_found(exits: ExitStack) -> None:
    sock = listening(exits, backlog=4)
    watch = Watch()
    assert watch.check([address(sock)], os.getpid()) == ()
    connect(exits, sock, 3)
    assert watch.check([address(sock)], os.getpid()) == ()
    connect(exits, sock, 5)
    full = watch.check([address(sock)], os.getpid())
    assert kinds(full) == ["queue", "overflow"]
    assert full[0].text == "5 connections wait to be accepted, of 4 that may"
    for _ in range(5):
        sock.accept()[0].close()
    watch.check([address(sock)], os.getpid())
    assert watch.check([address(sock)], os.getpid()) == (), "nothing was dropped since the last look"


def test_a_queue_of_a_unix_socket_is_found_full(exits: ExitStack, tmp_path: Path) -> None:
    sock = exits.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(tmp_path / "edge.sock"))
    sock.listen(4)
    connect(exits, sock, 4)
    assert kinds(Watch().check([address(sock)], os.getpid())) == ["queue"]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(HotswapError, match="is not an address"):
        Watch().check(["eighty"], os.getpid())


@pytest.mark.all
def test_a_sidecar_in_another_network_namespace_is_looked_at_there(exits: ExitStack) -> None:
    needed()
    network = Network(f"hs{os.getpid():x}s")
    exits.callback(subprocess.run, ["ip", "netns", "del", network.name], check=True)
    pid, where = network.run(holder, exits)
    assert Watch().check([where], pid) == ()
    assert kinds(Watch().check([where], 0)) == ["absent"], "here nobody listens there"
    assert kinds(Watch().check(["127.0.0.1:9"], pid)) == ["absent"]
