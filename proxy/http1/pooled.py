"""A connection to an endpoint and its place in the pool: taken, given back, replaced.

    pool --take--> in use --end of the response--> pool, if both sides keep the connection, else closed
    succeed: dialled --> there --quiet for as long as the dial took--> pool; see `proxy.encryption`

A successor waits a moment before it serves because a server of TLS 1.3 refuses a client behind the handshake.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.http1.download import Download
from proxy.http1.states import Use

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint
    from proxy.http1.exchange import Exchange
    from proxy.plane import Plane
    from proxy.sides import Upstream

DIAL, IDLE, HEAD, TUNNEL = Use.DIAL, Use.IDLE, Use.HEAD, Use.TUNNEL
QUIET: Final = 0.005
"""Seconds that a successor is watched at least before it serves."""


class Pooled(Download):
    """What `Http1Upstream` is apart from the responses that it reads."""

    __slots__ = ("counted", "deadline", "since", "use", "uses")

    pooled: ClassVar[bool] = True

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.use = DIAL
        self.since = 0.0  # when it was taken for the request under way, or dialled to succeed another
        self.uses = 0  # requests that went this way
        self.deadline = inf  # of the dial
        self.counted = False  # its endpoint counts it as in use. Derived from `use`

    @property
    def idle(self) -> bool:
        """In the pool."""
        return self.use is IDLE

    @property
    def serves(self) -> bool:
        """It may go back to the pool."""
        return self.use is not TUNNEL

    # ---- for the exchange ----

    def dial_for(self, exchange: Exchange, endpoint: Endpoint, timeout: float) -> None:
        """Connect; `Exchange.dialled` or `Exchange.try_next` follows."""
        self.endpoint = endpoint
        self._join(exchange)
        self.deadline = self.plane.now + timeout
        self.plane.dial(self, endpoint.address)
        self.announce(exchange)
        self.wake(self.deadline)

    def take(self, exchange: Exchange) -> None:
        """Use this idle connection for the next request."""
        self.peer = exchange  # `_join` spelled out, as is `_part` in `_complete`: 0.4 us. What is idle is not counted
        exchange.peer = self  # type: ignore[assignment]  # as in `_join`
        self.counted = True
        self.endpoint.begin()
        self.use = HEAD
        self.uses += 1
        self.since = self.plane.now

    def drop(self) -> None:
        """Nobody wants the response any more."""
        self._part()
        self.close()

    def _join(self, exchange: Exchange) -> None:
        self.peer = exchange
        exchange.peer = self  # type: ignore[assignment]  # there is one subclass
        self._count(in_use=True)

    def _part(self) -> None:
        exchange = self.peer
        if exchange is not None:
            exchange.peer = None
            exchange.changes += 1
            self.peer = None
        self._count(in_use=False)

    def _count(self, *, in_use: bool) -> None:
        if in_use != self.counted:
            self.counted = in_use
            if in_use:
                self.endpoint.begin()
            else:
                self.endpoint.end()

    # ---- replaced: see `Upstream` ----

    def succeed(self) -> None:
        """See `Upstream`. It serves the same client as this one, if that serves only one."""
        successor = type(self)(self.plane)
        successor.endpoint = self.endpoint
        successor.spare = True
        successor.since = now = self.plane.now
        successor.deadline = now + self.endpoint.cluster.config.connect_timeout
        self.plane.dial(successor, self.endpoint.address)
        successor.announced = self.announced
        successor.introduce(self.announced)
        successor.wake(successor.deadline)

    def replaces(self, other: Upstream) -> bool:
        """See `Upstream`."""
        return super().replaces(other) and isinstance(other, Pooled) and self.announced == other.announced

    def _there(self) -> None:
        """The connection of a successor is made."""
        now = self.plane.now
        self.deadline = now + max(now - self.since, QUIET)
        self.wake(self.deadline)

    def _succeeds(self) -> None:
        """It was quiet: into the pool."""
        self.spare = False
        self.changes += 1
        self.deadline = inf
        pool, whole = self.endpoint.pool, self.endpoint.whole.pool
        if self.plane.draining or not whole.limit:
            self.close()
            return
        pool.restore(self, idle=True)  # also into a full one: another goes for it
        self.use = IDLE
        self.active = now = self.plane.now
        self.recount()
        self.wake(now + pool.keepalive)
        self.endpoint.cluster.switch.succeeded(self, now)
        if len(whole) > whole.limit:
            whole.connections()[0].close()

    def _unfit(self, reason: str) -> None:
        """A successor that is none."""
        self.endpoint.cluster.switch.refused(self, reason, self.plane.now)
        self.close()

    def retire(self) -> None:
        """See `Upstream`. It is idle."""
        self.count_retired("own")
        self.close()

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        self.deadline = when

    def detached(self) -> None:
        """It ended, or lives elsewhere now."""
        super().detached()
        self.endpoint.pool.discard(self)
        self._count(in_use=False)

    def drain(self) -> None:
        """End if idle."""
        if self.use is IDLE or self.spare:
            self.close()
