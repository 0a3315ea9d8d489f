"""Golden snapshots of what is known of endpoints' health and of splits: what a former release wrote is read the same.

``python -m tests.proxy.health.test_state`` prints the file anew; a line that is there already never changes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.config.loader import loads
from proxy.health.probe import Probe
from proxy.state import ProbeState, SharedState
from tests.proxy.simulation import World

GOLDEN = Path(__file__).parents[2] / "snapshots" / "clusters-1.txt"

TEXT = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:80
    protocol: http1
    routes: [{clusters: [{name: app, weight: 3}, {name: next}]}]
  - {name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}
clusters:
  - name: app
    endpoints: [127.0.0.1:9000, 127.0.0.1:9001, 127.0.0.1:9002]
    outlier: {connect_failures: 1}
    health_check: {check: http, interval: 1h, unhealthy: 1}
  - {name: next, endpoints: [127.0.0.1:9003]}
"""


def scene() -> World:
    """One endpoint is ejected, one is not healthy, one is being asked; the split has begun."""
    world = World(loads(TEXT).config)
    asked, unhealthy, _ = (world.dialled() for _ in range(3))
    asked.accept()
    asked.send(b"HTTP/1.")
    unhealthy.refuse()
    for _ in range(2):
        world.connect("raw")
        dial = world.dialled()
        if dial.address is not None and dial.address.port == 9002:
            dial.refuse()
    world.connect("web").send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    world.time += 0.5
    return world


def snapshots() -> dict[str, bytes]:
    world = scene()
    now = world.kernel.clock()
    found = {"shared": world.proxy.save_shared(now)}
    for serial, value in world.proxy.values().items():
        if isinstance(value, Probe):
            found[f"probe {serial}"] = value.save(now)
    return found


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text().splitlines()
    return {name: bytes.fromhex(text) for name, _, text in (line.partition(" = ") for line in lines)}


def as_released(written: bytes, released: bytes) -> bytes:
    """Without the fields that `Transport` got later."""
    fields, there = msgspec.msgpack.decode(written), msgspec.msgpack.decode(released)
    fields[0] = fields[0][: len(there[0])]
    return msgspec.msgpack.encode(fields)


def test_golden_shared_state_is_read_and_written_the_same() -> None:
    state = golden()["shared"]
    world = World(loads(TEXT).config)
    world.proxy.restore_shared(state, world.kernel.clock())
    was, now = (msgspec.msgpack.decode(one, type=SharedState) for one in (state, world.proxy.save_shared(1000.0)))
    assert now.watches == was.watches
    assert now.splits == was.splits
    assert now.balance == was.balance


@pytest.mark.parametrize("name", [name for name in golden() if name.startswith("probe")])
def test_golden_probe_is_read_and_written_the_same(name: str) -> None:
    state = golden()[name]
    world = scene()
    probe = Probe(world.proxy.reactor)
    probe.load(state, 1000.0, world.proxy)
    assert as_released(probe.save(1000.0), state) == state
    assert msgspec.msgpack.decode(state, type=ProbeState).left == probe.deadline - 1000.0


def test_this_build_writes_the_golden_snapshots() -> None:
    """Of the shared state only what concerns clusters: others append to it, too."""
    written, was = snapshots(), golden()
    now, then = (msgspec.msgpack.decode(one.pop("shared"), type=SharedState) for one in (written, was))
    assert (now.watches, now.splits) == (then.watches, then.splits)
    assert {name: as_released(written[name], state) for name, state in was.items()} == was


if __name__ == "__main__":
    for name, state in snapshots().items():
        print(name, "=", state.hex())
