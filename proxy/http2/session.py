"""One HTTP/2 connection's protocol, for either role, as a value (RFC 9113). It does no I/O and reads no clock.

    session = Session(owner, Settings(), Limits(), server=True)
    session.begin()                       our preface and settings
    session.received(bytes, now)          calls the owner, see `proxy.http2.owner`
    session.send_headers(id, fields, end), send_body(id, piece, end), send_trailers(id, fields), reset(id, code)
    session.consumed(id, size)            gives the peer's window back: until then, it waits
    session.open()                        a client's new stream
    session.take()                        what is to be written: once a tick, and after `Owner.broken`

frame, errors     the format                            outgoing   verbs that send, windows, queues
hpack, literals,  header lists                          incoming   DATA and HEADERS
huffman           and what they are made of             controls   all other frames
heads             which of them are messages            session    begin, end, save, load
settings, budget  what is agreed upon, and tolerated    stream     the record of one stream
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec.structs import replace

from proxy.http2 import frame
from proxy.http2.controls import FAREWELL, HEARTBEAT
from proxy.http2.errors import CANCEL, ENHANCE_YOUR_CALM, NO_ERROR
from proxy.http2.hpack import TableState
from proxy.http2.incoming import Incoming
from proxy.http2.settings import Settings, announced
from proxy.http2.stream import STUCK, StreamState, restored

if TYPE_CHECKING:
    from proxy.http2.budget import Limits
    from proxy.http2.owner import Owner


class SessionState(msgspec.Struct, array_like=True, frozen=True):
    """The value. Rules of compatibility: `proxy.state`. Times are seconds since."""

    server: bool
    ours: Settings
    theirs: Settings
    acked: bool
    dead: bool
    inbox: bytes
    out: bytes
    expecting: int
    block: bytes
    block_end: bool
    block_frames: int
    decoder: TableState
    encoder: TableState
    streams: tuple[StreamState, ...]
    ready: tuple[int, ...]
    dropped: tuple[int, ...]
    lingering: dict[int, int]
    next_id: int
    last_seen: int
    send_window: int
    receive_window: int
    owed: int
    leaving: int
    peer_last: int
    pings: int
    work: int
    """Not made up for yet."""
    frames_left: tuple[float, float]
    resets_left: tuple[float, float]
    stuck: float | None = None


class Session(Incoming):
    """One connection's protocol."""

    __slots__ = ()

    def begin(self) -> None:
        """Our first bytes: the client's preface, our settings, the connection's window."""
        if not self.server:
            self.out.append(frame.PREFACE)
        self.out.append(frame.settings(announced(self.ours, server=self.server)))
        more = self.ours.connection - frame.WINDOW
        if more > 0:
            self.out.append(frame.window_update(0, more))
            self.receive_window += more

    def ping(self) -> None:
        """Ask for `Owner.pong`."""
        if not self.dead:
            self.pings += 1
            self.out.append(frame.ping(HEARTBEAT))

    def shut_down(self) -> None:
        """Take no new streams; those that are open go on.

        A server first announces it and asks for an answer, so that streams on their way are taken (section 6.8). The
        answer, or a second call where none comes, tells the last stream that was.
        """
        if self.dead or self.leaving == 2:
            return
        if self.server and not self.leaving:
            self.leaving = 1
            self.out.append(frame.goaway(frame.LAST_STREAM, NO_ERROR))
            self.out.append(frame.ping(FAREWELL))
        else:
            self.farewell()

    def end(self, code: int = NO_ERROR) -> None:
        """Say good-bye and nothing more; streams that are open are lost. The owner is not called."""
        if not self.dead:
            self._end(code)

    def check(self, now: float) -> None:
        """Call it now and then while `queued`: streams whose windows stay shut for `Limits.stall` seconds are reset.

        If they are all there are, the connection ends.
        """
        if self.dead or not self.queued:
            self.stuck_at = inf
            return
        if self.stuck_at == inf:
            self.stuck_at = now
            fresh = True
        elif now - self.stuck_at < self.limits.stall:
            return
        else:
            self.stuck_at = now
            fresh = False
        queues = [stream for stream in self.streams.values() if stream.queue]
        stuck = [stream for stream in queues if stream.flags & STUCK and not fresh]
        for stream in queues:
            stream.flags |= STUCK
        if stuck and len(stuck) == len(self.streams):
            self.fail(ENHANCE_YOUR_CALM, "the windows stay shut")
            return
        for stream in stuck:
            if self.streams.get(stream.id) is stream:
                self.reset(stream.id, CANCEL)
                self.owner.reset(stream.id, CANCEL)

    # ---- the value ----

    def save(self, now: float) -> SessionState:
        """The whole state. No side effects."""
        return SessionState(
            self.server,
            self.ours,
            replace(self.theirs),
            self.acked,
            self.dead,
            bytes(self.inbox),
            b"".join(self.out),
            self.expecting,
            bytes(self.block),
            self.block_end,
            self.block_frames,
            self.decoder.save(),
            self.encoder.save(),
            tuple([stream.save() for stream in self.streams.values()]),
            tuple(self.ready),
            tuple(self.dropped),
            self.lingering.copy(),
            self.next_id,
            self.last_seen,
            self.send_window,
            self.receive_window,
            self.owed,
            self.leaving,
            self.peer_last,
            self.pings,
            self.work - self.counted,
            self.frames_left.save(now),
            self.resets_left.save(now),
            None if self.stuck_at == inf else now - self.stuck_at,
        )

    @classmethod
    def load(cls, state: SessionState, owner: Owner, limits: Limits, now: float) -> Self:
        """The counterpart: a session that goes on where the other stopped."""
        self = cls(owner, state.ours, limits, server=state.server)
        self.theirs = replace(state.theirs)
        self.acked, self.dead = state.acked, state.dead
        self.inbox, self.block = bytearray(state.inbox), bytearray(state.block)
        self.out = [state.out] if state.out else []
        self.expecting, self.block_end, self.block_frames = state.expecting, state.block_end, state.block_frames
        self.decoder.load(state.decoder)
        self.encoder.load(state.encoder)
        self.streams = {one.id: restored(one) for one in state.streams}
        self.ready = dict.fromkeys(state.ready)
        self.queued = sum(len(stream.queue) for stream in self.streams.values())
        self.dropped = dict.fromkeys(state.dropped)
        self.lingering = state.lingering.copy()
        self.next_id, self.last_seen = state.next_id, state.last_seen
        self.send_window, self.receive_window, self.owed = state.send_window, state.receive_window, state.owed
        self.leaving, self.peer_last, self.pings = state.leaving, state.peer_last, state.pings
        self.work = state.work
        self.frames_left.load(state.frames_left, now)
        self.resets_left.load(state.resets_left, now)
        self.stuck_at = inf if state.stuck is None else now - state.stuck
        return self
