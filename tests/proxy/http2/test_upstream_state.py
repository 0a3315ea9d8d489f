"""Golden snapshots of connections to endpoints, see `tests.proxy.golden`.

``python -m tests.proxy.http2.test_upstream_state`` prints the file anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.http1.state import DownstreamState
from proxy.http2.state import UpstreamState
from tests.proxy.golden import Golden, show, snapshots
from tests.proxy.http1.scene import post
from tests.proxy.http2.backend import OK, Site, behind
from tests.proxy.http2.test_tunnels import KEY, UPGRADE
from tests.proxy.simulation import Socket

GOLDEN = Golden(Path(__file__).parents[2] / "snapshots" / "http2-upstream-1.txt", DownstreamState, UpstreamState)
ID = b"X-Request-Id: 7\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % ID


def scenes() -> dict[str, Site]:
    """Connections in every state that has fields of its own."""
    found = {}
    world = found["dialling"] = Site(behind())
    for request in (GET, post(b"abc", length=9)):
        world.ask(request)
    world.wait(0.25)
    world = found["requests"] = Site(behind(shared_connections=1))
    for _ in range(2):
        world.ask(GET)
    server = world.server(streams=3, connect=True)
    server.answer(1)
    server.head(3, OK, (b"content-length", b"5"))
    server.say(3, b"hello")  # it does not end
    client = world.ask(b"POST / HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\nab" % ID)
    world.ask(UPGRADE % (KEY, ID))
    server.head(7, OK)
    server.head(5, OK)
    server.say(5, b"some")
    world.ask(GET)  # waits
    client.send(b"c\r\n2;")
    server.socket.send(b"\0\0\5\0\0\0\0\0")  # half a frame
    world.wait(0.5)
    world = found["slow client"] = Site(behind())
    client = world.ask(GET)
    server = world.server()
    server.head(1, OK)
    client.accept_bytes(0)
    server.say(1, b"x" * 100_000, end=True)
    world.wait(1)
    world = found["slow server"] = Site(behind())
    world.ask(GET)
    server = world.server(window=10, greedy=False)
    server.answer(1)
    world.ask(post(b"x" * 1000))
    server.socket.accept_bytes(0)
    world.ask(GET)
    world.wait(16)  # PING
    world.wait(1)
    world = found["ending"] = Site(behind())
    for _ in range(2):
        world.ask(GET)
    server = world.server()
    server.goaway(1)
    world.wait(0.5)
    world = found["ended"] = Site(behind())
    world.ask(GET)
    server = world.server()
    server.answer(1)
    server.goaway(1)
    world.wait(1)
    return found


def of_upstreams(written: dict[str, bytes]) -> dict[str, bytes]:
    """And their clients, without which they cannot be."""
    return {name: state for name, state in written.items() if "http2.downstream" not in name}


@pytest.mark.parametrize("scene", GOLDEN.scenes)
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    GOLDEN.check_read(Site(behind()), scene, backwards=backwards)


def test_this_build_writes_the_golden_snapshots() -> None:
    written = of_upstreams(snapshots(scenes()))
    assert written.keys() == GOLDEN.states.keys()
    for name, state in GOLDEN.states.items():
        assert GOLDEN.decoded(name, written[name]) == GOLDEN.decoded(name, state)


def test_calls_have_all_there_is_to_have() -> None:
    """A field that no scene fills would be no part of what is promised."""
    states = [GOLDEN.decoded(name, state) for name, state in GOLDEN.states.items() if "upstream" in name]
    calls = [call for state in states for call in state.calls]
    assert all(any(getattr(call, field) for call in calls) for field in calls[0].__struct_fields__)
    lacking = {name for name in states[0].__struct_fields__ if not any(getattr(one, name) for one in states)}
    assert lacking == {"replaced", "spare"}


def test_a_request_whose_client_never_came_is_noticed() -> None:
    world = Site(behind())
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved("http2.upstream", 99, 1, GOLDEN.one("ending", "http2.upstream"), fd), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


if __name__ == "__main__":
    show(of_upstreams(snapshots(scenes())))
