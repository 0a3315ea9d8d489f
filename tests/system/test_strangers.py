"""Strangers on the sockets: nobody else notices, upgrades go on working, the log names them once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hotswap import errors
from hotswap.handover import wire
from hotswap.swappable import Schema
from tests.kit.load import Load
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.upstreams import Upstreams

NOBODY = 65534
MANY = 10_000
PATIENCE = 15.0


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams)


@pytest.fixture
def load(edge: Edge) -> Iterator[Load]:
    """Clients that must not notice; afterwards an upgrade must work."""
    running = edge.load(BREEZE)
    yield running
    assert running.turn().failures == []
    assert edge.instance.upgrade("--require-all").exit_code == 0
    assert running.finish().failures == []


def socket_of(edge: Edge, name: str) -> str:
    return str(edge.instance.runtime_dir / "edge" / name)


def knock(edge: Edge) -> socket.socket:
    """A connection to the handover socket."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.settimeout(PATIENCE)
    door.connect(socket_of(edge, "handover.sock"))
    return door


def told(door: socket.socket) -> wire.Refused | None:
    """The refusal, or None if the door was just closed."""
    try:
        data = door.recv(wire.MAX_MESSAGE)
    except ConnectionResetError:
        return None
    return msgspec.msgpack.decode(data, type=wire.Refused) if data else None


def hello(**changes: object) -> wire.Hello:
    greeting = wire.Hello(Schema(1, 1), {}, [], "1.0", "1.0", "")
    return msgspec.structs.replace(greeting, **changes)


@pytest.mark.parametrize(
    "garbage",
    [b"\0", b"GET / HTTP/1.1\r\n\r\n", os.urandom(1000), os.urandom(60_000), b"\x9f" * 60_000, b"\xdd\xff\xff\xff\xff"],
    ids=["nul", "http", "noise", "much noise", "deep nesting", "a huge array"],
)
def test_garbage_on_the_handover_socket_is_turned_away(edge: Edge, load: Load, garbage: bytes) -> None:
    with knock(edge) as door:
        door.send(garbage)
        told(door)
    assert load.turn().failures == []


def test_half_a_hello_is_turned_away(edge: Edge, load: Load) -> None:
    whole = wire.encode(hello())
    with knock(edge) as door:
        door.send(whole[: len(whole) // 2])
        told(door)
    assert load.turn().failures == []


def test_an_unknown_protocol_version_is_refused_with_a_reason(edge: Edge, load: Load) -> None:
    with knock(edge) as door:
        send_with_pidfd(door, wire.encode(hello(protocol=Schema(900, 901))))
        refusal = told(door)
    assert refusal is not None
    assert refusal.code == errors.Refused.exit_code
    assert "900" in refusal.reason


def send_with_pidfd(door: socket.socket, data: bytes) -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        socket.send_fds(door, [data], [pidfd])
    finally:
        os.close(pidfd)


def test_one_who_says_nothing_holds_nobody_up(edge: Edge, load: Load) -> None:
    with knock(edge), knock(edge):
        assert edge.instance.upgrade("--require-all").exit_code == 0


def test_one_who_stops_after_hello_holds_up_one_attempt_only(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams, upgrade={"deadline": "2s"})
    schemas = {kind: Schema(1, 1) for kind in ("server", "http1", "tcp")}
    with knock(edge) as door:
        send_with_pidfd(door, wire.encode(hello(schemas=schemas, takeover="require")))
        told_anything = door.recv(wire.MAX_MESSAGE)
    assert told_anything
    assert edge.instance.upgrade("--require-all").exit_code == 0


def test_ten_thousand_connections_are_outlived(edge: Edge, load: Load) -> None:
    doors: list[socket.socket] = []
    for _ in range(MANY):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.setblocking(False)
        try:
            door.connect(socket_of(edge, "handover.sock"))
            door.send(b"knock")
        except OSError:  # the queue is full, or this one was turned away already
            door.close()
        else:
            doors.append(door)
    assert load.turn().failures == []
    for door in doors:
        door.close()
    assert len(edge.instance.log_tail(100_000).splitlines()) < 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused_before_a_byte_is_parsed(edge: Edge, load: Load) -> None:
    door = knock(edge)
    stranger = os.fork()
    if stranger == 0:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        door.send(wire.encode(hello()))
        os._exit(0)
    assert os.waitpid(stranger, 0)[1] == 0
    with door:
        told(door)
    assert load.turn().failures == []
    assert edge.instance.log_tail().count(str(NOBODY)) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_cannot_even_connect(edge: Edge) -> None:
    outcome, told_end = os.pipe()
    stranger = os.fork()
    if stranger == 0:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for name in ("handover.sock", "control.sock"):
            kind = socket.SOCK_SEQPACKET if name == "handover.sock" else socket.SOCK_STREAM
            try:
                socket.socket(socket.AF_UNIX, kind).connect(socket_of(edge, name))
            except PermissionError:
                os.write(told_end, b"x")
        os._exit(0)
    os.waitpid(stranger, 0)
    os.close(told_end)
    with os.fdopen(outcome, "rb") as answers:
        assert answers.read() == b"xx"


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 100, b"GET /status HTTP/1.1\r\nhost: x", b"GET /" + b"x" * 100_000, b"POST /upgrade HTTP/1.1\r\n\r\n{"],
    ids=["nuls", "half a request", "a long line", "a body without length"],
)
def test_garbage_on_the_control_socket_is_turned_away(edge: Edge, load: Load, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(PATIENCE)
        door.connect(socket_of(edge, "control.sock"))
        try:
            door.sendall(garbage)
        except (BrokenPipeError, ConnectionResetError):
            pass  # turned away before it was through
        assert edge.instance.status().state == "serving"
        assert load.turn().failures == []
        assert edge.instance.status().generation == 1, "half an order is none"


def test_two_hundred_connections_to_the_control_socket_are_outlived(edge: Edge, load: Load) -> None:
    doors = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    for door in doors:
        door.setblocking(False)
        try:
            door.connect(socket_of(edge, "control.sock"))
        except BlockingIOError:
            pass  # the queue is full
    assert load.turn().failures == []
    for door in doors:
        door.close()
    assert edge.instance.status().state == "serving"


def test_the_runtime_directory_is_private(edge: Edge) -> None:
    directory = edge.instance.runtime_dir / "edge"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert Path(socket_of(edge, "handover.sock")).stat().st_mode & 0o777 == 0o600
