"""What copying a connection costs: the size of its value, and the time to save and to restore it.

The proxy runs on a simulated kernel, so all of it is our own work and nothing of it the system's. The connections are
idle ones of HTTP/1.1, from clients with and without TLS.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from hotswap.swappable import Saved
from tests.kit.certificates import Authority
from tests.kit.tls import HOST, VERSIONS, Version, client_context
from tests.proxy.simulation import SimulatedKernel, World
from tests.proxy.tls.far import Far
from tests.proxy.tls.scene import Scene


class Plan(msgspec.Struct):
    """How many to copy how often."""

    connections: int = 500
    rounds: int = 20


class Row(msgspec.Struct):
    """One kind of client; microseconds a connection in the best round, bytes a value."""

    client: str
    size: int = 0
    save: float = float("inf")
    restore: float = float("inf")


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    result = Result([])
    for version in (None, *VERSIONS):
        row = Row(f"TLS {version}" if version else "plain")
        with tempfile.TemporaryDirectory(prefix="hsb") as directory:
            world = _world(Path(directory), version, plan.connections)
            gc.collect()
            gc.disable()  # as an attempt does
            for _ in range(plan.rounds):
                _copy(world, row)
            gc.enable()
        say(f"{row.client}: {row.size} bytes, saved in {row.save:.1f} us, restored in {row.restore:.1f} us")
        result.rows.append(row)
    return result


def _world(directory: Path, version: Version | None, connections: int) -> World:
    """A proxy with idle clients."""
    authority = Authority(directory)
    if version is None:
        scene = Scene(authority, protocol="http1", downstream=False)
        for _ in range(connections):
            scene.socket()
    else:
        scene = Scene(authority, version, protocol="http1")
        context = client_context(authority.file, version)
        for _ in range(connections):
            Far(scene.socket(), context, name=HOST).handshake()
    return scene.world


def _copy(world: World, row: Row) -> None:
    """All connections into a fresh process; the source keeps them."""
    source, kernel = world.proxy, world._boot()
    destination = world._proxy(kernel)
    sockets = source.reactor.kernel
    assert isinstance(sockets, SimulatedKernel)
    source.agree(dict.fromkeys(source.schemas(), 1), [str(spec.address) for spec in source.wanted()])
    destination.accept_descriptors(source.descriptors())
    here, there = sockets.clock(), kernel.clock()

    began = time.perf_counter()
    states = [(one, one.save(here)) for one in source.values().values()]
    row.save = min(row.save, (time.perf_counter() - began) / len(states) * 1e6)

    saved = [
        Saved(one.kind, one.serial, one.changes, state, kernel.install(sockets.socket(one.fd))) for one, state in states
    ]
    began = time.perf_counter()
    for one in saved:
        destination.restore(one, there)
    row.restore = min(row.restore, (time.perf_counter() - began) / len(saved) * 1e6)
    row.size = sum(len(one.state) for one in saved) // len(saved)
