"""Protocol ``amqp``, the client's side: frames cut out of the stream, followed, and passed on to its broker.

    accepted --> dialling --connected--> handshake --open-ok--> in use --connection.close--> closed

One client connection, one broker connection, and every frame goes on as it came. It is followed as far as that is
needed to send frames of our own in between, to count what is outstanding, and to resume consumers, see `session`.
The client's side holds all of that, and the deadlines of the pair.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from hotswap.swappable import Schema
from proxy.amqp.client_methods import CHANNEL, CONNECTION, channel_open
from proxy.amqp.frame import (
    BODY,
    CHANNEL_OPEN,
    END,
    EXTRA,
    FORCED,
    FRAME_ERROR,
    GREETING,
    HEAD,
    HEADER,
    HEARTBEAT,
    METHOD,
    PUBLISH,
    SYNTAX_ERROR,
    U32,
    U64,
    UNEXPECTED_FRAME,
    BadFrame,
)
from proxy.amqp.moving import FENCED, Moving
from proxy.amqp.session import BROKEN, CLOSING, OPENED, Channel, Session
from proxy.amqp.session import GREETING as HANDSHAKE
from proxy.amqp.state import AmqpDownstreamState
from proxy.amqp.stream import too_long
from proxy.amqp.upstream import AmqpUpstream
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.amqp.heir import Heir
    from proxy.plane import Places
    from proxy.tcp import TcpUpstream

LONGEST_LOGIN: Final = 131072
"""Bytes of a frame before client and broker agreed on a limit."""
SILENCE: Final = 0.75
"""Of an interval of heartbeats without anything sent: then one of our own is. Those of the peers come sooner."""
MISSED: Final = 3
"""Intervals without a sign of life after which a peer is given up."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AmqpDownstreamState).decode
_head = HEAD.unpack_from
_u32 = U32.unpack_from
_u64 = U64.unpack_from
_NONE = Channel()


class AmqpDownstream(Moving):
    """The client's side."""

    __slots__ = ()

    kind: ClassVar[str] = "amqp.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def begin(self) -> None:
        """Dial, and read nothing before that succeeded."""
        config = self.listener.config
        limit = min(config.max_frame, LONGEST_LOGIN)
        self.session = Session(limit, config.max_channels, config.max_consumers)
        super().begin()

    def _other_side(self) -> TcpUpstream:
        return AmqpUpstream(self.plane)

    def _new_heir(self) -> Heir:
        return AmqpUpstream(self.plane)

    def _strand(self) -> None:
        """There is no broker for it: it is told so."""
        self.listener.answered += 1
        self.listener.failed += 1
        self.listener.meters.stranded.inc()
        self.dismiss(FORCED, "no broker can be reached, try again later")

    # ---- what comes from the client ----

    def take(self, buffer: bytearray) -> None:
        """Follow frames, and pass them on in runs."""
        peer = self.peer
        session = self.session
        if session.stage == BROKEN:
            return
        channels = session.channels
        limit = session.frame_max
        attentive = session.purpose or session.resuming
        size = len(buffer)
        at = begun = 0
        if session.stage == HANDSHAKE and not self.greeted:
            if size < EXTRA:
                self.hold(buffer, 0)
                return
            self.greeted = True
            if buffer[:4] != GREETING[:4]:
                raise BadFrame(FRAME_ERROR, "this is not AMQP")
            at = EXTRA
        while size - at >= EXTRA:
            kind, number, length = _head(buffer, at)
            end = at + length + EXTRA
            if end - at > limit:
                raise too_long(length, limit)
            if end > size:
                self.wanted = end - at
                break
            if buffer[end - 1] != END:
                raise BadFrame(FRAME_ERROR, "a frame does not end where it should")
            channel = channels.get(number)
            if kind == BODY:
                if channel is not None:
                    if channel.up < length:
                        raise BadFrame(UNEXPECTED_FRAME, "a body that is longer than was said, or that none asked for")
                    channel.up -= length
            elif kind == METHOD:
                if length < 4:
                    raise BadFrame(SYNTAX_ERROR, "a method is cut")
                word = _u32(buffer, at + 7)[0]
                if channel is not None:
                    if channel.up:
                        raise BadFrame(UNEXPECTED_FRAME, "a method in the middle of a content")
                    if word == PUBLISH:
                        channel.up = -1
                        self.published += 1
                        if channel.confirm:
                            channel.published += 1
                            channel.unconfirmed.add(channel.published)
                        channel.dirty = channel.tx
                    else:
                        follow = CHANNEL.get(word)
                        if follow is not None and follow(self, number, channel, buffer, at + 11, end - 1):
                            if peer is not None and at > begun:
                                peer.pass_on(buffer[begun:at])
                            begun = end
                elif number:
                    if word == CHANNEL_OPEN:
                        channel_open(self, number, channel, buffer, at + 11, end - 1)
                else:
                    follow = CONNECTION.get(word)
                    if follow is not None:
                        if follow(self, number, _NONE, buffer, at + 11, end - 1):
                            if peer is not None and at > begun:
                                peer.pass_on(buffer[begun:at])
                            begun = end
                            if self.peer is None:  # its close-ok: nothing else is of interest
                                return
                        limit = session.frame_max
            elif kind == HEADER:
                if channel is not None:
                    if channel.up != -1 or length < 12:
                        raise BadFrame(UNEXPECTED_FRAME, "a content header that none asked for, or that is cut")
                    channel.up = _u64(buffer, at + 11)[0]
            elif kind != HEARTBEAT:
                raise BadFrame(FRAME_ERROR, f"{kind} is no type of frame")
            at = end
            if attentive and channel is not None and not channel.up and peer is not None:
                if at > begun:  # what was said goes first
                    peer.pass_on(buffer[begun:at])
                    begun = at
                self.between(number, channel)
                if session.moving >= FENCED:
                    break
        if peer is not None and at > begun:
            peer.pass_on(buffer if at == size and not begun else buffer[begun:at])
        if at < size:
            self.hold(buffer, at)
        self.count()
        if session.purpose or session.resuming:
            self.advance()
        if peer is not None and peer.clogged:
            self.pause()

    def give_up(self, code: int, reason: str) -> None:
        """See `Framed.give_up`."""
        if self.closing_by == inf:
            self.give_up_moving()
            self.end(code, reason)
        self.let_go()
        self.session.stage = BROKEN
        self.shut()

    # ---- the end ----

    def ended(self) -> None:
        """The client's FIN."""
        if self.closing_by != inf:
            self.close()
        elif self.peer is not None:
            self.give_up_moving()
            super().ended()
        else:
            self.shut()

    def failed(self, errno: int) -> None:
        """The client is gone."""
        self.give_up_moving()
        super().failed(errno)

    def finished(self) -> None:
        """Our FIN went out."""
        if self.peer is not None:
            super().finished()
        elif self.eof:
            self.close()

    # ---- deadlines ----

    def due(self) -> float:
        """The earliest of all: see `expired`."""
        if self.closing_by != inf:
            return self.closing_by
        if self.came:
            return 0.0
        due = super().due()
        upstream = self.peer
        interval = self.session.heartbeat
        if upstream is None or self.connect_by != inf:
            return due
        if interval:
            due = min(due, min(self.spoke, upstream.spoke) + SILENCE * interval)
            due = min(due, self.dead_by(interval), upstream.dead_by(interval))
        return min(due, self.look_at)

    def dead_by(self, interval: int) -> float:
        """When its silence has become too long. One that is not read cannot be heard."""
        return inf if self.paused or self.eof else self.heard + MISSED * interval

    def expired(self, now: float) -> None:
        """End what is over, send heartbeats, look how far our own doings are."""
        if self.closing_by <= now:
            self.let_go()
            self.close()
            return
        if self.closing_by != inf:
            return
        upstream = self.peer
        if upstream is None or self.connect_by != inf:
            super().expired(now)
            return
        if super().due() <= now:
            self.end(FORCED, "it lasted too long" if self.until <= now else "nothing was said for too long")
            return
        interval = self.session.heartbeat
        if interval and self.dead_by(interval) <= now:
            self.end(FORCED, f"no heartbeat of the client in {MISSED * interval} s")
            return
        if interval and upstream.dead_by(interval) <= now:
            upstream.endpoint.lost(now)
            self.end(FORCED, f"no heartbeat of the broker in {MISSED * interval} s")
            return
        if interval:
            for one in (self, upstream):
                if one.spoke + SILENCE * interval <= now:
                    if self.session.stage == OPENED:
                        one.beat(now)
                    else:
                        one.spoke = now
                        one.changes += 1
        if self.came or self.look_at <= now:
            self.look(now)

    def drained(self) -> None:
        """There is room again: the other side is heard from here on."""
        upstream = self.peer
        if upstream is not None:
            upstream.heard = self.plane.now
            upstream.changes += 1
            upstream.resume()

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """See `proxy.amqp.state.AmqpDownstreamState`."""
        return _encode(
            AmqpDownstreamState(
                super().save(now),
                bytes(self.inbox),
                self.session,
                self.greeted,
                self.ending,
                now - self.heard,
                now - self.spoke,
                remaining(self.closing_by, now),
                *self.save_moving(now),
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        super().load(saved.inner, now, places)
        self.inbox = bytearray(saved.inbox)
        self.wanted = 0
        self.session = saved.session
        self.greeted = saved.greeted
        self.ending = saved.ending
        self.heard, self.spoke = now - saved.deaf, now - saved.mute
        self.closing_by = deadline(saved.closing_left, now)
        self.load_moving(saved, now, places)

    def describe(self) -> dict[str, Any]:
        """With what is under way."""
        session = self.session
        stage = {HANDSHAKE: "handshake", OPENED: "in use", CLOSING: "closing", BROKEN: "closing"}[session.stage]
        return {
            **super().describe(),
            "stage": "ending" if self.ending else stage,
            "channels": len(session.channels),
            "consumers": session.consumers,
            "unacked": sum(len(one.unacked) for one in session.channels.values()),
            "unconfirmed": sum(len(one.unconfirmed) for one in session.channels.values()),
            **self.describe_moving(),
        }
