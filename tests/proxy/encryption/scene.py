"""A simulated proxy that changes from plaintext to TLS or back, and the servers it dials."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from proxy.config.loader import loads
from proxy.encryption.control import TlsOrder, carry_out
from tests.kit import bolt
from tests.proxy.metrics.scene import Counted
from tests.proxy.tls.far import Far, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.certificates import Authority
    from tests.proxy.simulation import Socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
V1 = bolt.DIALECTS[0]
TLS_HANDSHAKE = 0x16
QUIET = 0.5
"""Seconds: longer than a successor of http1 has to be quiet."""
STEP = 0.3
"""Seconds: longer than from one look of the switch to the next."""


class Server:
    """The endpoint's side of one dial, in plaintext or behind its handshake."""

    def __init__(self, socket: Socket, far: Far | None) -> None:
        self.socket = socket
        self._far = far

    @property
    def secure(self) -> bool:
        return self._far is not None

    @property
    def open(self) -> bool:
        """The proxy has not ended it."""
        return not (self.socket.ended or self.socket.reset or self.socket.closed)

    def take(self) -> bytes:
        """What came since the last look."""
        return self.socket.take() if self._far is None else self._far.take()

    def send(self, data: bytes) -> None:
        (self.socket if self._far is None else self._far).send(data)

    def fin(self) -> None:
        """As a server that closes what is idle."""
        if self._far is not None:
            self._far.goodbye()
        self.socket.fin()

    def frames(self) -> list[bolt.Frame]:
        """The bolt frames that came since the last look."""
        return bolt.FrameReader().feed(self.take())

    def beat(self) -> None:
        """Answer the one heartbeat that came, and nothing else."""
        (frame,) = self.frames()
        assert (frame.type, frame.command) == (bolt.REQUEST, bolt.HEARTBEAT)
        self.send(bolt.heartbeat_answer(frame.dialect, frame.id))


class Changing:
    """Listeners "web" (http1), "rpc" (bolt), perhaps "raw" (tcp), before the cluster "app", which knows TLS."""

    def __init__(
        self,
        authority: Authority,
        *,
        moving: bool = False,
        endpoints: str = "127.0.0.1:9000",
        encryption: str = "off",
        cluster: str = "",
        shared: int = 1,
        tls: bool = True,
        raw: bool = False,
        rpc: str = "bolt",
    ) -> None:
        """`encryption` and further keys of the `cluster` as they are written in the configuration."""
        self.context = server_context(authority.issue("edge"))
        self.trust = authority.file
        self._settings = {"endpoints": endpoints, "encryption": encryption, "cluster": cluster, "tls": tls}
        self._settings |= {"shared": shared, "raw": raw, "rpc": rpc}
        self.world = Counted(loads(self._text()).config, moving=moving)

    def _text(self, **changes: Any) -> str:
        settings = self._settings = {**self._settings, **changes}
        tls = f", tls: {{ca: {self.trust}}}" if settings["tls"] else ""
        encryption = f", encryption: {settings['encryption']}" if settings["encryption"] else ""
        more = "\n  - {name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}" if settings["raw"] else ""
        return f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app}}
  - {{name: rpc, address: 127.0.0.1:82, protocol: {settings["rpc"]}, cluster: app}}{more}
clusters:
  - {{name: app, connect_timeout: 1s, endpoints: [{settings["endpoints"]}]{tls}{encryption}{settings["cluster"]},
     shared_connections: {settings["shared"]}}}
"""

    def configured(self, **changes: Any) -> Any:
        """The configuration with other settings."""
        return loads(self._text(**changes)).config

    def order(self, wanted: Any, percent: int = 100, ramp: float = 0.0) -> None:
        carry_out(self.world.proxy, TlsOrder("app", wanted, percent, ramp))
        self.world.settle()

    def announce(self, endpoint: str, what: Any) -> None:
        carry_out(self.world.proxy, TlsOrder("app", endpoint=endpoint, announces=what))
        self.world.settle()

    def accepted(self) -> Server:
        """The oldest dial that nobody looked at yet, accepted; with TLS if the proxy wants it."""
        socket = self.world.dialled()
        socket.accept()
        if socket.outbox[:1] != bytes((TLS_HANDSHAKE,)):
            return Server(socket, None)
        return Server(socket, Far(socket, self.context, server=True).handshake())

    def spoiled(self, answer: bytes = b"") -> Socket:
        """The same, but its server knows no TLS: it says this, or hangs up."""
        socket = self.world.dialled()
        socket.accept()
        assert socket.take()[:1] == bytes((TLS_HANDSHAKE,))
        if answer:
            socket.send(answer)
        else:
            socket.fin()
        return socket

    def web(self) -> tuple[Socket, Server]:
        """A client of http1 whose connection to the endpoint is idle."""
        client = self.world.connect("web")
        client.send(GET)
        server = self.accepted()
        self.answer(client, server)
        return client, server

    def crowd(self, number: int) -> tuple[list[Socket], list[Server]]:
        """So many clients of http1, each with a connection to the endpoint that is idle."""
        clients = [self.world.connect("web") for _ in range(number)]
        for client in clients:
            client.send(GET)
        servers = [self.accepted() for _ in clients]
        for client, server in zip(clients, servers, strict=True):
            self.answer(client, server)
        return clients, servers

    def answer(self, client: Socket, server: Server, request: bytes = b"GET ") -> None:
        """The server gets one request and answers it."""
        assert server.take().startswith(request)
        server.send(OK)
        assert client.take().endswith(b"ok")

    def ask(self, client: Socket, server: Server) -> None:
        """A whole exchange."""
        client.send(GET)
        self.answer(client, server)

    def rpc(self) -> tuple[Socket, Server, bolt.Frame]:
        """A client of bolt with a call under way."""
        client = self.world.connect("rpc")
        client.send(bolt.call(V1, 7, b"first"))
        server = self.accepted()
        (frame,) = server.frames()
        return client, server, frame

    def answered(self, client: Socket, server: Server, frame: bolt.Frame) -> None:
        """The call that is under way since `rpc`."""
        server.send(bolt.answer(V1, frame.id, b"fine"))
        assert [one.id for one in bolt.FrameReader().feed(client.take())] == [7]

    def quiet_rpc(self) -> tuple[Socket, Server]:
        """A client of bolt whose call was answered."""
        client, server, frame = self.rpc()
        self.answered(client, server, frame)
        return client, server

    def call(self, client: Socket, server: Server, number: int = 8) -> None:
        """A whole call."""
        client.send(bolt.call(V1, number, b"more"))
        (frame,) = (one for one in server.frames() if one.command == bolt.CALL)
        server.send(bolt.answer(V1, frame.id, b"fine"))
        assert [one.id for one in bolt.FrameReader().feed(client.take())] == [number]

    def succeed(self) -> Server:
        """The successor of an http1 connection is there and was quiet long enough."""
        successor = self.accepted()
        self.world.wait(QUIET)
        return successor

    @property
    def retired(self) -> dict[str, int]:
        """How the connections ended that were replaced, in all generations."""
        found = self.world.only("upstream_retired")
        return {name.rpartition(" ")[2]: int(value) for name, value in found.items()}

    @property
    def about(self) -> dict[str, Any]:
        """What status tells of the encryption."""
        about: dict[str, Any] = self.world.proxy.status()["clusters"][0]["encryption"]
        return about

    @property
    def counts(self) -> tuple[int, int]:
        """Connections that serve: plaintext, TLS."""
        endpoints = self.about["endpoints"]
        return sum(one["plaintext"] for one in endpoints), sum(one["tls"] for one in endpoints)


def refuse(scene: Changing, demanding: ssl.SSLContext, meanwhile: Callable[[], None] = lambda: None) -> Server | None:
    """The oldest dial is to a server of TLS 1.3 that wants a certificate: it says no behind the handshake.

    In plaintext it serves: then it is returned. `meanwhile` is what happens while the refusal is on its way.
    """
    socket = scene.world.dialled()
    socket.accept()
    if socket.outbox[:1] != bytes((TLS_HANDSHAKE,)):
        return Server(socket, None)
    far = Far(socket, demanding, server=True)
    try:
        far.step()
        meanwhile()
        while not far.step():
            pass
    except ssl.SSLError:
        far.push()
        socket.fin()
        return None
    raise AssertionError("it was content without a certificate")
