"""A connection whose client is still to be told by the header, and who may tell.

    accepted --from `trusted`--> Introduction --header--> the protocol's own connection, with the client's address
        |                             `--malformed: reset, silent: closed
        `--from others--> reset, or served without a header

Bytes are looked at before they are taken (MSG_PEEK): those of an incomplete header all belong to it and are read into
`inbox`, of the last read nothing behind the header. So what follows is read by the protocol's connection alone.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address, ip_network
from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from hotswap.log import fields
from hotswap.swappable import Schema
from proxy.proxy_protocol.header import LONGEST, UNIX, BadHeader, parse, plain_host
from proxy.sides import Downstream
from proxy.state import Transport
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.calls import Calls
    from proxy.config.model import ProxyProtocolConfig
    from proxy.plane import Places, Plane

log = logging.getLogger("proxy")

QUIET = 60.0
"""Seconds between two lines of a listener's log about headers; the next one tells how many were left out."""


class IntroductionState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `Introduction`. The deadline is the seconds that remain."""

    transport: Transport
    listener: str
    address: str
    protocol: str
    remote: str
    left: float | None = None
    inbox: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IntroductionState).decode


class Gate:
    """Who may send headers on a listener, and what became of those who did not do it well."""

    __slots__ = ("_log_at", "_networks", "_unix", "direct", "malformed", "missing", "refused", "timeout")

    def __init__(self, config: ProxyProtocolConfig) -> None:
        self._networks = tuple(ip_network(one) for one in config.trusted if one != UNIX)
        self._unix = UNIX in config.trusted
        self.direct = config.others == "direct"
        """Others are served, without a header."""
        self.timeout = config.timeout
        self.refused = self.malformed = self.missing = 0
        """Connections since this generation owns: of others, with something else than a header, without a whole one."""
        self._log_at = -inf

    def follow(self, former: Gate) -> None:
        """Go on counting where another one ends."""
        self.refused, self.malformed, self.missing = former.refused, former.malformed, former.missing

    def trusts(self, host: str) -> bool:
        """Whether this host sends headers."""
        if host == UNIX:
            return self._unix
        address = ip_address(plain_host(host))
        return any(address in network for network in self._networks)

    def refuse(self, connection: str, host: str, now: float) -> None:
        """A connection of somebody else."""
        self.refused += 1
        self._tell(connection, host, "it is not among the trusted ones", now)

    def spoil(self, connection: str, host: str, why: str, now: float) -> None:
        """Something else than a header came."""
        self.malformed += 1
        self._tell(connection, host, why, now)

    def _tell(self, listener: str, host: str, why: str, now: float) -> None:
        if now >= self._log_at:
            self._log_at = now + QUIET
            about = fields(listener=listener, remote=host, why=why, **self.describe())
            log.warning("a connection was reset for its PROXY protocol header", extra=about)

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {"refused": self.refused, "malformed": self.malformed, "missing": self.missing}


class Introduction(Downstream):
    """A connection of a trusted proxy until the header is there. Any protocol: nothing behind the header is read."""

    __slots__ = ("deadline", "inbox", "protocol")

    kind: ClassVar[str] = "introduction"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.inbox = b""
        self.deadline = inf
        self.protocol = ""

    def begin(self) -> None:
        """The header is due."""
        self.protocol = self.listener.config.protocol
        gate = self.listener.gate
        if gate is not None:
            self.deadline = self.plane.now + gate.timeout
            self.wake(self.deadline)

    def readable(self, calls: Calls, now: float) -> None:
        """Take the header and not a byte more."""
        try:
            data = self.plane.peek(self.fd, LONGEST - len(self.inbox))
            if not data:
                self.plane.at_end(self)
                return
            header = parse(self.inbox + data)
            size = len(data) if header is None else header.size - len(self.inbox)
            self.inbox += calls.read(self.fd, size)
        except OSError as error:
            self.plane.io_failed(self, error)
        except BadHeader as why:
            self._give_up(str(why))
        else:
            self.active = now
            self.changes += 1
            if header is not None:
                remote = self.remote if header.pair is None else plain_host(header.pair.source)
                self.plane.introduced(self, remote, header.pair)

    def _give_up(self, why: str) -> None:
        self.listener.meters.headers.inc()
        gate = self.listener.gate
        if gate is not None:
            gate.spoil(self.listener.name, self.remote, why, self.plane.now)
        self.reset()

    def ended(self) -> None:
        """A FIN instead of the header: somebody looked whether we listen, or the header is cut off."""
        if self.inbox:
            self._give_up("the header is cut off")
        else:
            self._missing()

    def expired(self, now: float) -> None:
        """The header did not come in time."""
        self._missing()

    def _missing(self) -> None:
        if self.listener.gate is not None:
            self.listener.gate.missing += 1
        self.close()

    def due(self) -> float:
        """When the header has taken too long."""
        return self.deadline

    def stage(self) -> str:
        """See `Connection.stage`."""
        return "header"

    def save(self, now: float) -> bytes:
        """See `IntroductionState`."""
        listener = self.listener
        left = remaining(self.deadline, now)
        return _encode(
            IntroductionState(
                self.transport(now), listener.name, listener.address, self.protocol, self.remote, left, self.inbox
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`. Whoever was trusted when it connected still sends the header."""
        saved = _decode(state)
        self.listener = places.listener(saved.listener, saved.address, saved.protocol)
        self.load_transport(saved.transport, now, places)
        self.protocol = saved.protocol
        self.remote = saved.remote
        self.deadline = deadline(saved.left, now)
        self.inbox = saved.inbox
        self.introduced, self.destination, self.server_name = None, "", ""
