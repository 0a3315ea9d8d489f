"""Golden snapshots of whole scenes: what release 1 wrote is read for as long as the schema allows; it may grow.

    scene kind serial = hex of the zlib-compressed state     one line a connection

A line that is there already never changes. States are compressed, since outboxes of slow connections are long.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.swappable import Saved
from tests.proxy.simulation import Socket

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.proxy.simulation import World


def snapshots(scenes: Mapping[str, World]) -> dict[str, bytes]:
    """What this build writes."""
    found = {}
    for name, world in scenes.items():
        now = world.kernel.clock()
        for value in world.proxy.values().values():
            found[f"{name.replace(' ', '-')} {value.kind} {value.serial}"] = value.save(now)
    return found


def show(written: Mapping[str, bytes]) -> None:
    """Print the file anew."""
    for key, state in written.items():
        print(f"{key} = {zlib.compress(state).hex()}")


class Golden:
    """One file, with two kinds of states."""

    def __init__(self, path: Path, downstream: type[msgspec.Struct], upstream: type[msgspec.Struct]) -> None:
        lines = path.read_text().splitlines()
        parts = (line.partition(" = ") for line in lines)
        self.states = {name: zlib.decompress(bytes.fromhex(text)) for name, _, text in parts}
        self.scenes = sorted({name.split(" ")[0] for name in self.states})
        self._types = {True: downstream, False: upstream}

    def decoded(self, name: str, state: bytes) -> Any:
        """What today's reader sees: fields that were appended since have their defaults."""
        return msgspec.msgpack.decode(state, type=self._types["downstream" in name])

    def of(self, scene: str) -> dict[str, bytes]:
        """The states of one scene."""
        return {name: state for name, state in self.states.items() if name.startswith(f"{scene} ")}

    def one(self, scene: str, kind: str) -> bytes:
        """The last state of that kind in a scene."""
        return [state for name, state in self.of(scene).items() if name.split(" ")[1] == kind][-1]

    def restore(self, world: World, scene: str, *, backwards: bool = False) -> dict[int, Socket]:
        """Its connections in that world, by serial, in an order that counts for nothing."""
        sockets = {}
        now = world.kernel.clock()
        for name, state in sorted(self.of(scene).items(), reverse=backwards):
            _, kind, serial = name.split(" ")
            socket = sockets[int(serial)] = Socket(world)
            world.proxy.restore(Saved(kind, int(serial), 1, state, world.kernel.install(socket)), now)
        world.proxy.restore_shared(world.proxy.save_shared(now), now)
        return sockets

    def check_read(self, world: World, scene: str, *, backwards: bool) -> None:
        """A scene is read and written the same, whatever the order in which its connections arrive."""
        self.restore(world, scene, backwards=backwards)
        now = world.kernel.clock()
        for name, state in self.of(scene).items():
            written = world.proxy.values()[int(name.split(" ")[2])].save(now)
            assert self.decoded(name, written) == self.decoded(name, state)
