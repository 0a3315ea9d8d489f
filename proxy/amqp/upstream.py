"""Protocol ``amqp``, the broker's side. What it says is followed in the session of the client, see `downstream`."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.amqp.frame import (
    BODY,
    DELIVER,
    END,
    EXTRA,
    FORCED,
    FRAME_ERROR,
    GREETING,
    HEAD,
    HEADER,
    HEARTBEAT,
    INTERNAL_ERROR,
    METHOD,
    NO_ACK,
    REPLY_SUCCESS,
    SYNTAX_ERROR,
    U32,
    U64,
    UNEXPECTED_FRAME,
    BadFrame,
    close,
)
from proxy.amqp.heir import Heir
from proxy.amqp.server_methods import CHANNEL, CONNECTION
from proxy.amqp.session import CLOSING, OPENED, Channel
from proxy.amqp.state import AmqpUpstreamState
from proxy.amqp.stream import GOODBYE, too_long
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.amqp.downstream import AmqpDownstream
    from proxy.connection import Connection
    from proxy.plane import Places

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AmqpUpstreamState).decode
_head = HEAD.unpack_from
_u32 = U32.unpack_from
_u64 = U64.unpack_from
_NONE = Channel()


class AmqpUpstream(Heir):
    """The broker's side."""

    __slots__ = ()

    kind: ClassVar[str] = "amqp.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    # ---- what comes from the broker ----

    def take(self, buffer: bytearray) -> None:
        """Follow frames, and pass them on in runs."""
        client: AmqpDownstream | None = self.peer
        if client is None:
            self._take_alone(buffer)
            return
        if client.ending:
            return
        client.changes += 1
        session = client.session
        channels = session.channels
        limit = session.frame_max
        size = len(buffer)
        at = begun = 0
        if buffer[0] == GREETING[0] and session.stage < OPENED:  # the broker speaks another version
            client.pass_on(buffer)
            return
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
                    if channel.down < length:
                        raise BadFrame(UNEXPECTED_FRAME, "a body that is longer than was said, or that none asked for")
                    channel.down -= length
            elif kind == METHOD:
                if length < 4:
                    raise BadFrame(SYNTAX_ERROR, "a method is cut")
                word = _u32(buffer, at + 7)[0]
                if channel is not None:
                    if channel.down:
                        raise BadFrame(UNEXPECTED_FRAME, "a method in the middle of a content")
                    if word == DELIVER:
                        tag_at = at + 12 + buffer[at + 11]
                        if tag_at + 9 >= end:
                            raise BadFrame(SYNTAX_ERROR, "a method is cut")
                        channel.down = -1
                        tag = _u64(buffer, tag_at)[0]
                        if channel.ahead:
                            tag += channel.ahead
                            U64.pack_into(buffer, tag_at, tag)
                        channel.delivered = tag
                        consumer = channel.consumers.get(bytes(buffer[at + 12 : tag_at]))
                        if consumer is None or not consumer.bits & NO_ACK:
                            channel.unacked.add(tag)
                        client.delivered += 1
                    else:
                        follow = CHANNEL.get(word)
                        if follow is not None and follow(client, number, channel, buffer, at + 11, end - 1):
                            if at > begun:
                                client.pass_on(buffer[begun:at])
                            begun = end
                elif not number:
                    follow = CONNECTION.get(word)
                    if follow is not None:
                        follow(client, number, _NONE, buffer, at + 11, end - 1)
                        limit = session.frame_max
            elif kind == HEADER:
                if channel is not None:
                    if channel.down != -1 or length < 12:
                        raise BadFrame(UNEXPECTED_FRAME, "a content header that none asked for, or that is cut")
                    channel.down = _u64(buffer, at + 11)[0]
            elif kind != HEARTBEAT:
                raise BadFrame(FRAME_ERROR, f"{kind} is no type of frame")
            at = end
        if at > begun:
            client.pass_on(buffer if at == size and not begun else buffer[begun:at])
        if at < size:
            self.hold(buffer, at)
        client.count()
        if session.purpose or session.resuming:
            client.advance()
        if client.clogged:
            self.pause()

    def _take_alone(self, buffer: bytearray) -> None:
        """Frames for one that is to take another's place; and those of one that is over, which nobody wants."""
        size = len(buffer)
        at = 0
        while self.client is not None and size - at >= EXTRA:
            kind, number, length = _head(buffer, at)
            end = at + length + EXTRA
            if end - at > self.frame_max or (end <= size and buffer[end - 1] != END):
                self.client.heir_failed("this is not AMQP")
                return
            if end > size:
                self.wanted = end - at
                break
            self.took(kind, number, buffer, at + 7, end - 1)
            at = end
        if at < size and not self.closed:
            if self.peer is not None:
                self.take(buffer[at:])
            elif self.client is not None:
                self.hold(buffer, at)

    def give_up(self, code: int, reason: str) -> None:
        """See `Framed.give_up`."""
        if self.client is not None:
            self.client.heir_failed(reason)
            return
        client: AmqpDownstream | None = self.peer
        if client is None:
            self.close()
            return
        client.listener.failed += 1
        client.give_up_moving()
        client.end(INTERNAL_ERROR, f"the broker's frames cannot be followed: {reason}")

    # ---- the life ----

    def connected(self) -> None:
        """Start to relay, or to log in."""
        if self.client is None:
            if self.peer is not None:
                super().connected()
            return
        self.endpoint.connected(secure=self.tls is not None)
        self.greet()

    def connect_failed(self, errno: int) -> None:
        """Have another one tried."""
        if self.peer is not None:
            super().connect_failed(errno)
            return
        self.endpoint.unreachable(self.plane.now)
        if self.client is not None:
            self.client.heir_failed("it cannot be reached")

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        if self.client is None:
            super().give_time(when)
        else:
            self.client.heir_by = when + self.client.listener.config.settle_timeout
            self.client.touch()

    def leave(self, *, opened: bool) -> None:
        """The client is gone: say goodbye to the broker, as it is usual."""
        if self.closed:
            return
        if not opened or self.connecting:
            self.close()
            return
        self.tell(close(REPLY_SUCCESS, "the client is gone"))
        self.shut()
        self.closing_by = self.plane.now + GOODBYE
        self.inbox = bytearray()
        self.wanted = 0
        self.resume()
        self.wake(self.closing_by)

    def ended(self) -> None:
        """The broker's FIN."""
        client: AmqpDownstream | None = self.peer
        if client is None:
            self._gone()
        elif client.session.stage == OPENED:
            self.endpoint.answered(self.plane.now)
            self._lost(client)
        else:
            super().ended()

    def failed(self, errno: int) -> None:
        """The broker is gone."""
        client: AmqpDownstream | None = self.peer
        if client is None:
            self._gone()
            return
        if client.session.stage != OPENED:
            super().failed(errno)
            return
        if not self.refused():
            self.endpoint.lost(self.plane.now)
        self._lost(client)

    def _lost(self, client: AmqpDownstream) -> None:
        """Without a word: the client is told, so that it connects again."""
        client.give_up_moving()
        client.listener.failed += 1
        if client.session.stage != CLOSING:
            client.end(FORCED, "the connection to the broker is lost")
        self.close()

    def _gone(self) -> None:
        client, self.client = self.client, None
        self.close()
        if client is not None:
            client.heir_failed("it ended the connection")

    def finished(self) -> None:
        """Our FIN went out."""
        if self.peer is not None:
            super().finished()
        elif self.eof:
            self.close()

    def drained(self) -> None:
        """There is room again: the client is heard from here on."""
        client: AmqpDownstream | None = self.peer
        if client is not None:
            client.unclogged()

    # ---- deadlines ----

    def dead_by(self, interval: int) -> float:
        """When its silence has become too long. One that is not read cannot be heard."""
        return inf if self.paused or self.eof else self.heard + 3 * interval

    def due(self) -> float:
        """When it has to be over. The client's side has the deadlines of the pair."""
        return self.closing_by

    def expired(self, now: float) -> None:
        """It takes too long."""
        self.close()

    # ---- the value ----

    def bonds(self) -> tuple[Connection, ...]:
        """See `Connection`."""
        return super().bonds() if self.client is None else (self.client,)

    def met(self, other: Connection) -> None:
        """The client came."""
        self.client = other  # type: ignore[assignment]  # no other is expected

    def save(self, now: float) -> bytes:
        """See `proxy.amqp.state.AmqpUpstreamState`."""
        return _encode(
            AmqpUpstreamState(
                super().save(now),
                bytes(self.inbox),
                now - self.heard,
                now - self.spoke,
                remaining(self.closing_by, now),
                0 if self.client is None else self.client.serial,
                self.step,
                self.owed,
                self.frame_max,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode(state)
        super().load(saved.inner, now, places)
        self.inbox = bytearray(saved.inbox)
        self.wanted = 0
        self.heard, self.spoke = now - saved.deaf, now - saved.mute
        self.closing_by = deadline(saved.closing_left, now)
        self.step, self.owed, self.frame_max = saved.step, saved.owed, saved.frame_max
        self.client = None
        for other in places.expect(self, (saved.client,) if saved.client else ()).values():
            self.met(other)
