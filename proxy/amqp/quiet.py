"""Deliveries are stopped and resumed, unnoticed by the client: basic.cancel, cancel-ok as the fence, basic.consume.

    running --cancel--> stopping --cancel-ok--> stopped --consume--> resuming --consume-ok--> running

The broker delivers nothing of a consumer after cancel-ok; acks of what it delivered before still go through. Where
cancelling would make a queue vanish, or let somebody else have an exclusive consumer's place, basic.qos of one message
for the channel is said instead: at most one further message comes then. Requests of ours go between two contents of
their channel, else the broker would end the connection (505); only answers to them stay here.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from proxy.amqp import frame
from proxy.amqp.client import Client
from proxy.amqp.frame import FORCED, method, short
from proxy.amqp.session import (
    DRAIN,
    HANDOVER,
    NO_PURPOSE,
    OPENED,
    RESUMING,
    RUNNING,
    STOPPED,
    STOPPING,
    Asked,
)
from proxy.amqp.stream import GOODBYE

if TYPE_CHECKING:
    from proxy.amqp.session import Channel, Consumer
    from proxy.plane import Plane

ONE = bytes((0, 0, 0, 0, 0, 1))
"""A prefetch of one message."""
PURPOSES = ("", "handover", "drain", "change of broker")


class Quiet(Client):
    """A client connection whose deliveries can be stopped."""

    __slots__ = ("came", "look_at", "settle_by")

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.settle_by = inf
        """What was delivered may be acked until then."""
        self.look_at = inf
        """When to look how far it is."""
        self.came = False
        """It was restored, and has to look at once what that means. Derived."""

    # ---- what it is for ----

    def foresee(self, *, handover: bool) -> None:
        """See `Downstream`. It is not waited for: what is not stopped by then is stopped by the next generation."""
        session = self.session
        if not handover:
            if session.purpose == HANDOVER:
                self.go_on()
        elif self.listener.config.handover == "quiet" and session.purpose == NO_PURPOSE and session.stage == OPENED:
            self.stop(HANDOVER)

    def drain(self) -> None:
        """End once what was delivered is acked."""
        if self.peer is None or self.connect_by != inf or self.session.stage < OPENED:
            self.end(FORCED, "the proxy is going away, connect again")
        elif self.session.purpose != DRAIN and not self.ending and self.session.stage == OPENED:
            self.stop(DRAIN)

    def stop(self, purpose: int) -> None:
        """Let no further message be delivered."""
        session = self.session
        session.purpose = purpose
        session.resuming = False
        self.settle_by = self.plane.now + self.listener.config.settle_timeout
        self.look_by(self.settle_by)
        self.touch()
        self.advance()

    def go_on(self) -> None:
        """Let them be delivered again."""
        self.session.purpose = NO_PURPOSE
        self.session.resuming = True
        self.settle_by = inf
        self.touch()
        self.advance()

    def look_by(self, when: float) -> None:
        """Look no later than then."""
        if when < self.look_at:
            self.look_at = when
            self.wake(when)

    # ---- step by step ----

    def advance(self) -> None:
        """Do what can be done now. Called whenever anything came of either side."""
        session, upstream = self.session, self.peer
        if upstream is None or session.stage != OPENED or self.ending:
            return
        stopping = session.purpose != NO_PURPOSE
        unsettled = False
        for number, channel in session.channels.items():
            if channel.closing:
                continue
            if channel.up:  # between two contents only
                unsettled = True
            elif stopping:
                unsettled = self._stop(number, channel) or unsettled
            else:
                unsettled = self._resume(number, channel) or unsettled
        if not stopping:
            session.resuming = unsettled
        elif not unsettled:
            self.settled()

    def between(self, number: int, channel: Channel) -> None:
        """The client is between two contents of this channel, and perhaps only for this moment."""
        session = self.session
        if self.ending or channel.closing or session.stage != OPENED:
            return
        if session.purpose != NO_PURPOSE:
            self._stop(number, channel)
        elif session.resuming:
            self._resume(number, channel)

    def _stop(self, number: int, channel: Channel) -> bool:
        """True while it is not as quiet as it can be."""
        waiting = False
        for tag, consumer in channel.consumers.items():
            if consumer.stage == RUNNING:
                if self.session.stoppable(consumer):
                    self._tell(
                        channel, Asked(frame.CANCEL_OK, own=True), method(number, frame.CANCEL, short(tag) + b"\0")
                    )
                    consumer.stage = STOPPING
                    waiting = True
                elif not (channel.throttled or consumer.bits & frame.NO_ACK or self.session.bound(consumer)):
                    channel.throttled = True
                    self._tell(channel, Asked(frame.QOS_OK, own=True), frame.qos(number, ONE, whole=True))
            elif consumer.stage != STOPPED:
                waiting = True
        return waiting or len(channel.unacked) > channel.throttled

    def _resume(self, number: int, channel: Channel) -> bool:
        """True while not all consumers run."""
        waiting = False
        if channel.throttled:
            channel.throttled = False
            self._tell(channel, Asked(frame.QOS_OK, own=True), frame.qos(number, channel.prefetch_whole, whole=True))
        prefetch = channel.prefetch
        for consumer in channel.consumers.values():
            if consumer.stage == STOPPED:
                if consumer.prefetch != prefetch:
                    prefetch = consumer.prefetch
                    self._tell(channel, Asked(frame.QOS_OK, own=True), frame.qos(number, prefetch, whole=False))
                self._tell(channel, Asked(frame.CONSUME_OK, own=True), _consume(number, consumer))
                consumer.stage = RESUMING
            if consumer.stage != RUNNING:
                waiting = True
        if prefetch != channel.prefetch:
            self._tell(channel, Asked(frame.QOS_OK, own=True), frame.qos(number, channel.prefetch, whole=False))
        return waiting

    def _tell(self, channel: Channel, asked: Asked, request: bytes) -> None:
        channel.asked.append(asked)
        self.peer.tell(request)
        self.peer.spoke = self.plane.now
        self.changes += 1

    def settled(self) -> None:
        """Nothing is delivered any more, and all that was is acked; or that took too long."""
        if self.session.purpose == DRAIN:
            self.wind_up()

    def wind_up(self) -> None:
        """Tell the client to close. What it has sent by then still reaches the broker."""
        if self.session.stage != OPENED or self.ending:
            return
        self.ending = True
        self.tell(frame.close(FORCED, "the proxy is going away, connect again"))
        self.closing_by = self.plane.now + GOODBYE
        self.touch()
        self.wake(self.closing_by)

    def look(self, now: float) -> None:
        """`look_at` has come."""
        self.look_at = inf
        session = self.session
        came, self.came = self.came, False
        if session.purpose == HANDOVER and (came or self.settle_by <= now):
            self.go_on()
        elif session.purpose == DRAIN and self.settle_by <= now:
            self.wind_up()
        if self.settle_by > now:
            self.look_by(self.settle_by)

    def describe_moving(self) -> dict[str, Any]:
        """For people."""
        purpose = self.session.purpose
        return {"stopped_for": PURPOSES[purpose]} if purpose else {}


def _consume(number: int, consumer: Consumer) -> bytes:
    """The same basic.consume once more, with all names."""
    words = bytes(2) + short(consumer.queue) + short(consumer.tag) + bytes((consumer.bits,)) + consumer.arguments
    return method(number, frame.CONSUME, words)
