"""The value law: whatever the cuts, whatever moves, both ends hear the same.

Two clients publish with confirms and consume with acks, at a broker that is played; everything may move after each
action, quietly or not, and the broker may change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, cycle, pairwise, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.model import BrokerConfig, Config
from tests.kit.amqp_broker import Broker, Session
from tests.kit.amqp_client import Conversation
from tests.proxy.amqp.scene import captured, relayed
from tests.proxy.simulation import Socket, World


class Say(NamedTuple):
    """Something a client does."""

    client: int
    what: str
    size: int


SAYS = st.builds(
    Say, st.integers(0, 1), st.sampled_from(["publish", "publish", "ack", "beat", "get", "qos"]), st.integers(0, 300)
)
CUTS = st.lists(st.integers(1, 400), max_size=6)
MOVES = st.lists(st.booleans(), min_size=1, max_size=12)


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    for start, end in pairwise(at):
        yield data[start:end]


class Stage:
    """Two clients, and brokers of one cluster."""

    def __init__(self, config: Config, moves: Iterator[bool], cuts: Sequence[int]) -> None:
        self.world = World(config)
        self.moves = moves
        self.cuts = cuts
        self.broker = Broker()
        self.count = 0
        self.clients: list[tuple[Socket, Conversation]] = []
        self.servers: list[tuple[Socket, Session]] = []
        for _ in range(2):
            self.clients.append((self.world.connect("mq"), Conversation()))
            self.accept()

    def accept(self) -> None:
        while self.world.dials:
            socket = self.world.dialled()
            self.servers.append((socket, self.broker.session()))
            socket.accept()

    def say(self, socket: Socket, data: bytes) -> None:
        for piece in pieces(data, self.cuts):
            if socket.closed:
                return
            if not next(self.moves):
                socket.send(piece)
                continue
            self.count += 1
            if self.count % 2:  # between two rounds: only what is known to have changed is copied again
                self.world.move(meanwhile=partial(socket.send, piece))
            else:
                socket.send(piece)
                self.world.move()
            self.world.tick()

    def run(self) -> None:
        """Until nobody has anything to say."""
        busy = True
        while busy:
            busy = bool(self.world.dials)
            self.accept()
            for socket, client in self.clients:
                heard, said = socket.take(), client.take()
                client.feed(heard)
                busy = busy or bool(heard or said)
                self.say(socket, said)
            for socket, session in self.servers:
                came = socket.take()
                if not session.closed:
                    session.feed(came)
                said = session.take()
                busy = busy or bool(came or said)
                if said:
                    self.say(socket, said)


def check(config: Config, says: Sequence[Say], moves: Iterator[bool], cuts: Sequence[int]) -> Stage:
    stage = Stage(config, moves, cuts)
    stage.run()
    for _, client in stage.clients:
        client.open(1)
        client.open(7)
        client.confirm(1)
        client.declare(1, b"q")
        client.qos(1, 3)
        client.consume(1, b"q", b"tag")
    stage.run()
    published = [0, 0]
    bodies: list[bytes] = []
    acked: list[set[int]] = [set(), set()]
    for number, say in enumerate(says):
        client = stage.clients[say.client][1]
        if say.what == "publish":
            bodies.append(b"%d " % number + bytes(say.size))
            client.publish(1, b"q", bodies[-1])
            published[say.client] += 1
        elif say.what == "beat":
            client.beat()
        elif say.what == "qos":
            client.qos(1, 1 + say.size % 5)
        elif say.what == "get":
            client.say(7, 60, 70, bytes(2) + b"\1q" + b"\2")
        else:
            ack(client, acked[say.client])
        stage.run()
    for _ in range(len(says) + 1):
        for (_, client), done in zip(stage.clients, acked, strict=True):
            ack(client, done)
        stage.run()
    heard = [one for _, client in stage.clients for one in client.deliveries]
    assert sorted(one.body for one in heard) == sorted(bodies)
    assert not any(one.redelivered for one in heard)
    for (_, client), count in zip(stage.clients, published, strict=True):
        assert client.confirmed == [(1, number + 1, False) for number in range(count)]
        tags = [one.tag for one in client.deliveries if one.channel == 1]
        assert tags == list(range(1, len(tags) + 1))
        assert not client.partial
        assert not client.code()
    return stage


def ack(client: Conversation, done: set[int]) -> None:
    for one in client.deliveries:
        if one.channel == 1 and one.tag not in done:
            client.ack(1, one.tag)
            done.add(one.tag)


@pytest.mark.parametrize("handover", ["value", "quiet"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(says=st.lists(SAYS, max_size=8), moves=MOVES, cuts=CUTS)
def test_every_message_survives_any_cut_and_any_move(
    handover: str, says: list[Say], moves: list[bool], cuts: list[int]
) -> None:
    # Quietly, each handover makes both ends say something: with one after each action there would be no end.
    endless = cycle(moves) if handover == "value" else chain(moves * 6, repeat(False))
    stage = check(relayed(listener={"handover": handover}), says, endless, cuts)
    assert len(stage.servers) == 2


@pytest.mark.parametrize("handover", ["value", "quiet"])
def test_byte_by_byte_with_a_move_after_each(handover: str) -> None:
    says = [Say(n % 2, what, 5) for n, what in enumerate(["publish", "ack"])]
    endless = cycle([True]) if handover == "value" else chain([True] * 400, repeat(False))
    check(relayed(listener={"handover": handover}), says, endless, range(1, 1000))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(says=st.lists(SAYS, min_size=1, max_size=8), moves=MOVES, cuts=CUTS, at=st.integers(0, 7))
def test_a_change_of_broker_survives_any_cut_and_any_move(
    says: list[Say], moves: list[bool], cuts: list[int], at: int
) -> None:
    with TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text("guest")
        broker = BrokerConfig(when_gone="move", username="guest", password_file=str(password))
        before = relayed(endpoints=(9000,), broker=broker)
        after = relayed(endpoints=(9001,), broker=broker)

        class Changing(Stage):
            changes = 0
            changed = False

            def run(self) -> None:
                super().run()
                self.changes += 1
                if self.changes > at + 2 and not self.changed:
                    self.changed = True
                    self.world.move(after)
                    self.world.tick()
                    super().run()

        stage = Changing(before, cycle(moves), cuts)
        _converse(stage, says)
        assert len(stage.servers) == 4
        assert [session.closed for _, session in stage.servers] == [True, True, False, False]


def _converse(stage: Stage, says: Sequence[Say]) -> None:
    stage.run()
    for _, client in stage.clients:
        client.open(1)
        client.confirm(1)
        client.declare(1, b"q")
        client.qos(1, 3)
        client.consume(1, b"q", b"tag")
    stage.run()
    bodies: list[bytes] = []
    acked: list[set[int]] = [set(), set()]
    for number, say in enumerate(says):
        client = stage.clients[say.client][1]
        if say.what == "publish":
            bodies.append(b"%d " % number + bytes(say.size))
            client.publish(1, b"q", bodies[-1])
        elif say.what == "beat":
            client.beat()
        else:
            ack(client, acked[say.client])
        stage.run()
    for _ in range(12):
        for (_, client), done in zip(stage.clients, acked, strict=True):
            ack(client, done)
        stage.run()
    heard = [one for _, client in stage.clients for one in client.deliveries]
    assert sorted(one.body for one in heard) == sorted(bodies)
    assert not any(one.redelivered for one in heard)
    for _, client in stage.clients:
        assert [one[1] for one in client.confirmed] == list(range(1, len(client.confirmed) + 1))
        tags = [one.tag for one in client.deliveries]
        assert tags == list(range(1, len(tags) + 1))
        assert not client.partial
        assert not client.code()


def test_saving_has_no_effect_and_restoring_gives_the_same_values() -> None:
    world = World(relayed())
    client = world.connect("mq")
    server = world.dialled()
    server.accept()
    for one in captured():
        source = client if one.dir == "c2s" else server
        for piece in pieces(one.frame, range(3, len(one.frame), 11)):
            source.send(piece)
            before = {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
            again = {serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()}
            assert before == again
            world.move()
            assert before == {
                serial: value.save(world.kernel.clock()) for serial, value in world.proxy.values().items()
            }
