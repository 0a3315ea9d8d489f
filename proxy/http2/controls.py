"""The frames of a session that carry no message: SETTINGS, WINDOW_UPDATE, RST_STREAM, PING, GOAWAY, and the ignored."""

from __future__ import annotations

from typing import Final

from proxy.http2 import frame, settings
from proxy.http2.budget import EARNED
from proxy.http2.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Broken,
)
from proxy.http2.frame import ACK, LARGEST_WINDOW
from proxy.http2.outgoing import Outgoing

HEARTBEAT: Final = b"hotswap\0"
FAREWELL: Final = b"hotswap\1"
"""What our PING frames carry."""


class Controls(Outgoing):
    """A session that answers control frames."""

    __slots__ = ()

    def control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """A frame that is neither of DATA, HEADERS, CONTINUATION. Raises `Broken`."""
        if kind == frame.WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == frame.RST_STREAM:
            self._rst_stream(stream_id, payload)
        elif kind == frame.SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == frame.PING:
            self._ping(flags, stream_id, payload)
        elif kind == frame.GOAWAY:
            self._goaway(stream_id, payload)
        elif kind == frame.PUSH_PROMISE:
            raise Broken(PROTOCOL_ERROR, "nobody may push")
        else:
            self._ignored(kind, stream_id, payload)

    def useless(self, cost: int = 1) -> None:
        """A frame that does nobody any good. Raises `Broken` if there were too many."""
        earned = (self.work - self.counted) * EARNED
        self.counted = self.work
        if not self.frames_left.spend(cost, self.now, earned):
            raise Broken(ENHANCE_YOUR_CALM, "too many frames of no use")

    def charge(self) -> None:
        """A stream that the peer opened or asked for in vain. Raises `Broken` if there were too many.

        Servers reset what we opened, so that these have their bounds already.
        """
        if self.server and not self.resets_left.spend(1, self.now):
            raise Broken(ENHANCE_YOUR_CALM, "too many streams were reset")

    def is_idle(self, stream_id: int) -> bool:
        """The stream never was."""
        if not stream_id & 1:
            return True
        return stream_id > self.last_seen if self.server else stream_id >= self.next_id

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Broken(PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & ACK:
            if payload:
                raise Broken(FRAME_SIZE_ERROR, "an acknowledgement with a payload")
            if self.acked:
                self.useless()
            else:
                self._acknowledged()
            return
        theirs = self.theirs
        window = theirs.window
        pairs = frame.read_settings(payload)
        settings.apply(theirs, pairs, server=not self.server)
        self.useless(1 + len(pairs))
        self.encoder.permit(theirs.table)
        self.out.append(frame.SETTINGS_ACK)
        if theirs.window != window:
            self._shift(theirs.window - window)
        self.owner.settled()

    def _shift(self, change: int) -> None:
        """INITIAL_WINDOW_SIZE changed: so do the windows of all streams, which may fall below 0 (section 6.9.2)."""
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                raise Broken(FLOW_CONTROL_ERROR, "a window is too large")
            if not stream.queue:
                continue
            if stream.send_window > 0:
                self.ready[stream.id] = None
            else:
                self.ready.pop(stream.id, None)
        self._pump()

    def _acknowledged(self) -> None:
        """The peer knows our settings, and used the defaults until now (section 6.5.3)."""
        self.acked = True
        change = self.ours.window - frame.WINDOW
        for stream in self.streams.values():
            stream.receive_window += change
        self.decoder.permit(self.ours.table)

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(FRAME_SIZE_ERROR, "WINDOW_UPDATE has another length")
        increment = int.from_bytes(payload, "big") & LARGEST_WINDOW
        self.useless()
        if not stream_id:
            if not increment or self.send_window + increment > LARGEST_WINDOW:
                raise Broken(
                    FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR, "the window grows by nothing, or too large"
                )
            self.send_window += increment
            if self.ready:
                self._pump()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise Broken(PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that never was")
            return
        if not increment or stream.send_window + increment > LARGEST_WINDOW:
            code = FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR
            self.out.append(frame.rst_stream(stream_id, code))
            self._drop(stream, True)
            self.owner.reset(stream_id, code)
            self.charge()
            return
        stream.send_window += increment
        if stream.queue and stream.send_window > 0:
            self.ready[stream_id] = None
            self._pump()

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(FRAME_SIZE_ERROR, "RST_STREAM has another length")
        if self.is_idle(stream_id):
            raise Broken(PROTOCOL_ERROR, "RST_STREAM of a stream that never was")
        stream = self.streams.get(stream_id)
        if stream is None:
            self.useless()
            return
        self._drop(stream, False)
        self.owner.reset(stream_id, int.from_bytes(payload, "big"))
        self.charge()

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Broken(FRAME_SIZE_ERROR, "PING has another length")
        if stream_id:
            raise Broken(PROTOCOL_ERROR, "PING of a stream")
        if not flags & ACK:
            self.useless()
            self.out.append(frame.ping(payload, ack=True))
        elif payload == FAREWELL and self.leaving == 1:
            self.farewell()
        elif payload == HEARTBEAT and self.pings:
            self.pings -= 1
            self.owner.pong()
        else:
            self.useless()

    def farewell(self) -> None:
        """The second stage of `Session.shut_down`: streams that we have not seen by now are not taken."""
        self.leaving = 2
        self.out.append(frame.goaway(self.last_seen, 0))

    def _goaway(self, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Broken(PROTOCOL_ERROR, "GOAWAY of a stream")
        last, code, _ = frame.read_goaway(payload)
        if 0 <= self.peer_last < last:
            raise Broken(PROTOCOL_ERROR, "GOAWAY takes more than the one before")
        self.useless()
        self.peer_last = last
        self.owner.goaway(last, code)
        if not self.server:
            for stream in [stream for stream in self.streams.values() if stream.id > last]:
                if self.streams.get(stream.id) is stream:  # the owner may have ended it meanwhile
                    self._drop(stream, True)
                    self.owner.reset(stream.id, REFUSED_STREAM)

    def _ignored(self, kind: int, stream_id: int, payload: bytes) -> None:
        """Priorities, and what we do not know. The form of the former is checked all the same (section 6.3)."""
        if kind == frame.PRIORITY:
            if not stream_id:
                raise Broken(PROTOCOL_ERROR, "PRIORITY without a stream")
            if len(payload) != 5:
                raise Broken(FRAME_SIZE_ERROR, "PRIORITY has another length")
        elif kind == frame.PRIORITY_UPDATE:
            if stream_id or not self.server:
                raise Broken(PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream, or of a server")
            if len(payload) < 4:
                raise Broken(FRAME_SIZE_ERROR, "PRIORITY_UPDATE is too short")
        self.useless()

    # ---- the end of all ----

    def fail(self, code: int, reason: str) -> None:
        """The peer broke something: tell it and the owner. The streams are gone with the connection."""
        if not self.dead:
            self._end(code, reason.encode())
            self.owner.broken(code, reason)

    def _end(self, code: int, text: bytes = b"") -> None:
        self.out.append(frame.goaway(self.last_seen, code, text if code != NO_ERROR else b""))
        self.dead = True
        self.streams.clear()
        self.ready.clear()
        self.queued = 0
        self.inbox = bytearray()
        self.block = bytearray()
