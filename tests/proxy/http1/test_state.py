"""Golden snapshots: what release 1 of the two kinds wrote is read for as long as the schema allows.

``python -m tests.proxy.http1.test_state`` prints today's; tests/snapshots/README.md tells how the file grows.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hotswap.swappable import Saved
from proxy.http1.state import DownstreamState, UpstreamState
from proxy.http1.states import Step
from tests.proxy.http1.scene import GET, web
from tests.proxy.http1.test_states import Pair
from tests.proxy.simulation import Socket, World

GOLDEN = Path(__file__).parents[2] / "snapshots" / "http1-1.txt"


def snapshots() -> dict[str, bytes]:
    """The states of a pair in every step, and of the more complicated exchanges."""
    found: dict[str, bytes] = {}
    for step in Step:
        world = World(web(max_duration=600.0))
        Pair(world, step)
        world.wait(0.5)
        found |= _of(world, step.name)
    world = World(web())
    client = world.connect("web", "2001:db8::1")
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhe")
    world.dialled().refuse()
    client.send(b"GET")
    found |= _of(world, "chunks")
    client = world.connect("web")
    client.send(GET)
    server = world.dialled()
    server.accept()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Su")
    return found | _of(world, "trailer")


def _of(world: World, name: str) -> dict[str, bytes]:
    now = world.kernel.clock()
    return {
        f"{name.lower()}-{value.kind.removeprefix('http1.')}-{value.serial}": value.save(now)
        for value in world.proxy.values().values()
    }


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    return {name: bytes.fromhex(text) for name, text in (line.split(" ") for line in lines)}


def decoded(name: str, state: bytes) -> DownstreamState | UpstreamState:
    """What today's reader sees: fields that were appended since have their defaults."""
    if "downstream" in name:
        return msgspec.msgpack.decode(state, type=DownstreamState)
    return msgspec.msgpack.decode(state, type=UpstreamState)


class _Far:
    """The other side of a connection that is restored alone: its serial is all that counts."""

    def __init__(self, serial: int) -> None:
        self.serial = serial


@pytest.mark.parametrize("name", golden())
def test_golden_snapshot_is_read_and_written_the_same(name: str) -> None:
    state = golden()[name]
    _, kind, serial = name.removesuffix("+age").split("-")
    world = World(web(max_duration=600.0))
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved(f"http1.{kind}", int(serial), 1, state, fd), now)
    connection = world.proxy.values()[int(serial)]
    far = decoded(name, state).transport.peer
    connection.peer = _Far(far) if far else None
    assert decoded(name, connection.save(now)) == decoded(name, state)


def test_this_build_writes_what_the_golden_snapshots_say() -> None:
    """Of fields that were appended since, a golden line from before them says nothing."""
    written = snapshots()
    for name, state in golden().items():
        then = len(msgspec.msgpack.decode(state))
        known = msgspec.msgpack.encode(msgspec.msgpack.decode(written[name.removesuffix("+age")])[:then])
        assert decoded(name, known) == decoded(name, state), name


if __name__ == "__main__":
    for key, state in snapshots().items():
        print(f"{key} {state.hex()}")
