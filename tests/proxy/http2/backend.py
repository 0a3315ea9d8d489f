"""A server of HTTP/2 by somebody else (the h2 library), behind a proxy in a simulated world, and what surrounds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import msgspec

from proxy.http2 import frame
from tests.proxy.http1.scene import GET, web
from tests.proxy.http2.browser import Headers, speaking
from tests.proxy.metrics.scene import Counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.model import Config
    from tests.proxy.simulation import Socket

Codes = h2.settings.SettingCodes
OK = (b":status", b"200")


class Asked(msgspec.Struct):
    """What came of one request."""

    headers: Headers = []
    body: bytes = b""
    trailers: Headers = []
    ended: bool = False
    reset: int | None = None

    @property
    def path(self) -> bytes:
        """Of its head."""
        return dict(self.headers).get(b":path", b"")


class Backend:
    """One connection that the proxy made. Windows are given back at once unless `greedy` is false."""

    def __init__(
        self,
        socket: Socket,
        *,
        greedy: bool = True,
        hello: bool = True,
        streams: int | None = None,
        window: int | None = None,
        connect: bool = False,
    ) -> None:
        self.socket = socket
        self.greedy = greedy
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        limits = {Codes.MAX_CONCURRENT_STREAMS: streams, Codes.INITIAL_WINDOW_SIZE: window}
        wanted = {code: value for code, value in limits.items() if value is not None}
        if connect:
            wanted[Codes.ENABLE_CONNECT_PROTOCOL] = 1
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=wanted)
        self.streams: dict[int, Asked] = {}
        self.goaways: list[int] = []
        self.pings = 0
        """Those of the proxy, which the library answers."""
        self.raw = b""
        """All that came."""
        self._unread = b""
        if socket.connecting:
            socket.accept()
        if hello:
            self.begin()

    def begin(self) -> None:
        """The server's first bytes."""
        self.connection.initiate_connection()
        self.flush()
        self.listen()

    def flush(self) -> None:
        """Send what the library has to say."""
        data = self.connection.data_to_send()
        if data and not self.socket.closed:
            self.socket.send(data)

    def listen(self) -> None:
        """Take in what came, and answer it as the protocol wants it."""
        while data := self.socket.take():
            self.raw += data
            self._unread += data
            for one in self._frames():
                for event in self.connection.receive_data(one):
                    self._take(event)
                if one[3] == frame.GOAWAY and not one.startswith(b"PRI"):  # which the library takes for the end
                    self.connection.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN
            self.flush()

    def _frames(self) -> Iterator[bytes]:
        if self._unread.startswith(frame.PREFACE):
            self._unread = self._unread[len(frame.PREFACE) :]
            yield frame.PREFACE
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3])):
            one, self._unread = self._unread[:size], self._unread[size:]
            yield one

    def _take(self, event: Any) -> None:
        number = getattr(event, "stream_id", None) or 0
        if isinstance(event, h2.events.RequestReceived):
            self.streams[number] = Asked(headers=event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[number].body += event.data
            if self.greedy and event.flow_controlled_length:
                self.connection.acknowledge_received_data(event.flow_controlled_length, number)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[number].trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[number].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[number].reset = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(int(event.error_code or 0))
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1

    # ---- what it says ----

    def answer(
        self, stream: int, body: bytes = b"", *fields: tuple[bytes, bytes], status: bytes = b"200", end: bool = True
    ) -> None:
        """A response's head, and its body if there is one."""
        self.head(stream, (b":status", status), *fields, end=end and not body)
        if body:
            self.say(stream, body, end=end)

    def head(self, stream: int, *fields: tuple[bytes, bytes], end: bool = False) -> None:
        """A response's head, interim ones included, or trailers."""
        self.listen()
        self.connection.send_headers(stream, fields, end_stream=end)
        self.flush()

    def say(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """A piece of a body, in frames that fit; the windows have to have room."""
        while len(data) > 16384:
            self.connection.send_data(stream, data[:16384])
            data = data[16384:]
        self.connection.send_data(stream, data, end_stream=end)
        self.flush()
        self.listen()

    def room(self, stream: int) -> int:
        """Bytes that may be sent."""
        self.listen()
        return self.connection.local_flow_control_window(stream)

    def permit(self, **settings: int) -> None:
        """Other settings: ``streams``, ``window``."""
        names = {"streams": Codes.MAX_CONCURRENT_STREAMS, "window": Codes.INITIAL_WINDOW_SIZE}
        self.connection.update_settings({names[name]: value for name, value in settings.items()})
        self.flush()
        self.listen()

    def widen(self, size: int, stream: int | None = None) -> None:
        """Let the proxy send more."""
        self.connection.increment_flow_control_window(size, stream)
        self.flush()
        self.listen()

    def reset(self, stream: int, code: int) -> None:
        """RST_STREAM."""
        self.listen()
        self.connection.reset_stream(stream, code)
        self.flush()

    def goaway(self, last: int, code: int = 0) -> None:
        """GOAWAY; the library would take it for the end."""
        self.socket.send(frame.goaway(last, code))

    # ---- what it heard ----

    def asked(self, stream: int) -> Asked:
        """What came of it so far."""
        self.listen()
        return self.streams[stream]

    @property
    def open(self) -> list[int]:
        """Requests that it may answer."""
        self.listen()
        return [number for number, one in self.streams.items() if one.reset is None]

    @property
    def latest(self) -> int:
        """The stream opened last."""
        self.listen()
        return max(self.streams)


class Site(Counted):
    """A world that knows its clients, so that they can all go in the end."""

    def __init__(self, config: Config, *, moving: bool = False) -> None:
        self.clients: list[Socket] = []
        super().__init__(config, moving=moving)

    def connect(self, listener: str, remote: str = "192.0.2.1", **addresses: str) -> Socket:
        """See `World`."""
        client = super().connect(listener, remote, **addresses)
        self.clients.append(client)
        return client

    def server(self, **about: Any) -> Backend:
        """Who was dialled, having accepted."""
        return Backend(self.dialled(), **about)

    def ask(self, request: bytes = GET) -> Socket:
        """A client of HTTP/1.1 that sent this."""
        client = self.connect("web")
        client.send(request)
        return client

    def at_rest(self) -> None:
        """Nothing is under way, and nothing is left of what was."""
        for proxy in (self.proxy, *self.retired):
            endpoints = [one for cluster in proxy.clusters.values() for one in cluster.every()]
            assert not proxy.reactor.hosted
            assert [one.in_flight for one in endpoints if one.in_flight] == []
            assert proxy.in_flight() == 0

    def leave(self) -> None:
        """All clients go. What they leave behind is a bug."""
        for client in self.clients:
            if not client.closed:
                client.rst()
        self.at_rest()
        assert self.proxy.reactor.bugs == 0


def behind(*, endpoints: int = 1, listener: dict[str, Any] | None = None, **cluster: Any) -> Config:
    """The listener "web" for both versions, before endpoints of HTTP/2."""
    return speaking(web(endpoints=endpoints, listener=listener, **{"http2": True, **cluster}))
