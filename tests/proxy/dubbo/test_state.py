"""Golden snapshots, see `tests.proxy.golden`. ``python -m tests.proxy.dubbo.test_state`` prints the file anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.multiplexed.state import DownstreamState, UpstreamState
from tests.kit import dubbo
from tests.proxy.dubbo.scene import pair, rpc, sole, taken
from tests.proxy.golden import Golden, show, snapshots
from tests.proxy.simulation import Socket, World

GOLDEN = Golden(Path(__file__).parents[2] / "snapshots" / "dubbo-1.txt", DownstreamState, UpstreamState)


def scenes() -> dict[str, World]:
    """Connections in every state that has fields of its own."""
    found = {}
    found["idle"] = World(rpc())
    found["idle"].connect("rpc", "2001:db8::1")
    world = found["dialling"] = World(rpc(endpoints=2))
    world.connect("rpc").send(dubbo.call(-1, b"one") + dubbo.call(2, b"", oneway=True))
    world.wait(0.5)
    world.dialled().refuse()
    world.wait(0.25)
    world = found["calls"] = World(rpc())
    client, server, _ = pair(world, 0)
    other = world.connect("rpc")
    other.send(dubbo.call(-(1 << 63), b"") + dubbo.call(10, b"cut")[:30])
    server.send(dubbo.call(-77, b"push") + dubbo.answer(12345, b"cut")[:18])
    world.wait(16)
    world = found["slow server"] = World(rpc())
    client, server, _ = pair(world)
    server.accept_bytes(10)
    client.send(dubbo.call(8, bytes(66_000)))
    world.wait(1)
    world = found["slow client"] = World(rpc(listener={"max_frame": 1 << 17}))
    client, server, there = pair(world)
    client.accept_bytes(0)
    client.send(dubbo.call(8, b"") + dubbo.call(9, bytes(1 << 17))[:1000])
    server.send(dubbo.answer(there.id, bytes(66_000)) + dubbo.answer(sole(server).id, bytes(1 << 24))[:1000])
    world.wait(1)
    world = found["ending"] = World(rpc())
    client, server, _ = pair(world)
    client.fin()
    server.send(dubbo.READONLY)
    world.wait(1)
    assert not taken(client)
    world = found["drained"] = World(rpc())
    world.connect("rpc")
    world.proxy.drain(world.kernel.clock() + 30)
    world.settle()
    world.wait(0.25)
    return found


@pytest.mark.parametrize("scene", GOLDEN.scenes)
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    GOLDEN.check_read(World(rpc(endpoints=2)), scene, backwards=backwards)


def test_this_build_writes_the_golden_snapshots() -> None:
    written = snapshots(scenes())
    for name, state in GOLDEN.states.items():
        assert GOLDEN.decoded(name, written[name]) == GOLDEN.decoded(name, state)


def test_a_call_whose_client_never_came_is_noticed() -> None:
    world = World(rpc())
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved("dubbo.upstream", 99, 1, GOLDEN.one("calls", "dubbo.upstream"), fd), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


if __name__ == "__main__":
    show(snapshots(scenes()))
