"""Golden snapshots of clients' connections with their streams, see `tests.proxy.golden`.

``python -m tests.proxy.http2.test_downstream_snapshot`` prints the file anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.http1.state import DownstreamState as Exchange
from proxy.http1.state import UpstreamState
from proxy.http1.states import Step
from proxy.http2 import frame
from proxy.http2.state import DownstreamState
from tests.proxy.golden import Golden, show, snapshots
from tests.proxy.http1.scene import HELLO, web
from tests.proxy.http2.browser import Browser, speaking
from tests.proxy.http2.test_downstream import asked
from tests.proxy.simulation import Socket, World

AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class WithStreams(Golden):
    """A stream is an exchange of HTTP/1.1, within the connection as bytes: fields of that may be appended as well."""

    def decoded(self, name: str, state: bytes) -> Any:
        found = super().decoded(name, state)
        if not isinstance(found, DownstreamState):
            return found
        inside = [msgspec.msgpack.decode(one.exchange, type=Exchange) for one in found.streams]
        streams = tuple(msgspec.structs.replace(one, exchange=b"") for one in found.streams)
        return msgspec.structs.replace(found, streams=streams), inside


CLIENT = 2
"""The serial of the client in the scenes: the first is that of the connection that is not known to speak HTTP/2 yet."""
GOLDEN = WithStreams(Path(__file__).parents[2] / "snapshots" / "http2-1.txt", DownstreamState, UpstreamState)


def streams(world: World) -> None:
    """A client that reads slowly, with as many kinds of streams as there are."""
    browser = Browser(world, greedy=False)
    upload = browser.ask(b"/", b"POST", (b"content-length", b"1000000"), end=False)
    server = world.dialled()
    server.accept()
    server.accept_bytes(10)
    while (size := min(browser.room(upload), 16384)) > 0:
        browser.say(upload, b"u" * size)
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    browser.say(stream, b"in chunks")
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.send(b"7530\r\n" + bytes(30000) + b"\r\n4\r\nha")
    tunnel = browser.ask(b"/chat", b"CONNECT", (b"sec-websocket-version", b"13"), protocol=b"websocket", end=False)
    server = world.dialled()
    server.accept()
    server.send(AGREED + b"pong")
    browser.say(tunnel, b"ping")
    stream, server = asked(world, browser, b"/", b"POST", end=False)
    server.send(b"HTTP/1.1 413 No\r\nContent-Length: 50000\r\n\r\n" + bytes(50000))
    stream, server = asked(world, browser)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"half of it")
    asked(world, browser)
    browser.ask(b"/other")


def scenes() -> dict[str, World]:
    """Connections in every state that has fields of its own."""
    found = {}
    world = found["preface"] = World(speaking(web()))
    world.connect("web", "2001:db8::1").send(frame.PREFACE + b"\0\0")
    world = found["streams"] = World(speaking(web()))
    streams(world)
    world = found["leaving"] = World(speaking(web()))
    browser = Browser(world)
    asked(world, browser, b"/", b"POST", end=False)
    world.proxy.drain(world.kernel.clock() + 30)
    world.tick()
    world = found["ending"] = World(speaking(web()))
    browser = Browser(world)
    browser.socket.accept_bytes(0)
    browser.socket.send(b"\0\0\1\x06\0\0\0\0\0?")  # a PING of one byte
    for world in found.values():
        world.wait(0.5)
    return found


@pytest.mark.parametrize("scene", GOLDEN.scenes)
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    GOLDEN.check_read(World(speaking(web())), scene, backwards=backwards)


def test_this_build_writes_the_golden_snapshots() -> None:
    written = snapshots(scenes())
    for name, state in GOLDEN.states.items():
        assert GOLDEN.decoded(name, written[name]) == GOLDEN.decoded(name, state)


def whole() -> tuple[DownstreamState, dict[Step, tuple[int, int]]]:
    """The scene with streams: the connection, and by their step the number and the upstream of streams."""
    connection, inside = GOLDEN.decoded("http2.downstream", GOLDEN.one("streams", "http2.downstream"))
    pairs = zip(connection.streams, inside, strict=True)
    return connection, {one.step: (stream.number, one.transport.peer) for stream, one in pairs}


def test_the_scene_has_all_there_is() -> None:
    connection, steps = whole()
    assert set(steps) == {Step.DIAL, Step.SEND, Step.WAIT, Step.REPLY, Step.TUNNEL}
    assert connection.closing
    assert any(one.unread for one in connection.streams)


def test_released_streams_go_on() -> None:
    connection, steps = whole()
    world = World(speaking(web()))
    sockets = GOLDEN.restore(world, "streams")
    client = sockets[CLIENT]
    tunnel, far = steps[Step.TUNNEL]
    client.send(frame.frame(frame.DATA, 0, tunnel, b"more"))
    assert sockets[far].take() == b"more"
    waiting, far = steps[Step.DIAL]
    sockets[far].accept()
    assert sockets[far].take().startswith(b"GET /other HTTP/1.1\r\n")
    client.take()
    sockets[far].send(HELLO)
    client.send(frame.window_update(0, 1 << 20))
    (closing,) = connection.closing
    world.wait(0.06)
    heard = list(frame.frames(client.take()))
    assert [one[:2] for one in heard if one[2] == waiting] == [(frame.HEADERS, 4), (frame.DATA, frame.END_STREAM)]
    *_, data, last = (one for one in heard if one[2] == closing)
    assert data[:2] == (frame.DATA, frame.END_STREAM)
    assert last == (frame.RST_STREAM, 0, closing, bytes(4)), "its request is of no interest any more"


def test_a_stream_whose_endpoint_never_came_is_noticed() -> None:
    world = World(speaking(web()))
    now = world.kernel.clock()
    state = GOLDEN.one("streams", "http2.downstream")
    world.proxy.restore(Saved("http2.downstream", CLIENT, 1, state, world.kernel.install(Socket(world))), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


if __name__ == "__main__":
    show(snapshots(scenes()))
