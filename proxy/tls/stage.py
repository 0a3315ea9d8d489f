"""What the stages of a client's connection before its protocol begins have in common, and are as values."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

from proxy.proxy_protocol.header import Pair
from proxy.sides import Downstream
from proxy.state import Transport
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.plane import Places, Plane


class StageState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `Stage`. The deadline is the seconds that remain."""

    transport: Transport
    listener: str
    address: str
    protocol: str
    remote: str
    left: float | None = None
    introduced: Pair | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StageState).decode


class Stage(Downstream):
    """A connection of which something is still to be found out, by its deadline."""

    __slots__ = ("deadline", "protocol")

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.deadline = inf
        self.protocol = ""
        """That of its listener when it came."""

    def expect_by(self, when: float) -> None:
        """It begins: `expired` is called at that moment."""
        self.protocol = self.listener.config.protocol
        self.deadline = when
        self.wake(when)

    def due(self) -> float:
        """When it takes too long."""
        return self.deadline

    def save(self, now: float) -> bytes:
        """See `StageState`."""
        listener = self.listener
        left = remaining(self.deadline, now)
        return _encode(
            StageState(
                self.transport(now),
                listener.name,
                listener.address,
                self.protocol,
                self.remote,
                left,
                self.introduced,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, saved.protocol)
        self.load_transport(saved.transport, now, places)
        self.protocol = saved.protocol
        self.remote = saved.remote
        self.deadline = deadline(saved.left, now)
        self.introduced, self.destination, self.server_name = saved.introduced, "", ""
