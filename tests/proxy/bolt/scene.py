"""What the bolt tests have in common: configurations, and frames that real peers sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.config.model import MatchConfig, RouteConfig
from tests.kit import bolt
from tests.kit.bolt import Dialect, Frame
from tests.proxy.multiplexed.scene import EVERYTHING, calls

if TYPE_CHECKING:
    from proxy.config.model import Config
    from tests.proxy.simulation import Socket, World

VECTORS = Path(__file__).parents[2] / "vectors" / "bolt.json"
V1, V2, V2_CRC = bolt.DIALECTS
BY_SERVICE = (
    RouteConfig(cluster="app", match=MatchConfig(service="com.acme.Orders:1.0")),
    RouteConfig(cluster="other", match=MatchConfig(service="com.other.*")),
    RouteConfig(cluster="other", match=MatchConfig(headers=(("x-lane", "blue"),))),
)


class Captured(msgspec.Struct, rename={"number": "id", "raw": "hex", "class_name": "class_", "switched": "switch"}):
    """A frame on the wire between real peers; absent fields are those that its kind has not."""

    source: str
    kind: str
    raw: str
    number: int
    proto: int
    type: str
    cmdcode: int
    codec: int
    content: str
    class_name: str
    dir: str = ""
    ver1: int = 0
    switched: int = 0
    timeout: int | None = None
    status: int | None = None
    header: list[tuple[str | None, str | None]] = []
    crc: str | None = None

    @property
    def frame(self) -> bytes:
        """The whole frame."""
        return bytes.fromhex(self.raw)


def captured() -> list[Captured]:
    """All of them, in the order of the captures."""
    return msgspec.json.decode(VECTORS.read_bytes(), type=list[Captured])


def exchanges() -> list[tuple[Captured, Captured]]:
    """Requests of clients with the responses to them."""
    found = []
    waiting: dict[tuple[str, int], Captured] = {}
    for one in captured():
        if one.dir == "c2s" and one.type == "REQ":
            waiting[one.source, one.number] = one
        elif one.dir == "s2c" and one.type == "RESP":
            request = waiting.pop((one.source, one.number), None)
            if request is not None:
                found.append((request, one))
    return found


def rpc(
    *,
    endpoints: int = 1,
    routes: tuple[RouteConfig, ...] = EVERYTHING,
    listener: dict[str, Any] | None = None,
    **cluster: Any,
) -> Config:
    """See `calls`."""
    return calls("bolt", "127.0.0.1:12200", endpoints=endpoints, routes=routes, listener=listener, cluster=cluster)


def pair(world: World, dialect: Dialect = V1, number: int = 7) -> tuple[Socket, Socket, Frame]:
    """A client with a call under way, and the server that got it."""
    client = world.connect("rpc")
    client.send(bolt.call(dialect, number, b"first"))
    server = world.dialled()
    server.accept()
    return client, server, sole(server)


def taken(socket: Socket) -> list[Frame]:
    """The frames that came since the last look."""
    reader = bolt.FrameReader()
    frames = reader.feed(socket.take())
    assert not reader.partial
    return frames


def sole(socket: Socket) -> Frame:
    """The one frame that came since the last look."""
    (frame,) = taken(socket)
    return frame


def statuses(socket: Socket) -> dict[int, int]:
    """The responses that came since the last look: id -> status."""
    frames = taken(socket)
    assert all(frame.type == bolt.RESPONSE for frame in frames)
    return {frame.id: frame.timeout for frame in frames}
