"""A client of HTTP/2 by somebody else (the h2 library), before a proxy in a simulated world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.model import Config
    from tests.proxy.simulation import Socket, World

GOAWAY = 7

Headers = list[tuple[bytes, bytes]]


class Heard(msgspec.Struct):
    """What came of one stream."""

    headers: Headers = []
    interim: list[Headers] = []
    body: bytes = b""
    trailers: Headers = []
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """That of the final response; 0 as long as there is none."""
        return int(dict(self.headers).get(b":status", b"0"))


class Browser:
    """One connection. Windows are given back at once unless `greedy` is false."""

    def __init__(self, world: World, *, greedy: bool = True) -> None:
        self.socket: Socket = world.connect("web")
        self.greedy = greedy
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()
        self.streams: dict[int, Heard] = {}
        self.goaways: list[int] = []
        self._unread = b""
        self.flush()
        self.listen()

    def flush(self) -> None:
        """Send what the library has to say."""
        data = self.connection.data_to_send()
        if data:
            self.socket.send(data)

    def listen(self) -> None:
        """Take in what came, and answer it as the protocol wants it."""
        while data := self.socket.take():
            self._unread += data
            for frame in self._frames():
                for event in self.connection.receive_data(frame):
                    self._take(event)
                if frame[3] == GOAWAY:  # the library takes it for the end, which it is not
                    self.connection.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            self.flush()

    def _frames(self) -> Iterator[bytes]:
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3])):
            frame, self._unread = self._unread[:size], self._unread[size:]
            yield frame

    def _take(self, event: Any) -> None:
        heard = self.streams.get(getattr(event, "stream_id", None) or 0, Heard())
        if isinstance(event, h2.events.InformationalResponseReceived):
            heard.interim.append(event.headers)
        elif isinstance(event, h2.events.ResponseReceived):
            heard.headers = event.headers
        elif isinstance(event, h2.events.DataReceived):
            heard.body += event.data
            if self.greedy and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            heard.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            heard.ended = True
        elif isinstance(event, h2.events.StreamReset):
            heard.reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(int(event.error_code or 0))

    def ask(
        self,
        path: bytes = b"/",
        method: bytes = b"GET",
        *fields: tuple[bytes, bytes],
        end: bool = True,
        authority: bytes = b"a",
        protocol: bytes = b"",
    ) -> int:
        """Begin a request; the id of its stream."""
        stream = self.connection.get_next_available_stream_id()
        self.streams[stream] = Heard()
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path)]
        pseudo += [(b":protocol", protocol)] if protocol else []
        self.connection.send_headers(stream, [*pseudo, (b"x-request-id", b"7"), *fields], end_stream=end)
        self.flush()
        self.listen()
        return stream

    def say(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """A piece of a request's body."""
        self.connection.send_data(stream, data, end_stream=end)
        self.flush()
        self.listen()

    def room(self, stream: int) -> int:
        """Bytes that may be sent."""
        return self.connection.local_flow_control_window(stream)

    def heard(self, stream: int) -> Heard:
        """What came of it so far."""
        self.listen()
        return self.streams[stream]


def speaking(config: Config) -> Config:
    """The same with HTTP/2 on all listeners."""
    listeners = tuple(msgspec.structs.replace(one, http2=True) for one in config.listeners)
    return msgspec.structs.replace(config, listeners=listeners)
