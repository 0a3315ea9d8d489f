"""What is told to a supervisor, byte by byte, and what is taken from it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotswap import supervisor
from hotswap.supervisor import Passed, Supervisor, address_of, by_address, name_of, passed
from tests.hotswap.toy import no_leak, play
from tests.kit.supervisor import Played
from tests.kit.waiting import readable


def listener(address: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, 0))
    made.listen()
    return made


@contextmanager
def no_descriptors() -> Iterator[None]:
    """None can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- telling ---------------------------------------------------------------------------------------------------------


def test_lines_and_descriptors_arrive(tmp_path: Path) -> None:
    with no_leak(), Played(tmp_path) as played, listener() as sock:
        told = Supervisor(str(played.path))
        told.tell("FDSTORE=1", "FDNAME=web", fds=[sock.fileno()])
        told.tell("READY=1", "MAINPID=7")
        played.hear()
        assert [one.lines for one in played.messages] == [
            {"FDSTORE": "1", "FDNAME": "web"},
            {"READY": "1", "MAINPID": "7"},
        ]
        [(name, fd)] = played.stored
        assert name == "web"
        assert os.path.sameopenfile(fd, sock.fileno())
        told.close()


def test_an_abstract_name_is_a_socket_too() -> None:
    name = f"hotswap-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        told = Supervisor(f"@{name}")
        told.tell("READY=1")
        assert sock.recv(100) == b"READY=1"
        told.close()


def test_without_a_supervisor_nothing_happens() -> None:
    with no_leak():
        told = Supervisor()
        told.tell("READY=1")
        barrier = told.barrier()
        assert readable(barrier, within=0)
        os.close(barrier)


def test_one_that_went_away_is_told_nothing_until_it_is_back(tmp_path: Path) -> None:
    with no_leak(), Played(tmp_path) as played:
        told = Supervisor(str(played.path))
        told.tell("READY=1")
        played.go_away()
        told.tell("STATUS=lost")
        barrier = told.barrier()
        assert readable(barrier, within=0)  # nobody to wait for
        os.close(barrier)
        played.restart()
        told.tell("STATUS=heard")
        played.hear()
        assert [one.lines for one in played.messages] == [{"STATUS": "heard"}]
        told.close()


def test_one_that_was_started_anew_is_told_at_once(tmp_path: Path) -> None:
    with Played(tmp_path) as played:
        told = Supervisor(str(played.path))
        told.tell("READY=1")
        played.restart()
        told.tell("STATUS=heard")
        played.hear()
        assert [one.lines for one in played.messages] == [{"STATUS": "heard"}]
        told.close()


def test_what_finds_no_room_comes_later_in_order(tmp_path: Path) -> None:
    """A queue of datagrams is short: net.unix.max_dgram_qlen, unix(7)."""
    count = 700

    async def scenario() -> None:
        with no_leak(), Played(tmp_path) as played, listener() as sock:
            told = Supervisor(str(played.path))
            for number in range(count):
                told.tell(f"STATUS={number}")
            told.tell("FDSTORE=1", fds=[sock.fileno()])
            barrier = told.barrier()
            sock.close()  # what waits has copies
            while not played.barriers:
                played.hear()
                await asyncio.sleep(0)
            assert [one.lines.get("STATUS") for one in played.messages[:count]] == [str(one) for one in range(count)]
            assert len(played.stored) == 1
            assert not readable(barrier, within=0)
            played.lift()
            assert readable(barrier, within=30)
            os.close(barrier)
            told.close()

    play(scenario())


def test_one_that_ends_with_messages_unread_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        with no_leak(), Played(tmp_path) as played:
            told = Supervisor(str(played.path))
            for number in range(700):
                told.tell(f"STATUS={number}")
            barrier = told.barrier()
            played.go_away()
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(barrier, gone.set)
            await gone.wait()
            asyncio.get_running_loop().remove_reader(barrier)
            os.close(barrier)
            told.close()

    play(scenario())


def test_copies_that_find_no_room_do_not_keep_the_rest_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand listeners, and a supervisor that is busy: it has to hear READY."""
    monkeypatch.setattr(supervisor, "_QUEUE", 20)

    async def scenario() -> None:
        with no_leak(), Played(tmp_path) as played, listener() as sock:
            told = Supervisor(str(played.path))
            for number in range(1000):
                told.tell("FDSTORE=1", f"FDNAME={number}", fds=[sock.fileno()])
            told.tell("READY=1")
            while played.find(READY="1") is None:
                played.hear()
                await asyncio.sleep(0)
            told.close()

    play(scenario())


def test_without_descriptors_nobody_waits_for_ever(tmp_path: Path) -> None:
    """A source that gave everything away ends when the supervisor knows, or had its time to."""

    async def scenario() -> None:
        with no_leak(), Played(tmp_path) as played:
            told = Supervisor(str(played.path))
            for number in range(700):
                told.tell(f"STATUS={number}")
            heard = asyncio.Event()
            with no_descriptors():
                told.tell("FDSTORE=1", fds=[0])
                told.when_heard(heard.set, 0.01)
            await heard.wait()
            told.close()

    play(scenario())


# -- the environment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "address", "watchdog", "left"),
    [
        ({}, "", 0.0, {}),
        ({"NOTIFY_SOCKET": "/run/n"}, "/run/n", 0.0, {"NOTIFY_SOCKET": "/run/n"}),
        ({"NOTIFY_SOCKET": "@n"}, "@n", 0.0, {"NOTIFY_SOCKET": "@n"}),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, "", 0.0, {"NOTIFY_SOCKET": "vsock:2:1"}),
        ({"WATCHDOG_USEC": "3000000"}, "", 3.0, {"WATCHDOG_USEC": "3000000"}),
        ({"WATCHDOG_USEC": "many"}, "", 0.0, {"WATCHDOG_USEC": "many"}),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, "", 0.0, {}),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, "", 3.0, {"WATCHDOG_USEC": "3000000"}),
    ],
)
def test_a_successor_hears_the_same(
    environment: dict[str, str], address: str, watchdog: float, left: dict[str, str]
) -> None:
    told = Supervisor.of_environment(environment)
    assert (told.address, told.watchdog) == (address, watchdog)
    assert environment == left


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_what_was_passed_to_another_process_is_not_taken(pid: str) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": pid, "LISTEN_FDNAMES": "web", "PATH": "/bin"}
    assert passed(environment) == []
    assert environment == {"PATH": "/bin"}


def test_what_was_passed_is_named_and_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as first, listener() as second:
        fds = sorted(sock.fileno() for sock in (first, second))
        monkeypatch.setattr(supervisor, "FIRST", fds[0])
        for fd in fds:
            os.set_inheritable(fd, True)
        count = fds[1] - fds[0] + 2  # one more than there is
        environment = {"LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "web"}
        found = passed(environment)
        assert found[0] == Passed(fds[0], "web")
        assert Passed(fds[1], "") in found
        assert not any(os.get_inheritable(fd) for fd in fds)
        assert environment == {}


# -- which listener is which ---------------------------------------------------------------------------------------


def test_a_listener_is_known_by_its_address(tmp_path: Path) -> None:
    with listener() as four, listener("::1") as six, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert str(address_of(four.fileno())) == f"127.0.0.1:{four.getsockname()[1]}"
        assert str(address_of(six.fileno())) == f"[::1]:{six.getsockname()[1]}"
        assert str(address_of(unix.fileno())) == f"unix:{tmp_path / 's'}"


def test_what_is_no_listener_of_ours_is_closed() -> None:
    with no_leak(), socket.socket(socket.AF_UNIX) as abstract, listener() as good:
        abstract.bind(f"\0hotswap-{os.getpid()}")
        read, write = os.pipe()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
        fds = [(read, "read"), (write, "write"), (udp, "udp"), (os.dup(abstract.fileno()), "abstract")]
        kept, useless = by_address([*(Passed(*one) for one in fds), Passed(os.dup(good.fileno()), "good")])
        assert useless == ["read", "write", "udp", "abstract"]
        assert [*kept] == [str(address_of(good.fileno()))]
        assert not os.get_blocking(good.fileno())
        os.close(*kept.values())


def test_of_two_with_one_address_the_first_is_kept() -> None:
    """A socket unit's and the store's are mostly the same; with SO_REUSEPORT they need not be."""
    with no_leak(), socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", 0))
        other.bind(one.getsockname())
        fds = [os.dup(sock.fileno()) for sock in (one, one, other)]
        kept, useless = by_address([Passed(fd, f"name{at}") for at, fd in enumerate(fds)])
        assert list(kept.values()) == fds[:1]
        assert useless == ["name2"]
        os.close(fds[0])


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1:80", "127.0.0.1%3A80"),
        ("[::1]:80", "[%3A%3A1]%3A80"),
        ("unix:/run/a b", "unix%3A/run/a%20b"),
    ],
)
def test_a_stored_listener_is_called_by_its_address(address: str, name: str) -> None:
    assert name_of(address) == name


def test_a_name_is_never_too_long() -> None:
    one, other = (name_of(f"unix:/{'ä' * 52}{end}") for end in "ab")
    assert one != other
    assert len(one) <= 255


def test_it_is_one_message_an_import_away() -> None:
    """No library is loaded for it."""
    code = "import sys, hotswap.supervisor; sys.exit('ctypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
