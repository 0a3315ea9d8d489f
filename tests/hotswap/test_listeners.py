from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotswap import listeners
from hotswap.address import Address
from hotswap.errors import BindFailed
from hotswap.swappable import ListenerSpec
from tests.kit.ports import loopback, loopback6


class Opened:
    """Descriptors that are closed at the end of a test, whatever became of them."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def bind(self, text: str, *, reuse: bool = False) -> int:
        self.fds.append(listeners.bind(Address.parse(text), reuse=reuse))
        return self.fds[-1]


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    for fd in set(made.fds):
        os.close(fd)


def spec(text: str, name: str = "web") -> ListenerSpec:
    return ListenerSpec(name, Address.parse(text))


def dial(text: str) -> socket.socket:
    address = Address.parse(text)
    sock = socket.socket(address.family)
    sock.settimeout(5)
    try:
        sock.connect(address.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.fixture(params=["IPv4", "IPv6", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "unix":
        return f"unix:{tmp_path / 'web.sock'}"
    return loopback() if request.param == "IPv4" else loopback6()


def test_a_bound_socket_listens_only_when_told(opened: Opened, address: str) -> None:
    fd = opened.bind(address)
    assert not os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    with pytest.raises(ConnectionRefusedError):
        dial(address)
    listeners.listen(fd, 8)
    dial(address).close()
    listeners.listen(fd, 8)  # again, as the next owner does
    dial(address).close()


@pytest.mark.parametrize("reuse", [False, True])
def test_an_address_in_use_cannot_be_bound(opened: Opened, address: str, reuse: bool) -> None:
    listeners.listen(opened.bind(address), 8)
    with pytest.raises(BindFailed, match=r"cannot be bound: Address already in use.*ss -ltnp") as raised:
        opened.bind(address, reuse=reuse)
    assert address in str(raised.value)


def test_in_a_handover_a_conflict_shows_before_anybody_listens(opened: Opened) -> None:
    """With SO_REUSEADDR both binds succeed, and the later listen() fails: too late to refuse."""
    address = loopback()
    opened.bind(address, reuse=True)
    with pytest.raises(BindFailed):
        opened.bind(address, reuse=False)


@pytest.mark.parametrize("reuse", [False, True])
def test_connections_in_time_wait_are_in_nobodys_way(opened: Opened, reuse: bool) -> None:
    address = loopback()
    fd = listeners.bind(Address.parse(address), reuse=True)
    listeners.listen(fd, 8)
    client = dial(address)
    with socket.socket(fileno=fd) as listener:
        accepted, _ = listener.accept()
    accepted.close()  # first to close: TIME_WAIT is ours
    assert client.recv(1) == b""
    client.close()
    opened.bind(address, reuse=reuse)


@pytest.mark.parametrize("address", [loopback, loopback6])
def test_connections_that_outlive_their_listener_are_in_nobodys_way(opened: Opened, address: Callable[[], str]) -> None:
    text = address()
    first = listeners.bind(Address.parse(text), reuse=False)
    with socket.socket(fileno=first) as listener:
        listeners.listen(first, 8)
        with socket.create_connection(listener.getsockname()[:2]) as client:
            accepted, _ = listener.accept()
            with accepted:
                with pytest.raises(BindFailed):
                    opened.bind(text)
                listener.close()
                again = opened.bind(text)
                listeners.listen(again, 8)
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"


def test_ipv6_leaves_ipv4_of_the_same_port_to_others(opened: Opened) -> None:
    port = loopback().rpartition(":")[2]
    listeners.listen(opened.bind(f"[::]:{port}"), 8)
    listeners.listen(opened.bind(f"0.0.0.0:{port}"), 8)


def test_an_address_of_another_machine_cannot_be_bound(opened: Opened) -> None:
    with pytest.raises(BindFailed, match=os.strerror(errno.EADDRNOTAVAIL)):
        opened.bind("192.0.2.1:80")


def test_the_socket_file_of_a_dead_listener_is_replaced(opened: Opened, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'web.sock'}"
    fd = listeners.bind(Address.parse(address), reuse=False)
    listeners.listen(fd, 8)
    os.close(fd)  # as after kill -9
    listeners.listen(opened.bind(address), 8)
    dial(address).close()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_never_removed(opened: Opened, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("data")
    else:
        path.mkdir()
    with pytest.raises(BindFailed):
        opened.bind(f"unix:{path}")
    assert path.is_dir() if kind == "directory" else path.read_text() == "data"


def test_a_socket_file_of_a_living_listener_stays(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    listeners.listen(opened.bind(f"unix:{path}"), 8)
    before = path.stat().st_ino
    with pytest.raises(BindFailed):
        opened.bind(f"unix:{path}")
    assert path.stat().st_ino == before
    dial(f"unix:{path}").close()


def test_a_unix_listener_in_a_missing_directory_is_told_so(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(BindFailed, match="No such file"):
        opened.bind(f"unix:{tmp_path}/missing/web.sock")


def test_listening_fails_with_the_reason() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises((BindFailed, OSError)):
            listeners.listen(reader, 8)
    finally:
        os.close(reader)
        os.close(writer)


# -- what a generation wants and what it inherits ---------------------------------------------------


def test_inherited_listeners_are_found_by_address_whatever_their_name(opened: Opened, address: str) -> None:
    inherited = opened.bind(address)
    listeners.listen(inherited, 8)
    found, surplus = listeners.resolve([spec(address, "another-name")], {address: inherited}, reuse=False)
    assert found == {address: inherited}
    assert surplus == {}


def test_what_was_not_inherited_is_bound_and_what_nobody_wants_is_given_back(opened: Opened) -> None:
    kept, removed, new = loopback(), loopback(), loopback6()
    inherited = {kept: opened.bind(kept), removed: opened.bind(removed)}
    found, surplus = listeners.resolve([spec(kept), spec(new)], inherited, reuse=False)
    opened.fds.append(found[new])
    assert list(found) == [kept, new]
    assert found[kept] == inherited[kept]
    with socket.socket(fileno=os.dup(found[new])) as bound:
        assert bound.getsockname()[1] == Address.parse(new).port
    assert surplus == {removed: inherited[removed]}


def test_a_conflict_closes_what_was_bound_and_nothing_that_was_inherited(opened: Opened) -> None:
    kept, new, taken = loopback(), loopback(), loopback()
    inherited = {kept: opened.bind(kept)}
    listeners.listen(opened.bind(taken), 8)
    with pytest.raises(BindFailed, match=taken):
        listeners.resolve([spec(kept), spec(new), spec(taken)], inherited, reuse=False)
    assert stat.S_ISSOCK(os.fstat(inherited[kept]).st_mode)
    opened.bind(new)  # free again
