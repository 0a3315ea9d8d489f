"""Random conversations between a session and h2, a peer by somebody else; and the same once more, otherwise cut.

What h2 does depends on what it hears, so a conversation is held once with h2 and noted: the bytes that came, and what
the owner did in between. A replay gives the same session the same, in other pieces, and moves it between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hypothesis import strategies as st

from proxy.http2.budget import Limits
from proxy.http2.session import Session
from proxy.http2.settings import Settings
from proxy.http2.stream import ENDING, HEAD_OUT, LOCAL_ENDED, REMOTE_ENDED
from tests.proxy.http2.scene import Heard, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.http2.hpack import Field

GENEROUS = Limits(frames=10**6, resets=10**6)
FIELDS: list[Field] = [
    (b"x-short", b"1"),
    (b"x-long", b"z" * 20000),
    (b"authorization", b"Bearer secret"),
    (b"cookie", b"a=1"),
    (b"cookie", b"session=0123456789abcdef0123456789"),
    (b"accept", b"*/*"),
    (b"x-\xc3\xa9".lower()[:2] + b"utf", "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n".encode()),
    (b"x-empty", b""),
]
SIZES = st.sampled_from([0, 1, 100, 5000, 16384, 16385, 70000])
SOME = st.lists(st.sampled_from(FIELDS), max_size=4)


class Act(NamedTuple):
    """What one of both does: `who` is "we" or "they", `which` chooses among the streams there are."""

    who: str
    what: str
    which: int
    size: int
    fields: list[Field]
    end: bool


ACTS = st.builds(
    Act,
    st.sampled_from(["we", "they"]),
    st.sampled_from(["ask", "head", "body", "body", "body", "trailers", "consume", "consume", "consume", "reset"])
    | st.sampled_from(["ping", "settings", "body", "ask", "head"]),
    st.integers(0, 5),
    SIZES,
    SOME,
    st.booleans(),
)
CONVERSATIONS = st.lists(ACTS, max_size=25)


class Conversation:
    """Both of them, and what was said."""

    def __init__(self, *, server: bool) -> None:
        self.server = server
        self.ours = Settings(streams=8, window=50000, connection=100000, connect=True)
        self.owner = Heard(eager=False)
        self.session = self.owner.session = Session(self.owner, self.ours, GENEROUS, server=server)
        self.peer = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=server, header_encoding=None, validate_inbound_headers=True)
        )
        self.notes: list[bytes | tuple[Any, ...]] = []
        """Bytes that came, and calls of the session's verbs."""
        self.output = b""
        self.heard: dict[int, dict[str, Any]] = {}
        """What h2 heard, by stream."""
        self.said: dict[int, bytes] = {}
        """The bodies that h2 sent, by stream."""
        self.unread: dict[int, int] = {}
        self.ended: set[int] = set()
        self.answered: set[int] = set()

    def run(self, acts: Sequence[Act]) -> None:
        self.session.begin()
        self.peer.initiate_connection()
        self.exchange()
        for act in acts:
            if act.who == "we":
                self.we(act)
            else:
                self.they(act)
            self.exchange()
        self.finish()

    def verb(self, name: str, *arguments: Any) -> Any:
        """A verb of the session, noted."""
        self.notes.append((name, *arguments))
        return getattr(self.session, name)(*arguments)

    def exchange(self) -> None:
        """Until both have heard all."""
        while True:
            out = self.session.take()
            self.output += out
            for event in self.peer.receive_data(out) if out else ():
                self.note(event)
            back = self.peer.data_to_send()
            if back:
                self.notes.append(back)
                self.session.received(back, 0.0)
            elif not out:
                assert not self.session.dead, self.owner.calls[-1]
                return

    def note(self, event: Any) -> None:
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        about = self.heard.setdefault(stream_id, {"heads": [], "body": b"", "trailers": None})
        if isinstance(
            event, h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.InformationalResponseReceived
        ):
            about["heads"].append([tuple(field) for field in event.headers or ()])
        elif isinstance(event, h2.events.DataReceived):
            about["body"] += event.data
            self.unread[stream_id] = self.unread.get(stream_id, 0) + (event.flow_controlled_length or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            about["trailers"] = [tuple(field) for field in event.headers or ()]
        elif isinstance(event, h2.events.StreamReset):
            self.ended.add(stream_id)

    def we(self, act: Act) -> None:
        session = self.session
        if act.what == "ask":
            if not self.server:
                stream_id = self.verb("open")
                if stream_id:
                    self.verb("send_headers", stream_id, request(act.fields), act.end)
            return
        if act.what == "ping":
            self.verb("ping")
            return
        ids = list(session.streams)
        if act.what == "consume":
            held = list(session.lingering) + [one for one in ids if session.streams[one].held]
            if held:
                self.verb("consumed", held[act.which % len(held)], act.size)
            return
        if not ids:
            return
        stream_id = ids[act.which % len(ids)]
        flags = session.streams[stream_id].flags
        if act.what in {"body", "trailers"} and flags & (LOCAL_ENDED | ENDING):
            return
        if act.what == "head" and self.server and not flags & HEAD_OUT:
            self.verb("send_headers", stream_id, [(b":status", b"200"), *act.fields], act.end)
        elif act.what == "body" and flags & HEAD_OUT:
            self.verb("send_body", stream_id, bytes(act.size), act.end)
        elif act.what == "trailers" and flags & HEAD_OUT:
            self.verb("send_trailers", stream_id, act.fields or [(b"grpc-status", b"0")])
        elif act.what == "reset":
            self.verb("reset", stream_id, 8)
            self.ended.add(stream_id)

    def they(self, act: Act) -> None:
        """As far as h2 permits: what it refuses to send is not said."""
        peer = self.peer
        ids = sorted(self.session.streams)
        stream_id = ids[act.which % len(ids)] if ids else 0
        if act.what in {"head", "body", "trailers", "reset"} and not self.permitted(act.what, stream_id):
            return
        try:
            if act.what == "ask" and self.server:
                peer.send_headers(peer.get_next_available_stream_id(), request(act.fields), end_stream=act.end)
            elif act.what == "head" and not self.server:
                self.answered.add(stream_id)
                peer.send_headers(stream_id, [(b":status", b"200"), *act.fields], end_stream=act.end)
            elif act.what == "body":
                room = min(act.size, peer.local_flow_control_window(stream_id))
                piece = bytes(range(256)) * (room // 256 + 1)
                while room > 0:
                    part = piece[: min(room, 16384)]
                    peer.send_data(stream_id, part, end_stream=act.end and room == len(part))
                    self.said[stream_id] = self.said.get(stream_id, b"") + part
                    room -= len(part)
            elif act.what == "trailers":
                peer.send_headers(stream_id, act.fields or [(b"x-sum", b"1")], end_stream=True)
            elif act.what == "consume":
                self.read()
            elif act.what == "reset":
                peer.reset_stream(stream_id, 8)
                self.ended.add(stream_id)
            elif act.what == "ping":
                peer.ping(b"12345678")
            elif act.what == "settings":
                peer.update_settings(
                    {
                        h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: act.size,
                        h2.settings.SettingCodes.HEADER_TABLE_SIZE: act.size // 20,
                    }
                )
        except h2.exceptions.ProtocolError:
            pass

    def permitted(self, what: str, stream_id: int) -> bool:
        """What h2 may do. It would send some of the rest, or lose its way over it."""
        if not stream_id or self.session.streams[stream_id].flags & REMOTE_ENDED:
            return False
        if self.server or what == "reset":
            return True
        return (stream_id in self.answered) is (what != "head")

    def read(self) -> None:
        """H2's owner reads all there is."""
        for stream_id, size in list(self.unread.items()):
            del self.unread[stream_id]
            if size:
                self.peer.acknowledge_received_data(size, stream_id)

    def finish(self) -> None:
        """Open all windows, so that what is queued arrives."""
        try:
            self.peer.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 70000})
        except h2.exceptions.ProtocolError:  # pragma: no cover
            pass
        for _ in range(200):
            self.exchange()
            if not self.session.queued:
                return
            self.read()
        raise AssertionError("queues do not drain")


def request(fields: list[Field]) -> list[Field]:
    """A request of these."""
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/a?b=c")]
    return [*pseudo, *fields]


def normal(fields: list[Field]) -> list[Field]:
    """As h2 tells it: cookies joined, at the end (RFC 9113 section 8.2.3)."""
    cookies = [value for name, value in fields if name == b"cookie"]
    return [field for field in fields if field[0] != b"cookie"] + (
        [(b"cookie", b"; ".join(cookies))] if cookies else []
    )


def pieces(data: bytes, cuts: Iterator[int]) -> Iterator[bytes]:
    """The bytes cut; a cut of 0 leaves the rest in one piece. Many bytes are cut into larger pieces."""
    scale = 1 + len(data) // 500
    while data:
        size = next(cuts) * scale or len(data)
        yield data[:size]
        data = data[size:]


def replayed(conversation: Conversation, cuts: Iterator[int], moves: Iterator[bool]) -> tuple[list[Any], bytes]:
    """The calls of the owner and the output of the same conversation, cut and moved otherwise."""
    owner = Heard(eager=False)
    ours = Settings(streams=8, window=50000, connection=100000, connect=True)
    session = owner.session = Session(owner, ours, GENEROUS, server=conversation.server)
    session.begin()
    output = []
    for note in conversation.notes:
        if isinstance(note, bytes):
            for piece in pieces(note, cuts):
                session.received(piece, 0.0)
                if next(moves):
                    session = moved(session)
        else:
            getattr(session, note[0])(*note[1:])
        if next(moves):
            session = moved(session)
        if next(moves):
            output.append(session.take())
    output.append(session.take())
    return owner.calls, b"".join(output)
