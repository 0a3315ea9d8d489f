"""One session, an owner that writes down what it hears, and a peer made of single frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hpack
import msgspec

from proxy.http2 import frame
from proxy.http2.budget import Limits
from proxy.http2.errors import name_of
from proxy.http2.frame import PREFACE
from proxy.http2.owner import Owner
from proxy.http2.session import Session, SessionState
from proxy.http2.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.example"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]
OK = [(b":status", b"200")]
LIMITS = Limits(frames=200, frames_rate=10, resets=20, resets_rate=1)


class Heard(Owner):
    """An owner. `calls` is what it heard; `eager`: it consumes at once."""

    def __init__(self, *, eager: bool = True) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.eager = eager
        self.session: Session

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        self.calls.append(("headers", stream_id, head.fields, end))

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        self.calls.append(("body", stream_id, piece, end))
        if self.eager:
            self.session.consumed(stream_id, len(piece))

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        self.calls.append(("trailers", stream_id, fields))

    def reset(self, stream_id: int, code: int) -> None:
        self.calls.append(("reset", stream_id, name_of(code)))

    def refused(self, stream_id: int, status: int) -> None:
        self.calls.append(("refused", stream_id, status))

    def writable(self, stream_id: int) -> None:
        self.calls.append(("writable", stream_id))

    def settled(self) -> None:
        self.calls.append(("settled",))

    def pong(self) -> None:
        self.calls.append(("pong",))

    def goaway(self, last: int, code: int) -> None:
        self.calls.append(("goaway", last, name_of(code)))

    def broken(self, code: int, reason: str) -> None:
        assert reason
        self.calls.append(("broken", name_of(code)))


def moved(session: Session, now: float = 0.0) -> Session:
    """The same session in another process."""
    state = msgspec.msgpack.encode(session.save(now))
    owner = session.owner
    other = Session.load(msgspec.msgpack.decode(state, type=SessionState), owner, session.limits, now)
    assert isinstance(owner, Heard)
    owner.session = other
    return other


class Stage:
    """A session whose peer said hello, unless `fresh`."""

    def __init__(
        self, *, server: bool = True, limits: Limits = LIMITS, fresh: bool = False, eager: bool = True, **ours: Any
    ) -> None:
        self.owner = Heard(eager=eager)
        self.owner.session = Session(self.owner, Settings(**ours), limits, server=server)
        self.now = 100.0
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.session.begin()
        if not fresh:
            self.greet()

    @property
    def session(self) -> Session:
        return self.owner.session

    @property
    def calls(self) -> list[tuple[Any, ...]]:
        return self.owner.calls

    def greet(self, *pairs: tuple[int, int]) -> None:
        """Preface, settings, and the acknowledgement of ours. What comes of it is dropped."""
        hello = frame.settings(pairs) + frame.SETTINGS_ACK
        self.say(PREFACE + hello if self.session.server else hello)
        self.session.take()
        self.calls.clear()

    def say(self, *frames: bytes) -> None:
        self.session.received(b"".join(frames), self.now)

    def block(self, fields: Iterable[Field]) -> bytes:
        encoded: bytes = self.encoder.encode(list(fields), huffman=False)
        return encoded

    def heads(self, stream_id: int, fields: Iterable[Field] = GET, *, end: bool = True) -> bytes:
        return frame.headers(self.block(fields), stream_id, end=end, most=16384)

    def request(self, stream_id: int, fields: Iterable[Field] = GET, *, end: bool = True) -> None:
        self.say(self.heads(stream_id, fields, end=end))

    def body(self, stream_id: int, piece: bytes, *, end: bool = False) -> None:
        self.say(frame.frame(frame.DATA, frame.END_STREAM if end else 0, stream_id, piece))

    def call(self, fields: list[Field] = GET, *, end: bool = True) -> int:
        """Of a client: a request."""
        stream_id = self.session.open()
        self.session.send_headers(stream_id, fields, end)
        return stream_id

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """What the session wrote, without a preface."""
        return list(frame.frames(self.session.take().removeprefix(PREFACE)))

    def goaway(self) -> tuple[int, str]:
        """The last frame, which says that the connection is over: last stream, code. Nobody else was told anything."""
        kind, _, _, payload = self.frames()[-1]
        assert kind == frame.GOAWAY
        last, code, _ = frame.read_goaway(payload)
        assert self.session.dead
        assert self.calls[-1] == ("broken", name_of(code))
        return last, name_of(code)

    def resets(self) -> list[tuple[int, str]]:
        """The streams that were reset, and why."""
        assert not self.session.dead
        return [
            (stream_id, name_of(int.from_bytes(payload, "big")))
            for kind, _, stream_id, payload in self.frames()
            if kind == frame.RST_STREAM
        ]

    def move(self) -> None:
        moved(self.session, self.now)


def server(**about: Any) -> Stage:
    """A session that serves."""
    return Stage(server=True, **about)


def client(**about: Any) -> Stage:
    """A session that asks."""
    return Stage(server=False, **about)
