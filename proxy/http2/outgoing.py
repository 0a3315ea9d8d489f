"""The sending half of a session: what the owner says, cut into frames as far as the peer's windows reach.

What does not fit waits in the stream's queue; the owner is told to wait, and when the queue is empty. Streams whose
own window has room take turns in that of the connection, a frame at a time (`ready`).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.http2 import frame
from proxy.http2.budget import Bucket, Limits
from proxy.http2.frame import DATA, HEADERS, LAST_STREAM, LEAST_FRAME, WINDOW
from proxy.http2.hpack import Decoder, Encoder
from proxy.http2.packing import head
from proxy.http2.settings import Settings, unknown
from proxy.http2.stream import (
    BODYLESS,
    ENDING,
    HEAD_OUT,
    LOCAL_ENDED,
    REMOTE_ENDED,
    STUCK,
    TUNNEL,
    WAITING,
    Stream,
    opened,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field
    from proxy.http2.owner import Owner

PREFACE: Final = -1
SETTINGS: Final = -2
REMEMBERED: Final = 256
"""Streams that we reset and still know of, for frames that were on their way."""
LINGERING: Final = 1024
"""Streams that ended and whose last bytes the owner has not consumed."""


class Outgoing:
    """A session's fields, and the verbs that send."""

    __slots__ = (
        "acked",
        "block",
        "block_end",
        "block_frames",
        "counted",
        "dead",
        "decoder",
        "dropped",
        "encoder",
        "expecting",
        "frames_left",
        "inbox",
        "known",
        "known_at",
        "known_trailers",
        "last_seen",
        "leaving",
        "limits",
        "lingering",
        "missed",
        "next_id",
        "now",
        "ours",
        "out",
        "owed",
        "owner",
        "peer_last",
        "pings",
        "queued",
        "ready",
        "receive_window",
        "resets_left",
        "send_window",
        "server",
        "streams",
        "stuck_at",
        "theirs",
        "wanted",
        "work",
    )

    def __init__(self, owner: Owner, ours: Settings, limits: Limits, *, server: bool) -> None:
        self.owner = owner
        self.limits = limits
        self.server = server
        """We are the server: the peer is a client."""
        self.ours = ours
        self.theirs = unknown()
        """The peer's settings. Read them freely."""
        self.acked = False
        """The peer knows ours."""
        self.now = 0.0
        self.dead = False
        """Nothing more is read or sent; `take` what is left."""
        self.inbox = bytearray()
        self.wanted = 0  # bytes of `inbox` that are worth a look; derived
        self.out: list[bytes] = []
        self.expecting = PREFACE if server else SETTINGS
        """What has to come first; or the stream whose CONTINUATION has to come next; 0 for anything."""
        self.block = bytearray()
        self.block_end = False
        self.block_frames = 0
        self.decoder = Decoder()
        self.encoder = Encoder()
        self.known: dict[bytes, Head] = {}  # see `Incoming.head`; derived
        self.known_trailers: dict[bytes, Head] = {}
        self.known_at = 0
        self.missed = 0  # blocks since the last that was among those; derived
        self.streams: dict[int, Stream] = {}
        self.ready: dict[int, None] = {}
        """Streams with a queue whose own window has room, in turn."""
        self.queued = 0
        """Bytes in all queues."""
        self.dropped: dict[int, None] = {}
        self.lingering: dict[int, int] = {}
        """Of streams that ended, bytes that the owner has not consumed."""
        self.next_id = 1
        """A client's next stream."""
        self.last_seen = 0
        """The latest stream of a client."""
        self.send_window = WINDOW
        self.receive_window = WINDOW
        self.owed = 0
        self.leaving = 0  # 1: GOAWAY went out for streams to come, 2: for all that we have not seen
        self.peer_last = -1  # the last stream that the peer takes, once it sent GOAWAY
        self.pings = 0  # sent, and not answered
        self.work = self.counted = 0  # frames that carry messages, and how many of them were made up for
        self.frames_left = Bucket(limits.frames, limits.frames_rate)
        self.resets_left = Bucket(limits.resets, limits.resets_rate)
        self.stuck_at = inf  # when streams were last looked at that do not move

    # ---- verbs ----

    def take(self) -> bytes:
        """All bytes that are to be written by now."""
        out = self.out
        if not out:
            return b""
        taken = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return taken

    def open(self) -> int:
        """A client's new stream; 0 if the peer takes none at the moment. Send its headers before the next `open`."""
        if len(self.streams) >= self.theirs.streams or self.is_spent():
            return 0
        stream_id = self.next_id
        self.next_id += 2
        window = self.ours.window if self.acked else WINDOW
        self.streams[stream_id] = opened(stream_id, self.theirs.window, window)
        return stream_id

    def is_spent(self) -> bool:
        """`open` will never give a stream again: GOAWAY came or went, or the ids are used up."""
        return self.dead or self.peer_last >= 0 or self.leaving > 0 or self.next_id > LAST_STREAM

    def can_open(self) -> bool:
        """`open` would give a stream now."""
        return len(self.streams) < self.theirs.streams and not self.is_spent()

    def send_headers(self, stream_id: int, fields: Sequence[Field], end: bool, key: bytes = b"") -> None:
        """A request or a response; of the latter 1xx ones first. Names in lower case, pseudo-fields first.

        `key` stands for these fields, for `send_again`.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.flags & LOCAL_ENDED:
            return
        if not self.server:
            for name, value in fields:
                if name == b":method":
                    if value == b"HEAD":
                        stream.flags |= BODYLESS
                    elif value == b"CONNECT":
                        stream.flags |= TUNNEL
                    break
        stream.flags |= HEAD_OUT
        self._block_out(stream, self.encoder.encode(fields, key), end)

    def send_again(self, stream_id: int, key: bytes, end: bool) -> bool:
        """The response that this key stood for. False: it is not known any more, and `send_headers` has to tell it."""
        block = self.encoder.blocks.get(key)
        if block is None:
            return False
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.flags & LOCAL_ENDED:
            stream.flags |= HEAD_OUT
            self._block_out(stream, block, end)
        return True

    def send_body(self, stream_id: int, piece: bytes, end: bool) -> bool:
        """A piece of a body. True: it is on its way. False: not all of it, and `Owner.writable` tells when.

        Until then no more, please: what is given waits here. False as well for a stream that is gone or has ended.
        """
        stream = self.streams.get(stream_id)
        if stream is None or stream.flags & (LOCAL_ENDED | ENDING):
            return False
        size = len(piece)
        # The common case, a piece that fits into a frame and both windows, costs 1 us less this way.
        if size <= LEAST_FRAME and size <= stream.send_window and size <= self.send_window and not stream.queue:
            if size or end:
                self.out.append(head(size, DATA, 1 if end else 0, stream_id))
                self.out.append(piece)
                stream.send_window -= size
                self.send_window -= size
                self.work += 1
                if end:
                    self._local_end(stream)
            return True
        if not stream.queue:
            sent = self._send_now(stream, piece, end)
            if sent == size:
                return True
            piece = piece[sent:]
        if stream.queue:
            stream.queue += piece
        else:
            stream.queue = bytearray(piece)
        self.queued += len(piece)
        stream.flags |= WAITING | ENDING if end else WAITING
        if stream.send_window > 0:
            self.ready[stream_id] = None
        return False

    def send_trailers(self, stream_id: int, fields: Sequence[Field]) -> None:
        """The end of a message. They follow what is queued."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.flags & (LOCAL_ENDED | ENDING):
            return
        if stream.queue:
            stream.trailers = fields
            stream.flags |= ENDING
        else:
            self._block_out(stream, self.encoder.encode(fields), True)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream now; the owner hears no more of it. What it has not consumed counts as consumed."""
        stream = self.streams.get(stream_id)
        if stream is None:
            self._give_back(self.lingering.pop(stream_id, 0))
            return
        if self.server or stream.flags & HEAD_OUT:
            self.out.append(frame.rst_stream(stream_id, code))
        self._drop(stream, True)

    def consumed(self, stream_id: int, size: int) -> None:
        """So many bytes of `Owner.body` are on their way to the other side: the peer may send as many more."""
        stream = self.streams.get(stream_id)
        if stream is None:
            held = self.lingering.get(stream_id, 0)
            if held > size:
                self.lingering[stream_id] = held - size
            elif held:
                size = held
                del self.lingering[stream_id]
            else:
                return
        else:
            size = min(size, stream.held)
            stream.held -= size
            if not stream.flags & REMOTE_ENDED:
                self._give_back_stream(stream, size)
        self._give_back(size)

    def room(self, stream_id: int) -> int:
        """Bytes of a body that would go out at once."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.queue:
            return 0
        return max(0, min(stream.send_window, self.send_window))

    def _send_now(self, stream: Stream, piece: bytes, end: bool) -> int:
        """As much of it as the windows take. Returns how many bytes that are; if all, the end went with them."""
        size = len(piece)
        room = max(0, min(size, stream.send_window, self.send_window))
        at = 0
        while at < room or (at == size and end):
            part = piece[at : min(at + LEAST_FRAME, room)]
            at += len(part)
            last = end and at == size
            self.out.append(head(len(part), DATA, 1 if last else 0, stream.id))
            self.out.append(part)
            self.work += 1
            if last:
                break
        stream.send_window -= room
        self.send_window -= room
        if end and at == size:
            self._local_end(stream)
        return at

    # ---- windows ----

    def _give_back(self, size: int) -> None:
        """Bytes of the connection's window. The peer is told of half a window at a time."""
        self.owed += size
        if self.owed * 2 >= self.ours.connection and not self.dead:
            self.out.append(frame.window_update(0, self.owed))
            self.receive_window += self.owed
            self.owed = 0

    def _give_back_stream(self, stream: Stream, size: int) -> None:
        stream.owed += size
        if stream.owed * 2 >= self.ours.window and stream.owed:
            self.out.append(frame.window_update(stream.id, stream.owed))
            stream.receive_window += stream.owed
            stream.owed = 0

    def _pump(self) -> None:
        """Send what is queued as far as the windows reach, a frame of each stream in turn."""
        ready = self.ready
        while ready and self.send_window > 0:
            stream_id = next(iter(ready))
            del ready[stream_id]
            stream = self.streams[stream_id]
            queue = stream.queue
            size = min(len(queue), stream.send_window, self.send_window, LEAST_FRAME)
            piece = bytes(queue[:size])
            del queue[:size]
            self.queued -= size
            stream.send_window -= size
            self.send_window -= size
            stream.flags &= ~STUCK
            self.work += 1
            end = stream.flags & ENDING and not queue and stream.trailers is None
            self.out.append(head(size, DATA, 1 if end else 0, stream_id))
            self.out.append(piece)
            if queue:
                if stream.send_window > 0:
                    ready[stream_id] = None
                continue
            waiting = stream.flags & WAITING
            stream.flags &= ~WAITING
            if end:
                self._local_end(stream)
            elif stream.flags & ENDING:
                self._block_out(stream, self.encoder.encode(stream.trailers or ()), True)
            if waiting:
                self.owner.writable(stream_id)

    # ---- streams ----

    def _block_out(self, stream: Stream, block: bytes, end: bool) -> None:
        size = len(block)
        if size <= LEAST_FRAME:
            self.out.append(head(size, HEADERS, 5 if end else 4, stream.id))
            self.out.append(block)
        else:
            self.out.append(frame.headers(block, stream.id, end=end, most=LEAST_FRAME))
        self.work += 1
        if end:
            self._local_end(stream)

    def _local_end(self, stream: Stream) -> None:
        stream.flags |= LOCAL_ENDED
        if stream.flags & REMOTE_ENDED:
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        """Both sides ended. What the owner holds goes on to count, for it may hold on to it for long."""
        del self.streams[stream.id]
        if stream.held:
            self.lingering[stream.id] = stream.held
            if len(self.lingering) > LINGERING:
                self._give_back(self.lingering.pop(next(iter(self.lingering))))

    def _drop(self, stream: Stream, ours: bool) -> None:
        """It ends too early; `ours`: by us, so that something of it may still be on its way."""
        stream_id = stream.id
        del self.streams[stream_id]
        self.ready.pop(stream_id, None)
        self.queued -= len(stream.queue)
        if ours:
            self._remember(stream_id)
        if stream.held:
            self._give_back(stream.held)

    def _remember(self, stream_id: int) -> None:
        self.dropped[stream_id] = None
        if len(self.dropped) > REMEMBERED:
            del self.dropped[next(iter(self.dropped))]
