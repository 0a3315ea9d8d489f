"""Golden snapshots, see `tests.proxy.golden`. ``python -m tests.proxy.amqp.test_state`` prints the file anew."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.amqp.state import AmqpDownstreamState, AmqpUpstreamState
from proxy.config.model import BrokerConfig
from tests.kit import amqp
from tests.proxy.amqp.scene import Pair, relayed
from tests.proxy.golden import Golden, show, snapshots
from tests.proxy.simulation import Socket, World

GOLDEN = Golden(Path(__file__).parents[2] / "snapshots" / "amqp-1.txt", AmqpDownstreamState, AmqpUpstreamState)


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


def written() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        return snapshots(scenes(Path(folder)))


@pytest.mark.parametrize("scene", GOLDEN.scenes)
@pytest.mark.parametrize("backwards", [False, True])
def test_golden_snapshots_are_read_and_written_the_same(scene: str, backwards: bool) -> None:
    GOLDEN.check_read(World(relayed(endpoints=(9000, 9001))), scene, backwards=backwards)


def test_this_build_writes_the_golden_snapshots() -> None:
    now = written()
    for name, state in GOLDEN.states.items():
        assert GOLDEN.decoded(name, now[name]) == GOLDEN.decoded(name, state)


def test_a_client_whose_broker_never_came_is_noticed() -> None:
    world = World(relayed())
    now = world.kernel.clock()
    fd = world.kernel.install(Socket(world))
    world.proxy.restore(Saved("amqp.downstream", 99, 1, GOLDEN.one("busy", "amqp.downstream"), fd), now)
    with pytest.raises(CannotRestore, match="never came"):
        world.proxy.restore_shared(world.proxy.save_shared(now), now)


def test_no_password_is_kept() -> None:
    for state in written().values():
        assert b"\0guest\0" not in state


if __name__ == "__main__":
    show(written())
