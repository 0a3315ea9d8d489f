"""The receiving half of a session: the peer's frames, and what they do (RFC 9113 sections 4 to 6 and 8).

A frame is looked at when it is whole: `inbox` holds the beginning of one, a head and MAX_FRAME_SIZE at most. Header
blocks gather in `block` until END_HEADERS.
"""

from __future__ import annotations

from typing import Final

from proxy.http2 import frame
from proxy.http2.controls import Controls
from proxy.http2.errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Broken,
    Malformed,
    Oversized,
)
from proxy.http2.frame import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_SIZE,
    HEADERS,
    PADDED,
    WINDOW,
    WITH_PRIORITY,
)
from proxy.http2.heads import REQUEST, RESPONSE, TRAILERS, Head, read
from proxy.http2.outgoing import PREFACE, SETTINGS
from proxy.http2.packing import front, stream_of
from proxy.http2.settings import UNLIMITED
from proxy.http2.stream import BODYLESS, HEAD_IN, LOCAL_ENDED, REMOTE_ENDED, TUNNEL, Stream, opened
from proxy.octets import cut

MEMO: Final = 32
"""Header blocks whose meaning is remembered, each of at most `MEMO_LENGTH` bytes."""
MEMO_LENGTH: Final = 512
FORGIVEN: Final = 512
"""The last stream that a client may open in vain before it acknowledged our settings."""
_PARTIAL: Final = END_HEADERS | PADDED | WITH_PRIORITY
_HTTP1: Final = b"HTTP/1."
_REFUSAL: Final = {
    431: [(b":status", b"431"), (b"content-length", b"0")],
}


class Incoming(Controls):
    """A session that reads."""

    __slots__ = ()

    def received(self, data: bytes, now: float) -> None:
        """Bytes of the peer; `now` in monotonic seconds."""
        if self.dead:
            return
        self.now = now
        if self.inbox:
            self.inbox += data
            if len(self.inbox) < self.wanted:
                return
            data = bytes(self.inbox)
            self.inbox = bytearray()
        self.wanted = 0
        try:
            at = self._preface(data) if self.expecting == PREFACE else 0
            if self.expecting == SETTINGS and data.startswith(_HTTP1):
                raise Broken(PROTOCOL_ERROR, "it answers in HTTP/1")
            at = self._frames(data, at)
        except Broken as error:
            self.fail(error.code, error.reason)
            return
        if at < len(data) and not self.dead:
            self.inbox = bytearray(data[at:])

    def _preface(self, data: bytes) -> int:
        """Where the frames begin. Raises `Broken`."""
        if data.startswith(frame.PREFACE):
            self.expecting = SETTINGS
            return len(frame.PREFACE)
        if not frame.PREFACE.startswith(data):
            raise Broken(PROTOCOL_ERROR, "this is not HTTP/2")
        return 0

    def _frames(self, data: bytes, at: int) -> int:
        """All whole frames. Returns where the first that is not begins. Raises `Broken`."""
        size = len(data)
        most = self.ours.frame
        if self.expecting == PREFACE:
            return at
        while size - at >= HEAD_SIZE:
            first = front(data, at)
            length, kind, flags = first >> 16, first >> 8 & 0xFF, first & 0xFF
            if length > most:
                raise Broken(FRAME_SIZE_ERROR, "a frame over MAX_FRAME_SIZE")
            start = at + HEAD_SIZE
            end = start + length
            if end > size:
                self.wanted = end - at
                break
            stream_id = stream_of(data, at)
            at = end
            if self.expecting:
                self._expected(kind, flags, stream_id)
            if kind == DATA:
                self._body(stream_id, flags, cut(data, start, end))
            elif kind == HEADERS and flags & _PARTIAL == END_HEADERS and stream_id:
                self._block(stream_id, cut(data, start, end), flags & END_STREAM == END_STREAM)  # the common case
            elif kind == HEADERS:
                self._headers(stream_id, flags, cut(data, start, end))
            elif kind == CONTINUATION:
                self._continuation(flags, cut(data, start, end))
            else:
                self.control(kind, flags, stream_id, cut(data, start, end))
            if self.dead:
                break
        return at

    def _expected(self, kind: int, flags: int, stream_id: int) -> None:
        if self.expecting == SETTINGS:
            if kind != frame.SETTINGS or flags & ACK:
                raise Broken(PROTOCOL_ERROR, "SETTINGS has to be first")
            self.expecting = 0
            self.theirs.streams = UNLIMITED  # unless it says so now
        elif kind != frame.CONTINUATION or stream_id != self.expecting:
            raise Broken(PROTOCOL_ERROR, "a header block is not whole")

    # ---- DATA ----

    def _body(self, stream_id: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        if not stream_id:
            raise Broken(PROTOCOL_ERROR, "DATA without a stream")
        if size > self.receive_window:
            raise Broken(FLOW_CONTROL_ERROR, "more than the window of the connection")
        self.receive_window -= size
        stream = self.streams.get(stream_id)
        if stream is None:
            self._stray_body(stream_id, size)
            return
        if stream.flags & REMOTE_ENDED or not stream.flags & HEAD_IN:
            self._give_back(size)
            self._fault(stream, STREAM_CLOSED if stream.flags & REMOTE_ENDED else PROTOCOL_ERROR)
            return
        if size > stream.receive_window:
            self._give_back(size)
            self._fault(stream, FLOW_CONTROL_ERROR)
            return
        stream.receive_window -= size
        if flags & PADDED:
            payload = frame.unpadded(payload, flags)
            self._give_back(size - len(payload))
            self._give_back_stream(stream, size - len(payload))
            size = len(payload)
        end = flags & END_STREAM
        if size:
            self.work += 1
            stream.held += size
        elif not end:
            self.useless()
            return
        if stream.left >= 0:
            stream.left -= size
            if stream.left < 0 or (end and stream.left):
                self._fault(stream, PROTOCOL_ERROR)
                return
        elif size and stream.flags & BODYLESS:
            self._fault(stream, PROTOCOL_ERROR)
            return
        if end:
            stream.flags |= REMOTE_ENDED
            if stream.flags & LOCAL_ENDED:
                self._close(stream)
            self.owner.body(stream_id, payload, True)
        else:
            self.owner.body(stream_id, payload, False)

    def _stray_body(self, stream_id: int, size: int) -> None:
        """DATA of a stream that is closed, or never was."""
        self._give_back(size)
        if self.is_idle(stream_id):
            raise Broken(PROTOCOL_ERROR, "DATA of a stream that never was")
        if stream_id in self.dropped:
            if not size:
                self.useless()
            return
        self.out.append(frame.rst_stream(stream_id, STREAM_CLOSED))
        self._remember(stream_id)
        self.charge()

    # ---- HEADERS and CONTINUATION ----

    def _headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            raise Broken(PROTOCOL_ERROR, "HEADERS without a stream")
        if flags & (PADDED | WITH_PRIORITY):
            payload = frame.block_of(payload, flags)
        if flags & END_HEADERS:
            self._block(stream_id, payload, bool(flags & END_STREAM))
            return
        self.expecting = stream_id
        self.block += payload
        self.block_end = bool(flags & END_STREAM)

    def _continuation(self, flags: int, payload: bytes) -> None:
        if not self.expecting:
            raise Broken(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self.block_frames += 1
        if not payload:
            self.useless()
        self.block += payload
        if self.block_frames > self.limits.continuations or len(self.block) > 2 * self.ours.header_list:
            raise Broken(ENHANCE_YOUR_CALM, "the header block is far over the limit")
        if flags & END_HEADERS:
            stream_id, block = self.expecting, bytes(self.block)
            self.expecting = self.block_frames = 0
            self.block = bytearray()
            self._block(stream_id, block, self.block_end)

    def _block(self, stream_id: int, block: bytes, end: bool) -> None:
        """A whole header block. It is decoded whatever becomes of it: the tables have to stay in step."""
        self.work += 1
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.server:
                self._request(stream_id, block, end)
            else:
                self._stray_block(stream_id, block)
            return
        try:
            if stream.flags & HEAD_IN:
                self._trailers(stream, block, end)
            else:
                self._response(stream, block, end)
        except Malformed:
            self._fault(stream, PROTOCOL_ERROR)
        except Oversized:
            self._fault(stream, ENHANCE_YOUR_CALM)

    def _request(self, stream_id: int, block: bytes, end: bool) -> None:
        if stream_id <= self.last_seen or not stream_id & 1:
            self._stray_block(stream_id, block)
            return
        self.last_seen = stream_id
        try:
            head = self.head(block, REQUEST)
            if head.length > 0 and end:
                raise Malformed("a body is missing")
        except Malformed:
            self._refuse(stream_id, PROTOCOL_ERROR, 400)
            return
        except Oversized:
            self._answer(stream_id, 431, end)
            return
        if self.leaving == 2:
            self._remember(stream_id)
            return
        if len(self.streams) >= self.ours.streams:
            self._refuse(stream_id, REFUSED_STREAM, 503)
            return
        stream = self._new(stream_id, end)
        if head.method != b"CONNECT":
            stream.left = head.length
        self.owner.headers(stream_id, head, end)

    def _new(self, stream_id: int, end: bool) -> Stream:
        stream = opened(stream_id, self.theirs.window, self.ours.window if self.acked else WINDOW)
        stream.flags = HEAD_IN | REMOTE_ENDED if end else HEAD_IN
        self.streams[stream_id] = stream
        return stream

    def _response(self, stream: Stream, block: bytes, end: bool) -> None:
        head = self.head(block, RESPONSE)
        if stream.flags & REMOTE_ENDED:
            self._fault(stream, STREAM_CLOSED)
            return
        if head.status < 200:
            if end:
                raise Malformed("a response that is none yet cannot end")
            self.work -= 1
            self.useless()
            self.owner.headers(stream.id, head, False)
            return
        if head.status in {204, 304}:
            stream.flags |= BODYLESS
        if head.status >= 300:
            stream.flags &= ~TUNNEL  # a refusal is a response like any other (section 8.5)
        if not stream.flags & (BODYLESS | TUNNEL):
            stream.left = head.length
            if head.length > 0 and end:
                raise Malformed("a body is missing")
        stream.flags |= HEAD_IN
        if end:
            self._remote_end(stream)
        self.owner.headers(stream.id, head, end)

    def _trailers(self, stream: Stream, block: bytes, end: bool) -> None:
        head = self.head(block, TRAILERS)
        if stream.flags & REMOTE_ENDED:
            self._fault(stream, STREAM_CLOSED)
            return
        if not end or stream.left > 0:
            raise Malformed("the message does not end where it says")
        self._remote_end(stream)
        self.owner.trailers(stream.id, head.fields[:])

    def _remote_end(self, stream: Stream) -> None:
        stream.flags |= REMOTE_ENDED
        if stream.flags & LOCAL_ENDED:
            self._close(stream)

    def _stray_block(self, stream_id: int, block: bytes) -> None:
        """HEADERS of a stream that is closed, or never was."""
        try:
            self.decoder.decode(block, self.ours.header_list)
        except Oversized:
            pass
        if not stream_id & 1 or self.is_idle(stream_id):
            raise Broken(PROTOCOL_ERROR, "HEADERS of a stream that never was")
        if stream_id not in self.dropped:
            raise Broken(STREAM_CLOSED, "HEADERS of a stream that is closed")

    def head(self, block: bytes, kind: int) -> Head:
        """What a block says, if it is what it has to be. Raises `Broken`, `Malformed`, `Oversized`.

        A block that leaves the table as it is means the same until the table changes. Peers repeat most of theirs:
        measured, 0.15 us instead of 5 for a browser's head.
        """
        known = self.known_trailers if kind == TRAILERS else self.known
        decoder = self.decoder
        if self.known_at == decoder.inserted:
            head = known.get(block)
            if head is not None:
                self.missed = 0
                return head
        fields = decoder.decode(block, self.ours.header_list)
        unaltered = self.known_at == decoder.inserted
        if not unaltered:
            self.known_at = decoder.inserted
            self.known.clear()
            self.known_trailers.clear()
        head = read(fields, kind, self.ours.connect)
        self.missed += 1
        # Where none came again for a while, only some are remembered: blocks that are ever new cost 0.3 us less each.
        if unaltered and not head.large and len(block) <= MEMO_LENGTH and (self.missed <= MEMO or not self.missed % 16):
            if len(known) >= MEMO:
                known.clear()
            known[block] = head
        return head

    # ---- what is not taken ----

    def _fault(self, stream: Stream, code: int) -> None:
        """The peer broke a stream: reset it, tell the owner."""
        self.out.append(frame.rst_stream(stream.id, code))
        self._drop(stream, True)
        self.owner.reset(stream.id, code)
        self.charge()

    def _refuse(self, stream_id: int, code: int, status: int) -> None:
        """A request that does not become a stream. Clients that do not know our settings yet open too many."""
        self.out.append(frame.rst_stream(stream_id, code))
        self._remember(stream_id)
        self.owner.refused(stream_id, status)
        if self.acked or code != REFUSED_STREAM or stream_id > FORGIVEN:
            self.charge()

    def _answer(self, stream_id: int, status: int, end: bool) -> None:
        """The same with a response."""
        stream = self._new(stream_id, end)
        self.send_headers(stream_id, _REFUSAL[status], True)
        if not end:
            self.reset(stream.id, NO_ERROR)
        self.owner.refused(stream_id, status)
        self.charge()
