"""Golden snapshots: what former releases wrote of the two kinds is read for as long as the schema allows.

``python -m tests.proxy.http1.test_state`` prints the file anew; a line that is there already never changes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hotswap.swappable import Saved
from proxy.http1.downstream import Http1Downstream
from proxy.http1.state import DownstreamState, UpstreamState
from proxy.http1.states import Step
from tests.proxy.http1.scene import GET, web
from tests.proxy.http1.test_states import Pair
from tests.proxy.simulation import World

SNAPSHOTS = Path(__file__).parents[2] / "snapshots"
NEWEST = SNAPSHOTS / "http1-3.txt"  # 2: with the record for the access log, 3: with the terms of the route
GOLDENS = [SNAPSHOTS / "http1-1.txt", SNAPSHOTS / "http1-2.txt", NEWEST]


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
    return {f"{name} {value.kind} {value.serial}": value.save(now) for value in world.proxy.values().values()}


def golden(file: Path) -> dict[str, bytes]:
    lines = file.read_text().splitlines()
    return {name: bytes.fromhex(text) for name, _, text in (line.partition(" = ") for line in lines)}


@pytest.mark.parametrize(
    ("file", "name"), [pytest.param(file, name, id=f"{file.stem} {name}") for file in GOLDENS for name in golden(file)]
)
def test_golden_snapshot_is_read_and_written_the_same(file: Path, name: str) -> None:
    """An older one with further fields at the end, and every one that it had as it was."""
    state = golden(file)[name]
    _, kind, serial = name.split(" ")
    world = World(web(max_duration=600.0))
    socket = world.connect("web")
    now = world.kernel.clock()
    for value in list(world.proxy.values()):
        world.proxy.forget(value)
    fd = world.kernel.install(socket)
    world.proxy.restore(Saved(kind, int(serial), 1, state, fd), now)
    connection = world.proxy.values()[int(serial)]
    if connection.peer is None:  # the other side is in another line: its serial is all that is lost
        connection.peer = _peer(state, kind)
    written, was = msgspec.msgpack.decode(connection.save(now)), msgspec.msgpack.decode(state)
    assert written[: len(was)] == was
    assert set(map(str, written[len(was) :])) <= {"None"}
    if file is NEWEST:
        assert connection.save(now) == state


def test_this_build_writes_the_golden_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert snapshots() == golden(NEWEST)


class _Far:
    def __init__(self, serial: int) -> None:
        self.serial = serial


def _peer(state: bytes, kind: str) -> _Far | None:

    if kind == Http1Downstream.kind:
        serial = msgspec.msgpack.decode(state, type=DownstreamState).transport.peer
    else:
        serial = msgspec.msgpack.decode(state, type=UpstreamState).transport.peer
    return _Far(serial) if serial else None


if __name__ == "__main__":
    for key, state in snapshots().items():
        print(f"{key} = {state.hex()}")
