"""What the Dubbo tests have in common: configurations, and frames that real peers sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.config.model import FilterConfig, MatchConfig, RouteConfig
from tests.kit import dubbo
from tests.proxy.multiplexed.scene import EVERYTHING, calls

if TYPE_CHECKING:
    from proxy.config.model import Config
    from tests.kit.dubbo import Frame
    from tests.proxy.simulation import Socket, World

VECTORS = Path(__file__).parents[2] / "vectors" / "dubbo.json"
BY_INTERFACE = (
    RouteConfig(cluster="app", match=MatchConfig(interface="com.acme.Orders")),
    RouteConfig(cluster="other", match=MatchConfig(interface="com.other.*", method="get*", version="1.?.0")),
)
BY_GROUP = (
    RouteConfig(cluster="other", match=MatchConfig(group="blue")),
    RouteConfig(cluster="other", match=MatchConfig(headers=(("x-lane", "green"),))),
    RouteConfig(cluster="app", match=MatchConfig(interface="kit.Echo")),
)


class Captured(msgspec.Struct, rename={"number": "id", "raw": "hex", "serialization": "ser"}):
    """A frame on the wire between real peers; absent fields are those that its kind has not."""

    source: str
    dir: str
    kind: str
    raw: str
    number: int
    req: bool
    twoway: bool
    event: bool
    serialization: int
    len: int
    path: str = ""
    version: str | None = None
    method: str = ""
    desc: str = ""
    status: str = ""
    attachments: dict[str, str | None] | None = None
    error: str = ""

    @property
    def frame(self) -> bytes:
        """The whole frame."""
        return bytes.fromhex(self.raw)


def captured() -> list[Captured]:
    """All of them, in the order of the captures."""
    return msgspec.json.decode(VECTORS.read_bytes(), type=list[Captured])


def exchanges() -> list[tuple[Captured, Captured]]:
    """Calls of clients with the responses to them."""
    found = []
    waiting: dict[tuple[str, int], Captured] = {}
    for one in captured():
        if one.event:
            continue
        if one.dir == "c2s" and one.req and one.twoway:
            waiting[one.source, one.number] = one
        elif one.dir == "s2c" and not one.req:
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
    return calls("dubbo", "127.0.0.1:20880", endpoints=endpoints, routes=routes, listener=listener, cluster=cluster)


def edited() -> Config:
    """A listener "rpc" whose calls and answers pass filters that edit every one of them."""
    return rpc(
        listener={
            "max_frame": 1 << 17,
            "filters": (
                FilterConfig(
                    name="headers",
                    config={
                        "request": {"set": {"x-edge": "one"}, "remove": ["group"]},
                        "response": {"set": {"b": "c"}},
                    },
                ),
            ),
        }
    )


def pair(world: World, number: int = 7) -> tuple[Socket, Socket, Frame]:
    """A client with a call under way, and the server that got it."""
    client = world.connect("rpc")
    client.send(dubbo.call(number, b"first"))
    server = world.dialled()
    server.accept()
    return client, server, sole(server)


def taken(socket: Socket) -> list[Frame]:
    """The frames that came since the last look."""
    reader = dubbo.FrameReader()
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
    assert not any(frame.flags & dubbo.REQUEST for frame in frames)
    return {frame.id: frame.status for frame in frames}
