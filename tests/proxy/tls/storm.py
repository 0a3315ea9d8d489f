"""Clients and endpoints that do whatever they may at any time, and a proxy that is replaced in between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from proxy.config.model import FilterConfig, ProxyProtocolConfig
from tests.proxy.tls.far import client_context, server_context
from tests.proxy.tls.scene import Scene
from tests.proxy.tls.updating import SUITES, Updating, updating_client, updating_server
from tests.proxy.tls.wire import BROKEN, SIZES, OnWire, Plain, Wire

if TYPE_CHECKING:
    from random import Random

    from tests.kit.certificates import Authority, Pair
    from tests.proxy.simulation import Socket
    from tests.proxy.tls.wire import FarEnd

VERSIONS = ("", "1.2", "1.3")
"""Of TLS on one side; the first one is plaintext."""
WAYS = (
    *["go_on"] * 8,
    *["pull", "release"] * 4,
    *["update", "pause", "resume", "move", "move_in_rounds", "take_back", "wait"],
)
"""What happens, by how often."""
STAYING = tuple(way for way in WAYS if way not in {"move", "move_in_rounds", "take_back"})
"""What happens to a proxy that is not replaced."""
MEANWHILE = ("go_on", "pull", "release", "update", "resume", "wait")
"""What may happen between two rounds."""
GENTLE = ("goodbye", "cut_off")
ROUGH = ("reset", "forge", "damage")


class Side:
    """A far end, and what the test knows of it."""

    def __init__(self, wire: Wire, end: FarEnd) -> None:
        self.wire = wire
        self.end = end
        self.sent = b""
        self.done = isinstance(end, Plain)
        """Its handshake."""
        self.said_goodbye = False
        self.said_fin = False
        self.read = 0
        """Bytes of the plaintext that were understood."""
        self.owes: list[bytes] = []
        """What it has begun to say."""
        self.asked = 0
        self.slow = False
        """It did not read at some time."""

    @property
    def closing(self) -> bool:
        return self.said_goodbye or self.said_fin

    @property
    def whole(self) -> bool:
        """It ended its stream as one that ends, not as one that is cut off."""
        return self.said_goodbye or isinstance(self.end, Plain)

    def pull(self) -> None:
        if self.done:
            self.end.pull()

    def say(self, data: bytes) -> None:
        if self.done and not self.closing:
            self.sent += data
            self.end.send(data)

    def goodbye(self) -> None:
        if self.done and not self.closing:
            self.said_goodbye = True
            self.end.goodbye()
            if isinstance(self.end, Plain):
                self.fin()

    def fin(self) -> None:
        if not self.said_fin:
            self.said_fin = True
            self.wire.fin()


class Storm:
    """Some clients of one listener, and the endpoint behind it. What they say to each other, subclasses know."""

    protocol: Any = "tcp"

    def __init__(self, authority: Authority, random: Random, clients: int = 1) -> None:
        self.random = random
        self.down, self.up = random.choice(VERSIONS), random.choice(VERSIONS)
        listener: dict[str, Any] = {}
        self.permissive = self.down != "" and random.random() < 0.3
        if self.permissive:
            listener |= {"tls_mode": "permissive", "first_bytes_timeout": 500.0}
        if random.random() < 0.3:
            listener["filters"] = (FilterConfig(name="fault", config={"delay": 0.03}),)
        self.introduces = random.random() < 0.3
        """Clients send a PROXY protocol header first."""
        if self.introduces:
            listener["proxy_protocol"] = ProxyProtocolConfig(trusted=("0.0.0.0/0",), timeout=500.0)
        self.introduced = random.random() < 0.3
        """Endpoints are sent one."""
        version = "v1" if self.introduced else None
        self.play = Scene(
            authority,
            protocol=self.protocol,
            downstream=bool(self.down),
            upstream=bool(self.up),
            tls={"handshake_timeout": 500.0},
            listener={"header_timeout": 500.0, "body_timeout": 500.0, **listener},
            cluster={"connect_timeout": 500.0, "shared_connections": 1, "proxy_protocol": version},
        )
        self.world = self.play.world
        self.sockets: list[Socket] = []
        self.servers: list[Side] = []
        self.clients = [self._client() for _ in range(clients)]
        self.broken = False
        """Somebody did what ends a connection at once."""

    def _wire(self, socket: Socket) -> Wire:
        self.sockets.append(socket)
        return Wire(socket, self.random)

    def _client(self) -> Side:
        wire = self._wire(self.play.socket())
        if self.introduces:
            wire.send(b"PROXY TCP4 192.0.2.7 198.51.100.7 5000 443\r\n")
        end: FarEnd = Plain(wire)
        if self.down and self.random.random() < 0.5:
            end = updating_client(wire, self.play.authority, self.random.choice(SUITES[self.down]))
        elif self.down:
            end = OnWire(wire, client_context(self.play.authority.file, self.down), server=False)
        return Side(wire, end)

    def _server(self, socket: Socket) -> Side:
        wire, pair = self._wire(socket), self._pair
        wire.skips_line = self.introduced
        end: FarEnd = Plain(wire)
        if self.up and self.random.random() < 0.5:
            end = updating_server(wire, pair, self.random.choice(SUITES[self.up]))
        elif self.up:
            end = OnWire(wire, server_context(pair, self.up), server=True)
        return Side(wire, end)

    @property
    def _pair(self) -> Pair:
        return self.play.pair

    def sides(self) -> list[Side]:
        """All that may still do something."""
        return self.clients + [one for one in self.servers if not one.wire.socket.closed]

    def ending(self) -> list[Side]:
        """All that may end on their own account."""
        return self.clients

    # ---- what they say ----

    def ask(self, client: Side) -> None:
        """A client says something."""
        raise NotImplementedError

    def answer(self, server: Side) -> None:
        """An endpoint says something."""
        raise NotImplementedError

    def check(self) -> None:
        """Everything that was said was heard, as far as nothing is broken."""
        raise NotImplementedError

    # ---- what happens ----

    def accept(self) -> None:
        """Dials succeed."""
        while self.world.dials:
            self.dialled(self.world.dialled())

    def dialled(self, socket: Socket) -> None:
        """One of them does."""
        self.servers.append(self._server(socket))
        socket.accept()

    def go_on(self, side: Side) -> None:
        """The handshake, or what is said."""
        if not side.done:
            side.done = side.end.step()
        elif side in self.servers:
            self.answer(side)
        elif not side.closing:
            self.ask(side)

    def pull(self, side: Side) -> None:
        side.pull()

    def release(self, side: Side) -> None:
        """Something of what is on its way arrives."""
        side.wire.release(self.random.choice(SIZES))

    def update(self, side: Side) -> None:
        if isinstance(side.end, Updating) and side.end.updates:
            side.end.update(ask=self.random.random() < 0.5)

    def pause(self, side: Side) -> None:
        side.slow = True
        side.wire.socket.accept_bytes(self.random.choice((0, 1, 10, 100, 5000, 70_000)))

    def resume(self, side: Side) -> None:
        side.wire.socket.accept_bytes(None)

    def move(self, _side: Side) -> None:
        self.world.move()
        self.world.settle()

    def move_in_rounds(self, side: Side) -> None:
        """A handover that serves between its passes."""
        self.world.move(meanwhile=lambda: self.attempt(side, MEANWHILE))
        self.world.settle()

    def take_back(self, _side: Side) -> None:
        """A handover that fails in the freeze: the destination had everything, and it serves on."""
        source = self.world.proxy
        kernel = self.world._boot()
        destination = self.world._proxy(kernel)
        source.agree(dict.fromkeys(source.schemas(), 1), {"127.0.0.1:443"})
        destination.accept_descriptors(source.descriptors())
        source.sharing(True)
        self.world.copy(source, destination, kernel)
        source.freeze()
        for serial in [*destination.values()]:
            destination.forget(serial)
        source.thaw()
        source.sharing(False)
        self.world.settle()

    def wait(self, _side: Side) -> None:
        self.world.wait(self.random.choice((0.01, 0.05)))

    def goodbye(self, side: Side) -> None:
        side.goodbye()

    def cut_off(self, side: Side) -> None:
        """A FIN, perhaps without a goodbye; before the handshake is done it ends everything."""
        self.broken = self.broken or not side.done
        side.fin()

    def reset(self, side: Side) -> None:
        self.broken = True
        side.wire.socket.rst()

    def forge(self, side: Side) -> None:
        """A record that no key has sealed."""
        if not isinstance(side.end, Plain) and not side.closing:
            self.broken = True
            side.wire.send(b"\x17\x03\x03\x00\x28" + self.random.randbytes(40))

    def damage(self, side: Side) -> None:
        """What it sends next is not what arrives, in the handshake as well."""
        if not isinstance(side.end, Plain):
            self.broken = True
            side.wire.damages = True

    # ---- the whole of it ----

    def attempt(self, side: Side, ways: tuple[str, ...]) -> None:
        """One of these."""
        try:
            getattr(self, self.random.choice(ways))(side)
        except BROKEN:
            assert self.broken, "nobody did anything to it"

    def run(self, steps: int, endings: tuple[str, ...]) -> None:
        """Whatever comes, then the rest of what was begun, then the end."""
        self.go(steps, endings)
        self.calm_down()
        self.check()
        self.end()
        self.check_nothing_is_left()

    def go(self, steps: int, endings: tuple[str, ...], ways: tuple[str, ...] = WAYS) -> None:
        """Whatever comes."""
        for _ in range(steps):
            self.accept()
            if self.random.random() < 0.95:
                self.attempt(self.random.choice(self.sides()), ways)
            else:
                self.attempt(self.random.choice(self.ending()), endings)

    def drain(self) -> None:
        """The proxy ends, in the middle of it all."""
        self.broken = True
        self.world.proxy.drain(self.world.kernel.clock() + 1000.0)
        self.go(10, GENTLE, STAYING)
        self.calm_down()
        self.check()
        self.world.wait(1001.0)

    def lose_everything(self) -> None:
        """A destination dies that has everything but the handshakes."""
        self.broken = True
        source = self.world.proxy
        source.agree(dict.fromkeys(source.schemas(), 1), {"127.0.0.1:443"})
        for fd in source.descriptors().values():
            os.close(fd)
        source.sharing(True)
        source.freeze()
        source.retire({*source.staying(), *source.stragglers()}, {})
        self.go(10, GENTLE, STAYING)
        source.abandon()
        self.go(10, GENTLE)
        self.calm_down()
        self.check()
        for side in (*self.clients, *self.servers):
            side.wire.socket.rst()
        self.calm_down()

    def calm_down(self) -> None:
        """Let everything arrive that is under way, and be answered."""
        idle = 0
        while idle < 6:
            before = self._progress()
            self.accept()
            for side in (*self.clients, *self.servers):
                try:
                    side.wire.socket.accept_bytes(None)
                    side.wire.release(1 << 30)
                    if not side.done and not side.said_fin:
                        side.done = side.end.step()
                    side.pull()
                    if side.done and side in self.servers:
                        self.finish(side)
                except BROKEN:
                    assert self.broken, "nobody did anything to it"
            self.world.wait(0.05)
            idle = 0 if self._progress() != before else idle + 1

    def finish(self, server: Side) -> None:
        """Say what it owes."""

    def _progress(self) -> tuple[object, ...]:
        return tuple(
            (side.done, len(side.end.plain), side.end.ended, side.wire.socket.ended)
            for side in (*self.clients, *self.servers)
        )

    def end(self) -> None:
        """All say goodbye."""
        for side in self.clients:
            self._end(side)
        for _ in range(2):  # an endpoint may be another one by then
            for side in [*self.servers]:
                self._end(side)
        self.check()

    def check_nothing_is_left(self) -> None:
        """Of any of them, anywhere."""
        self.world.wait(0.1)
        assert all(socket.ended or socket.reset for socket in self.sockets)
        assert len(self.world.proxy.values()) == 0
        assert all(socket.closed for socket in self.sockets), "some process holds on to a descriptor"
        assert self.world.retired == []
        assert not self.world.proxy.stragglers()
        assert [one.connections for one in self.world.proxy.listeners.values()] == [0]
        assert [one.in_flight for one in self.world.proxy.clusters.values()] == [0, 0]
        assert [one.connections for one in self.world.proxy.clusters.values()] == [0, 0]

    def _end(self, side: Side) -> None:
        try:
            side.goodbye()
        except BROKEN:
            assert self.broken, "nobody did anything to it"
        side.fin()
        self.calm_down()
