"""What the AMQP tests have in common: configurations, clients and brokers on simulated sockets, captured frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig
from tests.kit.amqp_broker import Broker, Session
from tests.kit.amqp_client import Conversation
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket

VECTORS = Path(__file__).parents[2] / "vectors" / "amqp091.json"


class Captured(msgspec.Struct, rename={"raw": "hex", "method": "m", "channel": "ch"}):
    """A frame on the wire between real peers."""

    raw: str
    dir: str
    channel: int
    method: str = ""

    @property
    def frame(self) -> bytes:
        """The whole frame."""
        return bytes.fromhex(self.raw)


def captured() -> list[Captured]:
    """All of them, in the order of the capture."""
    return msgspec.json.decode(VECTORS.read_bytes(), type=list[Captured])


def relayed(*, endpoints: tuple[int, ...] = (9000,), listener: dict[str, Any] | None = None, **cluster: Any) -> Config:
    """One listener "mq" and one cluster "brokers"."""
    return Config(
        name="edge",
        listeners=(
            ListenerConfig(
                name="mq",
                address=Address.parse("127.0.0.1:5672"),
                protocol="amqp",
                routes=(RouteConfig(cluster="brokers"),),
                **(listener or {}),
            ),
        ),
        clusters=(
            ClusterConfig(
                name="brokers",
                endpoints=tuple(EndpointConfig(address=Address.parse(f"127.0.0.1:{port}")) for port in endpoints),
                **({"connect_timeout": 1.0} | cluster),
            ),
        ),
    )


class Pair:
    """A client and the broker that it was given, in a world."""

    def __init__(self, world: World, broker: Broker | None = None, *, heartbeat: int = 60, **terms: int) -> None:
        self.world = world
        self.broker = broker or Broker()
        self.client = Conversation(heartbeat)
        self.near = world.connect("mq")
        self.far = world.dialled()
        self.session = self.broker.session(**terms)
        self.far.accept()
        self.played: list[tuple[Socket, Session]] = [(self.far, self.session)]

    def run(self) -> None:
        """Let everybody talk until nobody has anything to say."""
        while True:
            said = self.client.take()
            if said and not self.near.closed:
                self.near.send(said)
            heard = self.near.take()
            self.client.feed(heard)
            busy = bool(said or heard)
            for socket, session in self.played:
                came = socket.take()
                if not session.closed:
                    session.feed(came)
                out = session.take()
                if out and not socket.closed:
                    socket.send(out)
                busy = busy or bool(came or out)
            if not busy:
                return

    def answer_dial(self) -> Session:
        """The proxy dialled another broker of the same cluster: play it, too."""
        socket = self.world.dialled()
        session = self.broker.session()
        socket.accept()
        self.played.append((socket, session))
        return session

    def open(self, *channels: int) -> None:
        """Log in, and open channels."""
        self.run()
        for channel in channels:
            self.client.open(channel)
        self.run()
        assert self.client.opened
