"""A connection to the broker that a client is to change to: it logs in and makes everything ready, see `moving`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.amqp import frame
from proxy.amqp.frame import (
    CHANNEL_OPEN,
    CONFIRM_SELECT,
    DECLARE,
    GREETING,
    METHOD,
    PASSIVE,
    START_OK,
    TUNE,
    TUNE_OK,
    TX_SELECT,
    U32,
    method,
    qos,
    short,
)
from proxy.amqp.session import NO_LIMIT
from proxy.amqp.stream import Framed
from proxy.tcp import TcpUpstream

if TYPE_CHECKING:
    from proxy.amqp.moving import Moving
    from proxy.plane import Plane

PLAIN, START, TUNED, OPENING, READY = 0, 1, 2, 3, 4
"""`Heir.step`: it is no heir, or what it waits for: connection.start, tune, open-ok, the answers of all channels."""

_ANSWERS: Final = {
    frame.CHANNEL_OPEN_OK,
    frame.CONFIRM_SELECT_OK,
    frame.TX_SELECT_OK,
    frame.QOS_OK,
    frame.DECLARE_OK,
}


class Heir(Framed, TcpUpstream):
    """The broker's side, as long as it is to become that."""

    __slots__ = ("client", "closing_by", "frame_max", "heard", "inbox", "owed", "spoke", "step", "wanted")

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.client: Moving | None = None
        """Whose broker it is to become."""
        self.step = PLAIN
        self.owed = 0
        """Answers that are still to come."""
        self.frame_max = frame.MIN_FRAME

    def greet(self) -> None:
        """It is connected."""
        if self.client is not None and self.client.unfit(self):
            self.client.heir_failed("it is not encrypted as is wanted")
            return
        self.step = START
        self.frame_max = max(frame.MIN_FRAME, 1 << 17)
        self.send(GREETING)

    def took(self, kind: int, number: int, data: bytearray, at: int, end: int) -> None:
        """A frame for an heir. `at`: where its payload begins."""
        client = self.client
        if client is None:
            return
        if kind != METHOD or end - at < 4:
            if kind != frame.HEARTBEAT:
                client.heir_failed("an unexpected frame")
            return
        word = U32.unpack_from(data, at)[0]
        self.changes += 1
        if self.step == READY and word in _ANSWERS:
            self.owed -= 1
            if not self.owed:
                self.step = PLAIN
                client.change()
        elif self.step == START and word == frame.START:
            self._log_in(client)
        elif self.step == TUNED and word == frame.TUNE_IS:
            self._tune(client, data, at + 4, end)
        elif self.step == OPENING and word == frame.OPEN_OK:
            self._open_channels(client)
        elif word not in (frame.BLOCKED, frame.UNBLOCKED):
            client.heir_failed("it was refused")

    def _log_in(self, client: Moving) -> None:
        login = client.cluster.login
        response = None if login is None else login.response()
        if response is None:
            client.heir_failed("there is no password")
            return
        session = client.session
        words = session.properties + short(b"PLAIN") + U32.pack(len(response)) + response + short(session.locale)
        self.step = TUNED
        self.send(method(0, START_OK, words))

    def _tune(self, client: Moving, data: bytearray, at: int, end: int) -> None:
        session = client.session
        frame.need(at, TUNE.size, end)
        channels, size, _ = TUNE.unpack_from(data, at)
        if channels and (not session.channel_max or channels < session.channel_max):
            client.heir_failed("it allows fewer channels")
            return
        if size and size < session.frame_max:
            client.heir_failed("its frames are shorter")
            return
        self.step = OPENING
        self.frame_max = session.frame_max
        self.send(method(0, TUNE_OK, TUNE.pack(session.channel_max, session.frame_max, session.heartbeat)))
        self.send(method(0, frame.OPEN, session.vhost))

    def _open_channels(self, client: Moving) -> None:
        """All of them, with what was said on them; that their queues are there is asked for."""
        self.step = READY
        for number, channel in client.session.channels.items():
            words = [method(number, CHANNEL_OPEN, b"\0")]
            if channel.confirm:
                words.append(method(number, CONFIRM_SELECT, b"\0"))
            if channel.tx:
                words.append(method(number, TX_SELECT))
            for limits, whole in ((channel.prefetch, False), (channel.prefetch_whole, True)):
                if limits != NO_LIMIT:
                    words.append(qos(number, limits, whole=whole))
            words += [
                method(number, DECLARE, bytes(2) + short(queue) + bytes((PASSIVE,)) + bytes(4))
                for queue in {one.queue: None for one in channel.consumers.values()}
            ]
            self.owed += len(words)
            for word in words:
                self.send(word)
        if not self.owed:
            self.step = PLAIN
            client.change()
