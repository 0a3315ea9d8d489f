"""A client's connection of which only its first bytes tell what it is.

    accepted --> peek --begins a TLS record, tls_mode: permissive--> Handshaking
                   |  `--ClientHello complete, routes by sni--> tcp, to the cluster of that name
                   |--anything else--> the protocol's own connection, plaintext
                   `--silence for first_bytes_timeout--> the same: the server may have to speak first
                                  (without that key: closed after header_timeout)

Bytes are looked at, never taken (MSG_PEEK): whoever takes over reads them all. So it is a value, and moves.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.proxy_protocol.header import Pair
from proxy.sides import Downstream
from proxy.state import Transport
from proxy.timers import deadline, remaining
from proxy.tls.hello import LONGEST_HELLO, Hello, NotHello, looks_like_tls, read_hello

if TYPE_CHECKING:
    from proxy.plane import Places, Plane, Read


class UndecidedState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `Undecided`. The deadline is the seconds that remain."""

    transport: Transport
    listener: str
    address: str
    protocol: str
    remote: str
    left: float | None = None
    introduced: Pair | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UndecidedState).decode


class Undecided(Downstream):
    """Waits for the first bytes."""

    __slots__ = ("deadline", "protocol")

    kind: ClassVar[str] = "undecided"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.deadline = inf
        self.protocol = ""

    def begin(self) -> None:
        """The first bytes are due."""
        config = self.listener.config
        self.protocol = config.protocol
        self.deadline = self.plane.now + (config.first_bytes_timeout or config.header_timeout)
        self.wake(self.deadline)

    def readable(self, read: Read, now: float) -> None:
        """Look, and take nothing.

        What is looked at is no change: the plane looks again behind one, for a FIN, and would do so without end.
        """
        try:
            first = self.plane.peek(self.fd, LONGEST_HELLO)
        except OSError as error:
            self.plane.io_failed(self, error)
            return
        tls: bool | None = False
        if self.listener.tls is not None:
            tls = looks_like_tls(first) if first else False
        elif first:
            try:
                hello = read_hello(first)
            except NotHello:
                hello = Hello()
            if hello is None:
                return
            self.server_name = hello.server_name
        if tls is not None:
            self.plane.decided(self, tls=tls)

    def expired(self, now: float) -> None:
        """Nothing came, or not enough."""
        if self.listener.config.first_bytes_timeout is None:
            self.close()
        else:
            self.plane.decided(self, tls=False)

    def due(self) -> float:
        """When it has been silent for too long."""
        return self.deadline

    def stage(self) -> str:
        """See `Connection.stage`."""
        return "undecided"

    def save(self, now: float) -> bytes:
        """See `UndecidedState`."""
        listener = self.listener
        left = remaining(self.deadline, now)
        return _encode(
            UndecidedState(
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
