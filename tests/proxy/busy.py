"""Prints what this process writes of busy connections of every protocol: ``python -m tests.proxy.busy``, as JSON.

The scenes of the golden snapshots, a relay that is stuck both ways, and what no connection owns; then the golden
snapshots, read and written again. Nothing in them is random, so two processes that print different bytes are different.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from proxy import compiled
from tests.proxy.amqp import test_state as amqp
from tests.proxy.amqp.scene import relayed
from tests.proxy.bolt import test_state as bolt
from tests.proxy.bolt.scene import rpc as bolt_rpc
from tests.proxy.dubbo import test_state as dubbo
from tests.proxy.dubbo.scene import rpc as dubbo_rpc
from tests.proxy.golden import Golden, snapshots
from tests.proxy.health import test_state as health
from tests.proxy.http1 import test_state as http1
from tests.proxy.http1.scene import web
from tests.proxy.http2 import test_downstream_snapshot as http2
from tests.proxy.http2 import test_upstream_state as endpoints
from tests.proxy.http2.backend import Site, behind
from tests.proxy.http2.browser import speaking
from tests.proxy.relays import TWO, both_ways, relay
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def relays() -> dict[str, World]:
    """Protocol tcp: one that is idle, one that is dialled, one with full outboxes, one that was closed half."""
    world = World(TWO)
    assert both_ways(*relay(world))
    world.connect("cache", "2001:db8::1").send(b"early")
    client, server = relay(world)
    client.accept_bytes(100)
    server.accept_bytes(0)
    client.send(bytes(70_000))
    server.send(b"x" * 70_000)
    client, server = relay(world)
    client.fin()
    server.send(b"the rest")
    world.wait(0.5)
    return {"relays": world}


def written() -> Iterator[tuple[str, bytes]]:
    """Names and states."""
    with TemporaryDirectory() as folder:
        protocols: dict[str, Mapping[str, World]] = {
            "tcp": relays(),
            "amqp": amqp.scenes(Path(folder)),
            "bolt": bolt.scenes(),
            "dubbo": dubbo.scenes(),
            "http2": http2.scenes(),
            "http2 endpoints": endpoints.scenes(),
        }
        for protocol, scenes in protocols.items():
            for name, state in snapshots(scenes).items():
                yield f"{protocol} {name}", state
            for name, world in scenes.items():
                yield f"{protocol} {name} shared", world.proxy.save_shared(world.kernel.clock())
        for name, state in http1.snapshots().items():
            yield f"http1 {name}", state
        for name, state in health.snapshots().items():
            yield f"health {name}", state
    yield from again()


def again() -> Iterator[tuple[str, bytes]]:
    """Golden snapshots, as a generation writes them that got them from one of the first release."""
    protocols: dict[str, tuple[Golden, Callable[[], World]]] = {
        "amqp": (amqp.GOLDEN, lambda: World(relayed(endpoints=(9000, 9001)))),
        "bolt": (bolt.GOLDEN, lambda: World(bolt_rpc(endpoints=2))),
        "dubbo": (dubbo.GOLDEN, lambda: World(dubbo_rpc(endpoints=2))),
        "http2": (http2.GOLDEN, lambda: World(speaking(web()))),
        "http2 endpoints": (endpoints.GOLDEN, lambda: Site(behind())),
    }
    for protocol, (golden, make) in protocols.items():
        for scene in golden.scenes:
            world = make()
            golden.restore(world, scene)
            for name, state in snapshots({scene: world}).items():
                yield f"{protocol} again {name}", state


if __name__ == "__main__":
    states = {name: state.hex() for name, state in written()}
    json.dump({"mode": compiled.MODE, "why": compiled.WHY_INTERPRETED, "states": states}, sys.stdout)
