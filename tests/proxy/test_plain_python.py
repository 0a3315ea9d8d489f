"""Protocols and filters in plain Python, under classes that are compiled: the reactor serves them like its own."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.closed` cannot change between two asserts on it)

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar, cast

import msgspec
import pytest

from hotswap.swappable import Schema
from proxy import protocols
from proxy.config.loader import loads
from proxy.config.model import Config
from proxy.connection import HIGH, Connection
from proxy.filters import Client, Filter
from proxy.filters.registry import FILTERS
from proxy.plane import Places, Plane
from proxy.protocols import Kind
from proxy.sides import Downstream
from proxy.state import Transport
from proxy.tcp import TcpDownstream, TcpUpstream
from proxy.timers import deadline, remaining
from tests.kit.companion import ROOT
from tests.proxy.relays import relay
from tests.proxy.simulation import World

TEXT = """\
name: edge
listeners:
  - {name: db, address: 127.0.0.1:80, protocol: tcp, cluster: app%s}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000], connect_timeout: 1s, idle_timeout: 60s}
"""
PATIENCE = 5.0  # seconds
UP_TO = 1000  # bytes of a line

Plugged = Callable[..., World]


def config(filters: str = "") -> Config:
    return loads(TEXT % filters).config


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, moving: bool) -> Plugged:
    """A world where the listener speaks a protocol of one's own."""

    def plug(downstream: type[Downstream], *others: type[Connection]) -> World:
        monkeypatch.setitem(protocols._classes, "tcp.downstream", downstream)
        for one in (downstream, *others):
            monkeypatch.setitem(protocols._classes, one.kind, one)
            monkeypatch.setitem(cast("dict[str, Kind]", protocols.KINDS), one.kind, Kind(__name__, one.__name__))
        return World(config(), moving=moving)

    return plug


# -- a codec ----------------------------------------------------------------------------------------------------------


class LinesState(msgspec.Struct, array_like=True):
    transport: Transport
    listener: str
    address: str
    remote: str
    rest: bytes
    count: int
    left: float | None


class Lines(Downstream):
    """Answers each line by its number and its text in capitals. One that is begun has to end within five seconds."""

    __slots__ = ("by", "count", "rest")

    kind: ClassVar[str] = "acme.lines"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.rest = b""
        self.count = 0
        self.by = inf

    def received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > UP_TO:
            self.reset()
            return
        for line in lines:
            self.count += 1
            self.send(b"%d %b\n" % (self.count, line.upper()))
        if self.clogged:
            self.pause()
        self.by = self.plane.now + PATIENCE if self.rest else inf
        self.wake(self.due())

    def drained(self) -> None:
        self.resume()

    def ended(self) -> None:
        self.send(b"after %d lines\n" % self.count)
        self.shut()

    def finished(self) -> None:
        self.close()

    def due(self) -> float:
        return self.by

    def expired(self, now: float) -> None:
        self.reset()

    def save(self, now: float) -> bytes:
        transport, listener = self.transport(now), self.listener
        left = remaining(self.by, now)
        state = LinesState(transport, listener.name, listener.address, self.remote, self.rest, self.count, left)
        return msgspec.msgpack.encode(state)

    def load(self, state: bytes, now: float, places: Places) -> None:
        saved = msgspec.msgpack.decode(state, type=LinesState)
        self.listener = places.listener(saved.listener, saved.address, "tcp")
        self.load_transport(saved.transport, now, places)
        self.remote, self.rest, self.count = saved.remote, saved.rest, saved.count
        self.by = deadline(saved.left, now)


def test_a_codec_is_called_keeps_its_fields_and_moves(plugged: Plugged) -> None:
    world = plugged(Lines)
    client = world.connect("db", "2001:db8::1")
    client.send(b"one\ntw")
    assert client.take() == b"1 ONE\n"
    client.send(b"o\n")
    assert client.take() == b"2 TWO\n"
    (shown,) = world.proxy.connections()
    assert (shown["kind"], shown["remote"], shown["state"]) == ("acme.lines", "2001:db8::1", "open")
    client.send(b"three")
    client.fin()
    assert client.take() == b"after 2 lines\n"
    assert client.closed
    assert world.proxy.listeners["db"].connections == 0


def test_deadlines_of_a_codec_are_kept(plugged: Plugged) -> None:
    world = plugged(Lines)
    idle, slow = world.connect("db"), world.connect("db")
    slow.send(b"begun")
    world.wait(PATIENCE - 0.1)
    assert not slow.reset
    world.wait(0.2)
    assert slow.reset
    assert not idle.closed


def test_back_pressure_reaches_a_codec(plugged: Plugged) -> None:
    world = plugged(Lines)
    client = world.connect("db")
    client.accept_bytes(0)
    line = b"x" * 900 + b"\n"
    sent = 2 * HIGH // len(line)
    for _ in range(sent):
        client.send(line)
    (value,) = world.proxy.values().values()
    assert (value.paused, value.clogged) == (True, True)
    client.accept_bytes(None)
    (value,) = world.proxy.values().values()
    assert (value.paused, value.clogged) == (False, False)
    assert client.take().count(b"\n") == sent


def test_a_codec_that_raises_costs_its_connection_only(plugged: Plugged, caplog: pytest.LogCaptureFixture) -> None:
    class Brittle(Lines):
        __slots__ = ()

        def received(self, data: bytes) -> None:
            super().received(b"%d\n" % (1 // (data != b"0")))

    world = plugged(Brittle)
    world.expected_bugs = 1
    victim, bystander = world.connect("db"), world.connect("db")
    victim.send(b"0")
    bystander.send(b"1")
    assert victim.reset
    assert bystander.take() == b"1 1\n"
    assert "ZeroDivisionError" in caplog.text


# -- both sides of a relay --------------------------------------------------------------------------------------------


class Counting(TcpUpstream):
    """Counts what endpoints say."""

    __slots__ = ("answers",)

    kind: ClassVar[str] = "acme.counting"

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.answers = 0

    def received(self, data: bytes) -> None:
        self.answers += 1
        super().received(b"%d:%b" % (self.answers, data))


class Counted(TcpDownstream):
    """Its client's side."""

    __slots__ = ()

    kind: ClassVar[str] = "acme.counted"

    def _other_side(self) -> TcpUpstream:
        return Counting(self.plane)


def test_both_sides_of_a_relay_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(protocols._classes, "tcp.downstream", Counted)
    world = World(config())
    client, server = relay(world)
    server.send(b"a")
    server.send(b"b")
    client.send(b"c")
    assert (client.take(), server.take()) == (b"1:a2:b", b"c")
    client.fin()
    server.fin()
    assert world.proxy.values() == {}


def test_the_example_of_the_page_works(plugged: Plugged) -> None:
    page = (ROOT / "docs" / "compiled.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    client, server = relay(plugged(names["Shouting"]))
    client.send(b"Hello")
    server.send(b"World")
    assert (server.take(), client.take()) == (b"HELLO", b"World")


# -- a filter ---------------------------------------------------------------------------------------------------------


class Rot13(Filter):
    """Looks at bytes both ways, and counts them for each client."""

    def received(self, data: bytes, client: Client, now: float) -> bytes | None:
        client.notes["seen"] = client.notes.get("seen", 0) + len(data)
        return bytes((byte - 84) % 26 + 97 if 97 <= byte <= 122 else byte for byte in data)

    def sent(self, data: bytes, client: Client, now: float) -> bytes | None:
        return data or b" after %d" % client.notes.get("seen", 0)


def test_a_filter_sees_bytes_on_the_compiled_relay(monkeypatch: pytest.MonkeyPatch, moving: bool) -> None:
    monkeypatch.setitem(FILTERS, "rot13", Rot13)
    world = World(config(", filters: [{name: rot13}]"), moving=moving)
    client, server = relay(world)
    client.send(b"hello")
    assert server.take() == b"uryyb"
    client.send(b"uryyb")
    assert server.take() == b"hello"
    server.send(b"bye")
    server.fin()
    assert client.take() == b"bye after 10"
