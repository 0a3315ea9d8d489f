"""A client whose broker leaves its cluster."""

from __future__ import annotations

from pathlib import Path

from proxy.config.model import BrokerConfig, Config
from tests.proxy.amqp.scene import Pair, relayed
from tests.proxy.simulation import World


def brokers(password: Path, *endpoints: int, when_gone: str = "move", **listener: object) -> Config:
    broker = BrokerConfig(when_gone=when_gone, username="guest", password_file=str(password))  # type: ignore[arg-type]
    return relayed(endpoints=endpoints, broker=broker, listener=listener)


class Change:
    """A consumer and publisher whose broker leaves the cluster."""

    def __init__(self, password: Path, *, moving: bool = False, **terms: object) -> None:
        self.password = password
        self.world = World(brokers(password, 9000, **terms), moving=moving)  # type: ignore[arg-type]
        self.terms = terms
        self.pair = Pair(self.world)
        self.pair.open(1)
        self.client = self.pair.client

    def consume(self, *, bits: int = 0, queue_bits: int = 0, prefetch: int = 10) -> None:
        self.client.confirm(1)
        self.client.declare(1, b"q", queue_bits)
        self.client.qos(1, prefetch)
        self.client.consume(1, b"q", b"tag", bits)
        self.pair.run()

    def leave(self, *endpoints: int) -> None:
        """Another configuration, by a handover; then everybody talks."""
        moving, self.world.moving = self.world.moving, False
        self.world.move(brokers(self.password, *(endpoints or (9001,)), **self.terms))  # type: ignore[arg-type]
        self.world.moving = moving
        self.world.settle()
        self.pair.run()

    def stays(self) -> str:
        (shown,) = [one for one in self.world.proxy.connections() if one["kind"] == "amqp.downstream"]
        return str(shown.get("stays", ""))

    def publish(self, body: bytes) -> None:
        self.client.publish(1, b"q", body)
        self.pair.run()

    def ack_all(self) -> None:
        self.client.ack(1, 0, several=True)
        self.pair.run()
