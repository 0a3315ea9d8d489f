"""An AMQP client as the functions see it that follow its connection: its session, and what has to be done with it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

from proxy.amqp.frame import close
from proxy.amqp.session import CLOSING, OPENED, Session
from proxy.amqp.stream import GOODBYE, Framed
from proxy.tcp import TcpDownstream

if TYPE_CHECKING:
    from proxy.amqp.session import Channel, Consumer
    from proxy.plane import Plane


class Client(Framed, TcpDownstream):
    """A client connection."""

    __slots__ = (
        "acked",
        "closing_by",
        "delivered",
        "ending",
        "greeted",
        "heard",
        "inbox",
        "published",
        "session",
        "spoke",
        "wanted",
    )

    protocol: ClassVar[str] = "amqp"

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.session = Session(4096, 1, 1)
        self.greeted = False
        """The first eight bytes came."""
        self.ending = False
        """It was told to close, and what it sends until it has done so is passed on."""
        self.published = self.delivered = self.acked = 0
        """Messages that were not counted yet. Derived."""

    # ---- what was followed ----

    def add_consumer(self, channel: Channel, consumer: Consumer) -> None:
        """It gets deliveries from here on."""
        if consumer.tag in channel.consumers:
            self.session.consumers -= 1
        channel.consumers[consumer.tag] = consumer

    def drop_consumer(self, channel: Channel, tag: bytes) -> None:
        """It gets no more."""
        if channel.consumers.pop(tag, None) is not None:
            self.session.consumers -= 1

    def drop_channel(self, number: int) -> None:
        """It is closed."""
        channel = self.session.channels.pop(number, None)
        if channel is not None:
            asked = sum(one.consumer is not None for one in channel.asked)
            self.session.consumers -= len(channel.consumers) + asked

    def begin_beating(self) -> None:
        """The interval of heartbeats is agreed on."""
        self.heard = self.spoke = self.plane.now
        if self.peer is not None:
            self.peer.heard = self.peer.spoke = self.plane.now
        self.wake(self.due())

    def opened(self) -> None:
        """The broker let the client in."""

    # ---- the end ----

    def end(self, code: int, reason: str) -> None:
        """Close the connection on both sides: we have a reason."""
        upstream = self.peer
        if upstream is not None:
            self.part()
            upstream.leave(opened=self.session.stage == OPENED)
        self.dismiss(code, reason)

    def dismiss(self, code: int, reason: str) -> None:
        """Tell the client that it is over. There is no broker any more."""
        if self.closed:
            return
        self.log("own")
        stage, self.session.stage = self.session.stage, CLOSING
        if self.closing_by == inf:
            if stage < CLOSING:
                self.tell(close(code, reason))
            self.closing_by = self.plane.now + GOODBYE
            self.wake(self.closing_by)
        if stage != OPENED or self.ending:
            self.shut()
        self.touch()
        self.resume()

    def agreed_to_end(self) -> bool:
        """connection.close-ok of the client. True if the close was ours."""
        if self.closing_by == inf:
            return False
        self.session.stage = CLOSING
        self.let_go()
        self.shut()
        return True

    def let_go(self) -> None:
        """The broker has no client any more."""
        upstream = self.peer
        if upstream is not None:
            self.part()
            upstream.leave(opened=True)

    def give_up_moving(self) -> None:
        """Whatever of a change of broker is under way."""

    def count(self) -> None:
        """Tell the meters of messages that went by."""
        meters = self.listener.meters
        if self.published:
            meters.published.inc(self.published)
            self.published = 0
        if self.delivered:
            meters.delivered.inc(self.delivered)
            self.delivered = 0
        if self.acked:
            meters.acked.inc(self.acked)
            self.acked = 0
