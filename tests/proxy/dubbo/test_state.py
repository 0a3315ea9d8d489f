"""Golden snapshots: what release 1 of the two kinds wrote is read for as long as the schema allows; it may grow.

``python -m tests.proxy.dubbo.test_state`` prints the file anew; a line that is there already never changes. States
are compressed in it, since outboxes of slow connections are long.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.multiplexed.state import DownstreamState, UpstreamState
from tests.kit import dubbo
from tests.proxy.dubbo.scene import pair, rpc, sole, taken
from tests.proxy.simulation import Socket, World

GOLDEN = Path(__file__).parents[2] / "snapshots" / "dubbo-1.txt"


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


def snapshots() -> dict[str, bytes]:
    found = {}
    for name, world in scenes().items():
        now = world.kernel.clock()
        for value in world.proxy.values().values():
            found[f"{name.replace(' ', '-')} {value.kind} {value.serial}"] = value.save(now)
    return found


def decoded(name: str, state: bytes) -> DownstreamState | UpstreamState:
    """What today's reader sees: fields that were appended since have their defaults."""
    if "downstream" in name:
        return msgspec.msgpack.decode(state, type=DownstreamState)
    return msgspec.msgpack.decode(state, type=UpstreamState)


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text().splitlines()
    return {name: zlib.decompress(bytes.fromhex(text)) for name, _, text in (line.partition(" = ") for line in lines)}


@pytest.mark.parametrize("scene", sorted({name.split(" ")[0] for name in golden()}) if GOLDEN.exists() else ())
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    """Whatever the order in which the connections of a scene arrive."""
    states = {name: state for name, state in golden().items() if name.startswith(f"{scene} ")}
    world = World(rpc(endpoints=2))
    now = world.kernel.clock()
    for name in sorted(states, reverse=backwards):
        _, kind, serial = name.split(" ")
        fd = world.kernel.install(Socket(world))
        world.proxy.restore(Saved(kind, int(serial), 1, states[name], fd), now)
    world.proxy.restore_shared(world.proxy.save_shared(now), now)
    for name, state in states.items():
        assert decoded(name, world.proxy.values()[int(name.split(" ")[2])].save(now)) == decoded(name, state)


def test_this_build_writes_the_golden_snapshots() -> None:
    written = snapshots()
    for name, state in golden().items():
        assert decoded(name, written[name]) == decoded(name, state)


def test_a_call_whose_client_never_came_is_noticed() -> None:
    states = {name.split(" ")[1]: state for name, state in golden().items() if name.startswith("calls ")}
    world = World(rpc())
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved("dubbo.upstream", 99, 1, states["dubbo.upstream"], fd), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


if __name__ == "__main__":
    for key, state in snapshots().items():
        print(f"{key} = {zlib.compress(state).hex()}")
