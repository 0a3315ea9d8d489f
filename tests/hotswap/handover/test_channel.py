"""The handover channel over real sockets: descriptors, back-pressure, the end, and what strangers send."""

from __future__ import annotations

import array
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.handover.channel import WINDOW, Channel, Received
from tests.kit.descriptors import descriptors

NOBODY = 65534


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    a, b = _pair()
    left, right = Channel(a), Channel(b)
    yield left, right
    left.close()
    right.close()


@pytest.fixture(autouse=True)
def _no_descriptor_is_lost() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _file(number: int) -> int:
    """An open file that can be told from every other."""
    fd = os.memfd_create(f"test-{number}", os.MFD_CLOEXEC)
    os.write(fd, str(number).encode())
    return fd


def _content(fd: int) -> int:
    return int(os.pread(fd, 20, 0))


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _next(channel: Channel) -> Received:
    received = channel.receive()
    assert received is not None
    return received


# -- messages and descriptors -----------------------------------------------------------------------


def test_a_message_arrives_with_its_descriptors_and_its_sender(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    fds = (_file(1), _file(2))
    left.send(wire.Lock(), fds, fds)
    received = _next(right)
    assert received.message == wire.Lock()
    assert [_content(fd) for fd in received.fds] == [1, 2]
    assert received.uid == os.getuid()
    assert right.receive() is None
    assert not right.ended
    _close(received.fds)


def test_received_descriptors_are_not_inherited_by_programs(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    fd = _file(1)
    os.set_inheritable(fd, True)
    left.send(wire.Lock(), (fd,), (fd,))
    received = _next(right)
    assert not os.get_inheritable(received.fds[0])
    _close(received.fds)


def test_the_caller_keeps_what_it_does_not_give_up(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    kept, given_up = _file(1), _file(2)
    left.send(wire.Lock(), (kept, given_up), (given_up,))
    assert _content(kept) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(given_up)
    received = _next(right)
    _close([kept, *received.fds])


def test_a_message_carries_253_descriptors(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    fds = tuple(_file(number) for number in range(wire.MAX_FDS))
    left.send(wire.Values([]), fds, fds)
    received = _next(right)
    assert [_content(fd) for fd in received.fds] == list(range(wire.MAX_FDS))
    _close(received.fds)


def test_the_largest_message_arrives(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    room = wire.MAX_MESSAGE - len(wire.encode(wire.Final(0, b"", bytes(60000), b""))) + 60000
    message = wire.Final(0, b"", bytes(room), b"")
    assert len(wire.encode(message)) == wire.MAX_MESSAGE
    left.send(message)
    assert _next(right).message == message


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_who_sent_a_message_counts_not_who_opened_the_channel(
    ends: tuple[Channel, Channel],
) -> None:
    left, right = ends
    stranger = os.fork()
    if stranger == 0:
        with contextlib.suppress(BaseException):
            os.setuid(NOBODY)
            left.send(wire.Owned())
        os._exit(0)
    os.waitpid(stranger, 0)
    with pytest.raises(ProtocolError, match=f"uid {NOBODY}"):
        right.receive()


# -- back-pressure ----------------------------------------------------------------------------------


def test_at_most_four_messages_with_descriptors_are_unacknowledged(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for number in range(WINDOW + 2):
        fd = _file(number)
        left.send(wire.Round(number), (fd,), (fd,))
    assert left.sending
    assert not left.wants_write  # the socket has room; it is an acknowledgement that is missing
    arrived = _drain(right)
    assert [number for number, _ in arrived] == list(range(WINDOW))
    right.acknowledge(1)
    assert left.receive() is None
    assert _drain(right) == [(WINDOW, [WINDOW])]
    right.acknowledge(3)
    assert left.receive() is None
    assert _drain(right) == [(WINDOW + 1, [WINDOW + 1])]
    assert not left.sending


def test_messages_keep_their_order_behind_one_that_waits(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for number in range(WINDOW + 1):
        fd = _file(number)
        left.send(wire.Round(number), (fd,), (fd,))
    left.send(wire.Round(100))
    assert [number for number, _ in _drain(right)] == list(range(WINDOW))
    right.acknowledge(WINDOW)
    assert left.receive() is None
    assert _drain(right) == [(WINDOW, [WINDOW]), (100, [])]


def test_a_message_that_waits_holds_its_files_whatever_becomes_of_the_numbers(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    numbers = list(range(WINDOW + 1))
    fds = [_file(number) for number in numbers]
    for number, fd in zip(numbers, fds, strict=True):
        left.send(wire.Round(number), (fd,))
    _close(fds)
    others = [_file(1000 + number) for number in numbers]  # takes the same numbers
    assert set(others) & set(fds)
    _drain(right)
    right.acknowledge(WINDOW)
    assert left.receive() is None
    assert _drain(right) == [(WINDOW, [WINDOW])]
    _close(others)


def test_a_full_socket_makes_messages_wait_and_loses_none(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    count = 200
    for number in range(count):
        left.send(wire.Final(number, b"", bytes(30000), b""))
    assert left.wants_write
    arrived: list[int] = []
    while left.sending or len(arrived) < count:
        while (received := right.receive()) is not None:
            assert isinstance(received.message, wire.Final)
            arrived.append(received.message.connections)
        left.pump()
    assert arrived == list(range(count))


def test_closing_drops_what_waits_and_keeps_no_file(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for number in range(WINDOW + 3):
        fd = _file(number)
        left.send(wire.Round(number), (fd,), (fd,))
    left.close()
    assert len(_drain(right)) == WINDOW
    assert right.ended


def test_an_unasked_acknowledgement_opens_no_window(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right.acknowledge(2**62)
    assert left.receive() is None
    for number in range(WINDOW + 1):
        fd = _file(number)
        left.send(wire.Round(number), (fd,), (fd,))
    assert len(_drain(right)) == WINDOW


def _drain(channel: Channel) -> list[tuple[int, list[int]]]:
    """(number, contents of the files) of every ROUND that is there."""
    arrived = []
    while (received := channel.receive()) is not None:
        assert isinstance(received.message, wire.Round)
        arrived.append((received.message.number, [_content(fd) for fd in received.fds]))
        _close(received.fds)
    return arrived


# -- the end ----------------------------------------------------------------------------------------


def test_what_was_sent_before_the_end_is_read_before_the_end(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(wire.Prepared())
    left.send(wire.Owned())
    left.close()
    assert _next(right).message == wire.Prepared()
    assert not right.ended
    assert _next(right).message == wire.Owned()
    assert right.receive() is None
    assert right.ended


def test_what_was_sent_before_the_end_is_read_even_if_the_end_came_with_messages_unread(
    ends: tuple[Channel, Channel],
) -> None:
    """The kernel then says ECONNRESET once, in front of the messages: unix(7) does not tell."""
    left, right = ends
    right.send(wire.Round(1))
    left.send(wire.Owned())
    left.close()
    assert _next(right).message == wire.Owned()
    assert right.receive() is None
    assert right.ended


def test_sending_to_nobody_is_no_error_and_loses_nothing_that_came(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right.send(wire.Round(1))
    left.send(wire.Owned())
    left.close()
    fd = _file(1)
    right.send(wire.Lock(), (fd,), (fd,))
    right.send(wire.Bye())
    assert not right.sending
    assert _next(right).message == wire.Owned()
    assert right.receive() is None
    assert right.ended


def test_what_a_killed_process_sent_can_still_be_read(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    doomed = os.fork()
    if doomed == 0:
        with contextlib.suppress(BaseException):
            left.send(wire.Owned())
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    os.waitpid(doomed, 0)
    left.close()
    assert _next(right).message == wire.Owned()
    assert right.receive() is None
    assert right.ended


def test_waiting_ends_with_a_message_and_tells_it_from_a_death(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    mortal = os.fork()
    if mortal == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(mortal)
    left.send(wire.Owned())
    assert right.wait(10, pidfd) is False
    assert _next(right).message == wire.Owned()
    os.kill(mortal, signal.SIGKILL)
    assert right.wait(10, pidfd) is True
    os.waitpid(mortal, 0)
    os.close(pidfd)


# -- strangers --------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[tuple[socket.socket, Channel]]:
    a, b = _pair()
    channel = Channel(b)
    yield a, channel
    a.close()
    channel.close()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(wire.encode(wire.Lock())[:-1], id="half a message"),
        pytest.param(b"", id="an empty message"),
        pytest.param(bytes(wire.MAX_MESSAGE + 1), id="one byte too many"),
        pytest.param(bytes(150_000), id="far too much"),
    ],
)
def test_garbage_is_an_error_closes_its_descriptors_and_is_not_the_end(
    stranger: tuple[socket.socket, Channel], data: bytes
) -> None:
    sock, channel = stranger
    fd = _file(1)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd] * 10))
    for ancillary in ([], [rights]):
        sock.sendmsg([data], ancillary)
        with pytest.raises(ProtocolError):
            channel.receive()
    os.close(fd)
    sock.send(wire.encode(wire.Prepared()))
    assert _next(channel).message == wire.Prepared()
    assert not channel.ended


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_messages_are_read_one_by_one_to_the_end(sent: list[bytes]) -> None:
    sock, b = _pair()
    channel = Channel(b)
    for data in sent:
        sock.send(data)
    sock.close()
    told = 0
    while not channel.ended:
        try:
            told += channel.receive() is not None
        except ProtocolError:
            told += 1
    assert told == len([data for data in sent if not _is_acknowledgement(data)])
    channel.close()


def _is_acknowledgement(data: bytes) -> bool:
    with contextlib.suppress(ProtocolError):
        return isinstance(wire.decode(data), wire.Ack)
    return False


def test_too_few_free_descriptors_are_an_error_and_none_is_lost(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    fds = tuple(_file(number) for number in range(20))
    left.send(wire.Lock(), fds, fds)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 10, hard))
    try:
        with pytest.raises(ProtocolError, match="raise RLIMIT_NOFILE"):
            right.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_corrupted_message_is_one_message(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.corrupt_next = True
    left.send(wire.Prepared())
    left.send(wire.Owned())
    with pytest.raises(ProtocolError):
        right.receive()
    assert _next(right).message == wire.Owned()
