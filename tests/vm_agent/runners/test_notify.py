from __future__ import annotations

import array
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.errors import HotswapError
from tests.kit.descriptors import descriptors
from vm_agent.runners.notify import DESCRIPTOR_LIMIT, MESSAGE_LIMIT, Letter, Message, NotifySocket, parse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"READY=1", Message(ready=True)),
        (b"READY=0", Message()),
        (b"MAINPID=4711\nREADY=1\n", Message(main_pid=4711, ready=True)),
        (b"MAINPID=-1", Message()),
        (b"MAINPID=0", Message()),
        (b"MAINPID=" + b"9" * 30, Message()),
        ("MAINPID=\u0663".encode(), Message()),
        (b"STATUS=well\x1b[31m", Message(status="well[31m")),
        (b"STATUS=", Message(status="")),
        (b"STOPPING=1", Message(stopping=True)),
        (b"WATCHDOG=1", Message(alive=True)),
        (b"WATCHDOG=trigger", Message(hangs=True)),
        (b"WATCHDOG_USEC=1500000", Message(watchdog=1.5)),
        (b"FDSTORE=1\nFDNAME=127.0.0.1%3A80", Message(store=True, name="127.0.0.1%3A80")),
        (b"FDSTORE=1\nFDNAME=a:b", Message(store=True, name="stored")),
        (b"FDSTORE=1\nFDNAME=" + b"n" * 256, Message(store=True, name="stored")),
        (b"FDSTOREREMOVE=1\nFDNAME=web", Message(remove=True, name="web")),
        (b"BARRIER=1", Message(barrier=True)),
        (b"\xff\xfe=1\nUNHEARD_OF=1\nnothing", Message()),
        (b"", Message()),
    ],
)
def test_messages_are_read_as_systemd_reads_them(text: bytes, said: Message) -> None:
    assert parse(text) == said


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message(text: bytes) -> None:
    said = parse(text)
    assert ":" not in said.name


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[NotifySocket]:
    made = NotifySocket(tmp_path / "edge.notify", os.geteuid())
    yield made
    made.close()


def send(path: Path, text: bytes, fds: list[int]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(path))
        sock.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def test_a_message_comes_with_its_sender_and_its_descriptors(bound: NotifySocket) -> None:
    received: list[Letter] = []
    with Path("/dev/null").open() as file:
        send(bound.path, b"FDSTORE=1", [file.fileno()] * DESCRIPTOR_LIMIT)
    assert bound.receive(received.append) == 0
    (letter,) = received
    assert (letter.pid, letter.uid, letter.message.store) == (os.getpid(), os.getuid(), True)
    assert len(letter.fds) == DESCRIPTOR_LIMIT
    for fd in letter.fds:
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_message_that_is_too_long_is_thrown_away_with_its_descriptors(bound: NotifySocket) -> None:
    before = descriptors()
    with Path("/dev/null").open() as file:
        send(bound.path, b"STATUS=" + b"x" * MESSAGE_LIMIT, [file.fileno()])
    received: list[Letter] = []
    assert bound.receive(received.append) == 1
    assert received == []
    assert descriptors() == before


def test_messages_before_come_first_and_some_at_most_at_once(bound: NotifySocket) -> None:
    for number in range(5):
        send(bound.path, b"STATUS=%d" % number, [])
    received: list[Letter] = []
    bound.receive(received.append)
    assert [letter.message.status for letter in received] == ["0", "1", "2", "3", "4"]


def test_only_its_user_may_send_and_the_path_of_a_former_agent_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "edge.notify"
    former = NotifySocket(path, os.geteuid())
    former.close()
    assert path.is_socket()
    bound = NotifySocket(path, os.geteuid())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    send(path, b"READY=1", [])
    received: list[Letter] = []
    bound.receive(received.append)
    assert len(received) == 1
    bound.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_bound_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(HotswapError, match="longer than a unix socket"):
        NotifySocket(tmp_path / ("n" * 200), os.geteuid())
    with pytest.raises(HotswapError, match=r"none/edge\.notify cannot be bound: No such file"):
        NotifySocket(tmp_path / "none" / "edge.notify", os.geteuid())
