"""Asks an endpoint whether it works: a connection of its own for each check, which moves like any other.

    dialling --> connected (tcp: healthy) --question--> answer --> closed

What is asked, and what counts as an answer, is that of the application's check (`proxy.app`).
"""

from __future__ import annotations

import logging
import os
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.log import fields
from hotswap.swappable import Schema
from proxy.app import answer, question
from proxy.config.model import AppConfig
from proxy.encryption.reasons import TOO_SLOW
from proxy.proxy_protocol.sending import announcement
from proxy.sides import Upstream
from proxy.state import ProbeState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint
    from proxy.plane import Places, Plane

log = logging.getLogger("proxy")

LONGEST_ANSWER: Final = 65536
"""Bytes that are read of an answer."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProbeState).decode


class Probe(Upstream):
    """One check. It tells the endpoint's `Watch` once, by `checked`."""

    __slots__ = ("deadline", "inbox")

    kind: ClassVar[str] = "probe"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.inbox = b""
        self.deadline = inf

    def dial_for(self, endpoint: Endpoint, timeout: float) -> None:
        """Begin."""
        self.endpoint = endpoint
        self.deadline = self.plane.now + timeout
        self.plane.dial(self, endpoint.address)
        self.introduce(announcement(endpoint.cluster, None))
        self.wake(self.deadline)

    def attached(self) -> None:
        """One check of an endpoint at a time."""
        if self.endpoint.watch is not None:
            self.endpoint.watch.probe = self

    def detached(self) -> None:
        """It is over."""
        if self.endpoint.watch is not None and self.endpoint.watch.probe is self:
            self.endpoint.watch.probe = None

    def reached(self, seconds: float) -> None:
        """Only what serves clients is counted."""

    @property
    def _asks(self) -> AppConfig | None:
        """What is asked by the configuration in force; None if nothing is asked any more."""
        check = None if self.endpoint.watch is None else self.endpoint.watch.check
        return None if check is None else AppConfig(address=self.endpoint.address, check=check.check, path=check.path)

    def connected(self) -> None:
        """Ask, if there is more to ask."""
        asks = self._asks
        if asks is not None and asks.check != "tcp":
            self.send(question(asks))
        elif self.outbox:  # a header, that is to be sent before the end
            self.shut()
        else:
            self._tell("")

    def finished(self) -> None:
        """The connection is there, and its header was sent."""
        self._tell("")

    def received(self, data: bytes) -> None:
        """A piece of the answer."""
        self.inbox += data
        self._judge(ended=len(self.inbox) > LONGEST_ANSWER)

    def ended(self) -> None:
        """There is no more of it."""
        self._judge(ended=True)

    def _judge(self, *, ended: bool) -> None:
        asks = self._asks
        verdict = "" if asks is None else answer(asks, self.inbox, ended=ended)
        if verdict is not None:
            self._tell(verdict)

    def connect_failed(self, errno: int) -> None:
        """The endpoint cannot be reached."""
        self._tell(os.strerror(errno).lower())

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        self.deadline = when

    def failed(self, errno: int) -> None:
        """It hung up. One that refuses TLS alone is asked in plaintext next time."""
        if self.refused():
            return
        self._tell(os.strerror(errno).lower())

    def due(self) -> float:
        """When it takes too long."""
        return self.deadline

    def expired(self, now: float) -> None:
        """It takes too long: the endpoint, or its TLS, which it may do without."""
        if self.connecting and self.plane.in_plaintext(self, TOO_SLOW):
            return
        self._tell("no answer in time")

    def _tell(self, failure: str) -> None:
        self.close()
        watch, endpoint = self.endpoint.watch, self.endpoint
        if watch is None:
            return
        before = watch.healthy
        watch.checked(failure)
        if watch.healthy is not before:
            about = {"cluster": endpoint.cluster.name, "endpoint": endpoint.name}
            if watch.healthy:
                log.info("an endpoint passes its checks again", extra=fields(**about))
            else:
                log.warning("an endpoint fails its checks", extra=fields(reason=failure, **about))

    def drain(self) -> None:
        """Whoever owns then will ask again."""
        self.close()

    def save(self, now: float) -> bytes:
        """See `proxy.state.ProbeState`."""
        endpoint = self.endpoint
        left = remaining(self.deadline, now)
        return _encode(ProbeState(self.transport(now), endpoint.cluster.name, endpoint.name, left, self.inbox))

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        self.endpoint = places.endpoint(saved.cluster, saved.endpoint)
        self.load_transport(saved.transport, now, places)
        self.deadline = deadline(saved.left, now)
        self.inbox = saved.inbox
