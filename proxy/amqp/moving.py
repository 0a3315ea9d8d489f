"""A client changes its broker: the one it has is no longer in its cluster, or TLS to it is wanted, or no longer.

    settle   deliveries are stopped, what was delivered is acked, or that takes too long
    fence    the client is not read any more; channel.flow (active) is answered on each channel, so all that it
             published is with the broker; confirms have come, or that takes too long
    dial     a connection to another broker logs in, opens the channels, finds the queues
    change   it takes the former one's place: consumers are resumed there, under their tags, and delivery tags and
             confirms are counted on from where they were

Until the change everything can be undone: then the client stays where it is, and it is tried again later. What cannot
be done elsewhere keeps a connection where it is: see `Moving.why_not`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from proxy.amqp import frame
from proxy.amqp.frame import U64, BadFrame, method
from proxy.amqp.heir import Heir
from proxy.amqp.quiet import Quiet
from proxy.amqp.session import DRAIN, HANDOVER, MOVE, NO_PURPOSE, OPENED, STOPPED, Asked
from proxy.encryption.wishes import WHOLE
from proxy.proxy_protocol.sending import announcement
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.amqp.session import Channel
    from proxy.amqp.state import AmqpDownstreamState
    from proxy.connection import Connection
    from proxy.plane import Places, Plane
    from proxy.tcp import TcpUpstream

SETTLE, FENCE, FENCED, DIAL = 1, 2, 3, 4
"""`Session.moving`. FENCE: it is to be done at the end of the contents under way."""
LOOK: Final = 5.0
"""Seconds between two looks whether the broker is still one of the cluster's."""
RETRY: Final = 30.0
"""Seconds after an attempt that failed: each stops deliveries for a moment."""


class Moving(Quiet):
    """A client connection that can change its broker."""

    __slots__ = ("avoided", "heir", "heir_by", "retry_at", "stays")

    heir: Heir | None

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.heir = None
        """The connection to the next broker, until it serves."""
        self.heir_by = inf
        """All attempts together may take until then."""
        self.retry_at = 0.0
        """No other attempt before."""
        self.avoided: tuple[str, ...] = ()
        """Endpoints that could not be changed to."""
        self.stays = ""
        """Why it does not change its broker, although it should."""

    def opened(self) -> None:
        """From here on it may have to change."""
        if self.watches:
            self.look_by(self.plane.now + LOOK)

    @property
    def watches(self) -> bool:
        """It is to follow its cluster."""
        broker = self.cluster.config.broker
        return broker is not None and broker.when_gone != "stay" and not self.cluster.personal

    # ---- whether ----

    def look(self, now: float) -> None:
        """See `Quiet`."""
        super().look(now)
        session = self.session
        if session.purpose == MOVE:
            if session.moving == SETTLE and self.settle_by <= now:
                self._fence()
            elif session.moving in (FENCE, FENCED) and self.settle_by <= now:
                self._fenced(late=True)
            elif session.moving == DIAL and self.heir_by <= now:
                self._failed("it took too long")
        elif session.purpose == NO_PURPOSE and session.stage == OPENED and not self.ending:
            self._leave_broker()
        if self.watches and session.stage == OPENED:
            self.look_by(min(now + LOOK, self.heir_by))

    def _leave_broker(self) -> None:
        """If the broker is no longer one of the cluster's, or is spoken to in another way than is wanted."""
        cluster = self.cluster
        config = cluster.config.broker
        if self.plane.now < self.retry_at:
            return
        self.stays = ""
        if config is None or not self.watches:
            return
        gone = self.peer.endpoint.whole not in cluster.endpoints
        if gone and config.when_gone == "end":
            self.stop(DRAIN)
        elif config.when_gone == "move" and (gone or self.unfit(self.peer)):
            self.stays = self.why_not()
            if not self.stays:
                self.session.moving = SETTLE
                self.stop(MOVE)

    def unfit(self, upstream: TcpUpstream) -> bool:
        """It is plaintext where TLS is wanted, or the other way round. With a share of less than all, neither is."""
        wishes, endpoint, now = self.cluster.switch.wishes, upstream.endpoint, self.plane.now
        if not wishes.wants(endpoint):
            return upstream.tls is not None
        return upstream.tls is None and wishes.share(now) >= WHOLE and wishes.resting_until(endpoint.name) <= now

    def why_not(self) -> str:
        """What makes it impossible to change the broker, now or ever; empty: nothing does."""
        session = self.session
        if not self.cluster.endpoints:
            return "its cluster has no endpoint"
        if not session.known_login:
            return "it did not log in as its cluster's broker section says"
        if not session.properties:
            return "what the client said of itself is too long to be repeated"
        if session.exclusive or session.countless:
            return "it has exclusive queues, which end with their connection"
        for channel in session.channels.values():
            if channel.dirty:
                return "a transaction is under way"
            if channel.stopped_flow:
                return "its broker stopped the flow of a channel"
            for consumer in channel.consumers.values():
                if session.bound(consumer):
                    return "it waits for direct replies, or reads a stream"
                if not session.stoppable(consumer):
                    return "a consumer is exclusive, its queue ends with it, or its arguments are too long"
        return ""

    # ---- step by step ----

    def drain(self) -> None:
        """See `Quiet`."""
        if self.session.moving:
            self.give_up_moving()
        super().drain()

    def advance(self) -> None:
        """See `Quiet`. Behind the fence nothing is stopped any more."""
        if self.session.moving >= FENCE:
            self.settled()
        else:
            super().advance()

    def between(self, number: int, channel: Channel) -> None:
        """See `Quiet`."""
        if self.session.moving < FENCE:
            super().between(number, channel)
        elif self.session.moving == FENCE:
            self.fence()

    def unclogged(self) -> None:
        """The broker takes more."""
        if self.session.moving < FENCED:
            self.heard = self.plane.now
            self.changes += 1
            self.resume()

    def settled(self) -> None:
        """See `Quiet`."""
        moving = self.session.moving
        if self.session.purpose != MOVE:
            super().settled()
        elif moving == SETTLE:
            self._fence()
        elif moving == FENCE:
            self.fence()
        elif moving == FENCED:
            self._fenced(late=False)

    def _fence(self) -> None:
        """Stop reading the client at the end of what it is sending."""
        self.session.moving = FENCE
        self.settle_by = self.plane.now + self.listener.config.settle_timeout
        self.look_by(self.settle_by)
        self.touch()
        self.fence()

    def fence(self) -> None:
        """Now, if it is in the middle of nothing: see that all it sent reaches the broker."""
        session = self.session
        if session.in_content or any(one.closing for one in session.channels.values()):
            return
        if not (self.peer and self.peer.fd >= 0):
            return
        session.moving = FENCED
        self.pause()
        for number, channel in session.channels.items():
            channel.fenced = False
            self._tell(channel, Asked(frame.FLOW_OK, own=True), method(number, frame.FLOW, b"\1"))
        if not session.channels:
            self._fenced(late=False)

    def _fenced(self, *, late: bool) -> None:
        """Dial if all of it did."""
        session = self.session
        channels = session.channels.values()
        open_ends = any(one.asked or one.down or not one.fenced for one in channels)
        if session.moving != FENCED or open_ends:
            if late:
                self._failed("its broker did not answer")
            return
        if not late and any(one.unconfirmed for one in channels):
            return
        reason = self.why_not()
        if reason:
            self._failed(reason)
            return
        session.moving = DIAL
        self.settle_by = inf
        self._dial_heir()

    def _dial_heir(self) -> None:
        cluster = self.cluster
        endpoint = cluster.pick(self.avoided)
        response = None if cluster.login is None else cluster.login.response()
        if endpoint is None or response is None:
            self.avoided = ()
            self._failed("no other broker can be reached" if response else "there is no password")
            return
        heir = self._new_heir()
        heir.endpoint = endpoint
        heir.client = self
        self.heir = heir
        if self.heir_by == inf:
            patience = cluster.config.connect_timeout + self.listener.config.settle_timeout
            self.heir_by = self.plane.now + patience
        self.touch()
        self.plane.dial(heir, endpoint.address)
        if cluster.announces is not None:
            heir.introduce(announcement(cluster, self))
        self.look_by(self.heir_by)

    def _new_heir(self) -> Heir:
        raise NotImplementedError

    def heir_failed(self, reason: str) -> None:
        """That broker will not do."""
        if self.heir is not None:
            self.avoided = (*self.avoided, self.heir.endpoint.name)
        self._drop_heir()
        self._dial_heir()

    def _failed(self, reason: str) -> None:
        """Stay where it is, for now."""
        self._drop_heir()
        self.heir_by = inf
        self.retry_at = self.plane.now + RETRY
        self.stays = reason
        self.session.moving = 0
        self.go_on()
        self.read_on()
        self.look_by(self.plane.now + LOOK)

    def _drop_heir(self) -> None:
        heir, self.heir = self.heir, None
        if heir is not None:
            heir.client = None
            heir.close()

    def give_up_moving(self) -> None:
        """The client, or its broker, is gone."""
        session = self.session
        if session.moving:
            before, session.moving = session.moving, 0
            session.purpose = NO_PURPOSE
            session.resuming = True
            self.settle_by = self.heir_by = inf
            self._drop_heir()
            if before >= FENCED:
                self.read_on()

    def read_on(self) -> None:
        """What waits here, and what comes."""
        waiting, self.inbox = self.inbox, bytearray()
        self.heard = self.plane.now
        self.resume()
        if waiting and not self.closed:
            try:
                self.take(waiting)
            except BadFrame as why:
                self.give_up(why.code, str(why))

    def change(self) -> None:
        """The heir is ready: from here on it is the broker's side."""
        session = self.session
        old, heir = self.peer, self.heir
        if heir is None:
            return
        self.heir, self.heir_by = None, inf
        self.avoided = ()
        heir.heard = heir.spoke = self.plane.now
        heir.passed += old.passed
        self.count_sent()
        old.peer = None
        old.leave(opened=True)
        self.peer, heir.peer, heir.client = heir, self, None
        session.moving = 0
        session.purpose = NO_PURPOSE
        session.resuming = True
        for number, channel in session.channels.items():
            channel.ahead = channel.delivered
            channel.ahead_confirms = channel.published
            channel.unacked.clear()
            channel.throttled = False
            for consumer in channel.consumers.values():
                consumer.stage = STOPPED
            edges = channel.unconfirmed.edges
            for first, last in zip(edges[::2], edges[1::2], strict=True):
                for tag in (first,) if first == last else range(first, last + 1):
                    self.tell(method(number, frame.NACK, U64.pack(tag) + bytes((0,))))
            channel.unconfirmed.clear()
        if session.blocked:
            session.blocked = False
            self.tell(method(0, frame.UNBLOCKED))
        self.touch()
        self.advance()
        self.read_on()

    # ---- the value ----

    def bonds(self) -> tuple[Connection, ...]:
        """See `Connection`."""
        return super().bonds() if self.heir is None else (*super().bonds(), self.heir)

    def met(self, other: Connection) -> None:
        """The heir came."""
        if isinstance(other, Heir):
            self.heir = other

    def save_moving(
        self, now: float
    ) -> tuple[float | None, float | None, int, float | None, tuple[str, ...], str, float]:
        """The last fields of the state."""
        return (
            remaining(self.settle_by, now),
            remaining(self.look_at, now),
            0 if self.heir is None else self.heir.serial,
            remaining(self.heir_by, now),
            self.avoided,
            self.stays,
            max(0.0, self.retry_at - now),
        )

    def load_moving(self, saved: AmqpDownstreamState, now: float, places: Places) -> None:
        """The counterpart."""
        self.settle_by = deadline(saved.settle_left, now)
        self.look_at = deadline(saved.look_left, now)
        self.heir_by = deadline(saved.heir_left, now)
        self.avoided, self.stays = saved.tried, saved.stays
        self.retry_at = now + saved.retry_left if saved.retry_left else 0.0
        self.heir = None
        for other in places.expect(self, (saved.heir,) if saved.heir else ()).values():
            self.met(other)
        # Its broker may not be in this configuration, or the handover is over for which deliveries were stopped.
        purpose = self.session.purpose
        again = purpose == HANDOVER or (purpose == NO_PURPOSE and self.watches and not self.stays)
        self.came = self.session.stage == OPENED and again

    def describe_moving(self) -> dict[str, Any]:
        """For people."""
        about = super().describe_moving()
        return {**about, "stays": self.stays} if self.stays else about
