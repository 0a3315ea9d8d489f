"""Golden snapshots: what release 1 of the two kinds wrote is read for as long as the schema allows; it may grow.

``python -m tests.proxy.amqp.test_state`` prints the file anew; a line that is there already never changes.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.amqp.state import AmqpDownstreamState, AmqpUpstreamState
from proxy.config.model import BrokerConfig
from tests.kit import amqp
from tests.proxy.amqp.scene import Pair, relayed
from tests.proxy.simulation import Socket, World

GOLDEN = Path(__file__).parents[2] / "snapshots" / "amqp-1.txt"


def busy(world: World) -> Pair:
    """A client that does a bit of everything."""
    pair = Pair(world, heartbeat=30)
    pair.open(1, 9)
    client = pair.client
    client.confirm(1)
    client.declare(1, b"q")
    client.qos(1, 4)
    client.consume(1, b"q", b"tag")
    client.say(9, 90, 10)
    client.declare(9, b"own", 4)
    client.qos(9, 8, whole=True)
    client.consume(9, b"own", b"other", 2)
    for number in range(5):
        client.publish(1, b"q", b"%d" % number)
    pair.run()
    client.ack(1, 2)
    pair.run()
    return pair


def scenes(folder: Path) -> dict[str, World]:
    """Connections in every state that has fields of its own."""
    password = folder / "password"
    password.write_text("guest")
    broker = BrokerConfig(when_gone="move", username="guest", password_file=str(password))
    found = {}
    world = found["dialling"] = World(relayed(endpoints=(9000, 9001)))
    world.connect("mq", "2001:db8::1").send(amqp.GREETING)
    world.wait(0.5)
    world.dialled().refuse()
    world.wait(0.25)
    world = found["handshake"] = World(relayed())
    pair = Pair(world)
    pair.near.send(amqp.GREETING[:5])
    world = found["busy"] = World(relayed())
    pair = busy(world)
    pair.near.send(amqp.method(1, 60, 40, bytes(5) + b"\0") + amqp.content(1, bytes(50))[:40])
    pair.far.send(amqp.encode(amqp.BODY, 1, bytes(50))[:20])
    world.wait(3)
    world = found["stopped"] = World(relayed(listener={"handover": "quiet"}))
    pair = busy(world)
    world.proxy._foresee(handover=True)
    world.wait(1)
    world = found["draining"] = World(relayed())
    pair = busy(world)
    world.proxy.drain(world.kernel.clock() + 100)
    world.wait(1)
    world = found["ending"] = World(relayed())
    pair = Pair(world)
    pair.open(1)
    world.proxy.drain(world.kernel.clock() + 100)
    pair.near.send(amqp.method(0, 10, 51))
    world.wait(1)
    world = found["changing"] = World(relayed(broker=broker))
    pair = Pair(world)
    pair.open(1)
    pair.client.declare(1, b"q")
    pair.client.consume(1, b"q", b"tag")
    pair.run()
    world.move(relayed(endpoints=(9001,), broker=broker))
    world.tick()
    pair.run()
    session = pair.broker.session()
    socket = world.dialled()
    socket.accept()
    session.feed(socket.take())
    socket.send(session.take())
    session.feed(socket.take())
    socket.send(session.take()[:10])
    world.wait(0.5)
    return found


def snapshots() -> dict[str, bytes]:
    found = {}
    with TemporaryDirectory() as folder:
        for name, world in scenes(Path(folder)).items():
            now = world.kernel.clock()
            for value in world.proxy.values().values():
                found[f"{name} {value.kind} {value.serial}"] = value.save(now)
    return found


def decoded(name: str, state: bytes) -> AmqpDownstreamState | AmqpUpstreamState:
    """What today's reader sees: fields that were appended since have their defaults."""
    if "downstream" in name:
        return msgspec.msgpack.decode(state, type=AmqpDownstreamState)
    return msgspec.msgpack.decode(state, type=AmqpUpstreamState)


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text().splitlines()
    return {name: zlib.decompress(bytes.fromhex(text)) for name, _, text in (line.partition(" = ") for line in lines)}


@pytest.mark.parametrize("scene", sorted({name.split(" ")[0] for name in golden()}) if GOLDEN.exists() else ())
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    """Whatever the order in which the connections of a scene arrive."""
    states = {name: state for name, state in golden().items() if name.startswith(f"{scene} ")}
    world = World(relayed(endpoints=(9000, 9001)))
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


def test_a_client_whose_broker_never_came_is_noticed() -> None:
    states = {name.split(" ")[1]: state for name, state in golden().items() if name.startswith("busy ")}
    world = World(relayed())
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved("amqp.downstream", 99, 1, states["amqp.downstream"], fd), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


def test_no_password_is_kept() -> None:
    for state in snapshots().values():
        assert b"\0guest\0" not in state


if __name__ == "__main__":
    for key, state in snapshots().items():
        print(f"{key} = {zlib.compress(state).hex()}")
