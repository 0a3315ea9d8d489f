from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.kit.capture import Capture, Segment, Unpermitted


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.create_server((host, 0), family=family) as server:
        yield server


@pytest.fixture
def capture(listener: socket.socket) -> Iterator[Capture]:
    try:
        watching = Capture([1, listener.getsockname()[1], 65535])
    except Unpermitted as reason:
        pytest.skip(str(reason))
    yield watching
    watching.close()


def connected(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    near = socket.create_connection(listener.getsockname()[:2])
    far, _ = listener.accept()
    return near, far


def test_data_alone_is_not_counted(listener: socket.socket, capture: Capture) -> None:
    near, far = connected(listener)
    with near, far:
        near.sendall(b"x" * 100_000)
        far.sendall(b"y")
        assert capture.end() == []


def test_a_close_is_counted_at_both_ends(listener: socket.socket, capture: Capture) -> None:
    near, far = connected(listener)
    port, peer = near.getpeername()[1], near.getsockname()[1]
    near.close()
    assert far.recv(1) == b""
    far.close()
    assert capture.end() == [Segment("FIN", peer, port), Segment("FIN", port, peer)]


def test_a_reset_is_counted(listener: socket.socket, capture: Capture) -> None:
    near, far = connected(listener)
    with far:
        peer = near.getsockname()[1]
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        assert capture.end() == [Segment("RST", peer, far.getsockname()[1])]


def test_a_refused_connection_is_counted(listener: socket.socket, capture: Capture) -> None:
    port = listener.getsockname()[1]
    host = listener.getsockname()[0]
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))
    assert [segment.flags for segment in capture.end()] == ["RST"]


def test_what_ended_before_the_window_is_not_counted(listener: socket.socket, capture: Capture) -> None:
    for end in connected(listener):
        end.close()
    capture.begin()
    assert capture.end() == []


def test_other_ports_are_not_counted(listener: socket.socket, capture: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        for end in connected(other):
            end.close()
    assert capture.end() == []
