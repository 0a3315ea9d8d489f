"""Network filters: what happens to a connection before its protocol begins, and to the bytes of a tcp relay."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.loader import loads
from proxy.connection import HIGH
from proxy.filters import Abort, Client, Delay, Filter
from proxy.filters.registry import FILTERS
from tests.proxy.filters.test_reload import reload
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\n\r\n"

Build = Callable[..., World]


def text(filters: str, protocol: str = "tcp", more: str = "") -> str:
    filters = f", filters: [{filters}]" if filters else ""
    return f"""\
name: edge
listeners:
  - {{name: db, address: 127.0.0.1:80, protocol: {protocol}, cluster: app{filters}{more}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000], connect_timeout: 1s, idle_timeout: 60s}}
"""


@pytest.fixture
def proxy(moving: bool) -> Build:
    return lambda *args, **more: World(loads(text(*args, **more)).config, moving=moving)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Filter]], None]:
    return lambda kind: monkeypatch.setitem(FILTERS, "mine", kind)


def relay(world: World) -> tuple[Socket, Socket]:
    client = world.connect("db")
    server = world.dialled()
    server.accept()
    return client, server


class Lines(Filter):
    """Whole lines only, each with its number; what is no line comes with the FIN, and ``quit`` ends it."""

    def received(self, data: bytes, client: Client, now: float) -> bytes | Abort | None:
        if not data:
            return bytes(client.notes.get("rest", b""))
        *lines, client.notes["rest"] = (client.notes.get("rest", b"") + data).split(b"\n")
        if b"quit" in lines:
            return Abort()
        first = client.notes.get("lines", 0) + 1
        client.notes["lines"] = first + len(lines) - 1
        return b"".join(b"%d %b\n" % (number, line) for number, line in enumerate(lines, first))

    def sent(self, data: bytes, client: Client, now: float) -> bytes | Abort | None:
        return data.upper() if data else b"after %d lines" % client.notes.get("lines", 0)


# -- on accepting ---------------------------------------------------------------------------------------


def test_fault_delays_connections_before_an_upstream_is_dialled(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    client = world.connect("db")
    client.send(b"early")
    world.wait(1.9)
    assert world.dials == []
    assert [one["state"] for one in world.proxy.connections()] == ["delayed"]
    world.wait(0.2)
    server = world.dialled()
    server.accept()
    assert server.take() == b"early"
    assert world.proxy.listeners["db"].connections == 1


def test_connection_that_is_half_closed_while_delayed_is_served(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    client = world.connect("db")
    client.send(b"question")
    client.fin()
    world.wait(2.1)
    server = world.dialled()
    server.accept()
    assert server.take() == b"question"
    assert server.ended
    server.send(b"answer")
    server.fin()
    assert client.take() == b"answer"
    assert client.ended


def test_connection_that_is_reset_while_delayed_is_gone(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    world.connect("db").rst()
    world.wait(3)
    assert world.dials == []
    assert world.proxy.connections() == []
    assert world.proxy.listeners["db"].connections == 0


def test_fault_resets_its_share_of_connections_across_generations(proxy: Build) -> None:
    world = proxy("{name: fault, config: {abort_percent: 25}}")
    assert [number for number in range(1, 13) if world.connect("db").reset] == [4, 8, 12]
    assert len(world.dials) == 9


def test_delays_on_accepting_follow_each_other_and_the_filters_behind_decide_afterwards(proxy: Build) -> None:
    delay = "{name: fault, config: {delay: 1}}"
    deny = "{name: rbac, config: {rules: [{action: deny, source: [192.0.2.66/32]}], otherwise: allow}}"
    world = proxy(f"{delay}, {deny}, {delay}")
    denied, client = world.connect("db", "192.0.2.66"), world.connect("db")
    world.wait(0.9)
    assert not denied.reset
    world.wait(0.2)
    assert denied.reset
    assert not client.reset
    assert world.dials == []
    world.wait(1.0)
    assert len(world.dials) == 1


@pytest.mark.parametrize("protocol", ["http1", "bolt"])
def test_any_protocol_can_be_delayed_on_accepting(proxy: Build, installed: Any, protocol: str) -> None:
    class Slow(Filter):
        def accepted(self, client: Client, now: float) -> Delay:
            return Delay(2)

    installed(Slow)
    world = proxy("mine", protocol)
    client = world.connect("db")
    client.send(GET if protocol == "http1" else b"")
    world.wait(1.9)
    assert world.dials == []
    world.wait(0.2)
    assert [one["kind"] for one in world.proxy.connections() if "listener" in one] == [f"{protocol}.downstream"]
    if protocol == "bolt":
        return
    world.wait(0)  # now it is read
    server = world.dialled()
    server.accept()
    assert server.take().startswith(b"GET / ")


def test_delayed_connection_goes_on_when_its_filter_is_gone(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    world.connect("db")
    reload(world, text(""))
    assert world.dials == []
    world.wait(2.1)
    assert len(world.dials) == 1


# -- bytes ----------------------------------------------------------------------------------------------


def test_bytes_are_edited_both_ways_and_kept_bytes_come_with_the_fin(proxy: Build, installed: Any) -> None:
    installed(Lines)
    world = proxy("mine")
    client, server = relay(world)
    client.send(b"a\nb")
    client.send(b"c\n")
    client.send(b"rest")
    assert server.take() == b"1 a\n2 bc\n"
    server.send(b"thanks")
    assert client.take() == b"THANKS"
    client.fin()
    assert server.take() == b"rest"
    assert server.ended
    server.fin()
    assert client.take() == b"after 2 lines"
    assert client.ended
    assert world.proxy.connections() == []


def test_filters_are_passed_in_order_and_back_in_reverse(proxy: Build, installed: Any, monkeypatch: Any) -> None:
    class Prefix(Filter):
        def received(self, data: bytes, client: Client, now: float) -> bytes:
            return b"<" + data

        def sent(self, data: bytes, client: Client, now: float) -> bytes:
            return b"<" + data

    installed(Lines)
    monkeypatch.setitem(FILTERS, "prefix", Prefix)
    client, server = relay(proxy("mine, prefix"))
    client.send(b"a")
    assert server.take() == b""  # kept by the first, so the second has nothing to see
    client.send(b"\n")
    assert server.take() == b"<1 a\n"
    server.send(b"b")
    assert client.take() == b"<B"
    client.fin()
    assert server.take() == b"<"


def test_abort_ends_both_sides_and_has_a_line(proxy: Build, installed: Any) -> None:
    installed(Lines)
    world = proxy("mine", more=", access_log: {to: /log, template: '{received} {sent} {outcome}'}")
    client, server = relay(world)
    client.send(b"a\nquit\n")
    assert client.reset
    assert server.reset
    assert world.lines["/log"] == ["7 0 aborted"]
    assert world.proxy.connections() == []


@pytest.mark.parametrize("way", ["raises", "text", "notes"])
def test_filter_that_fails_costs_its_connection_and_no_other(
    proxy: Build, installed: Any, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    class Broken(Filter):
        def received(self, data: bytes, client: Client, now: float) -> Any:
            if b"bad" not in data:
                return None
            if way == "raises":
                raise KeyError("oops")
            if way == "notes":
                client.notes["set"] = {1, object()}
            return "text" if way == "text" else None

    installed(Broken)
    world = proxy("mine")
    other, behind_other = relay(world)
    client, server = relay(world)
    with caplog.at_level(logging.ERROR, "proxy"):
        client.send(b"bad")
    assert client.reset
    assert server.reset
    assert server.take() == b""
    assert "a filter failed" in caplog.text
    other.send(b"good")
    assert behind_other.take() == b"good"


def test_edited_bytes_are_under_back_pressure(proxy: Build, installed: Any) -> None:
    class Double(Filter):
        def received(self, data: bytes, client: Client, now: float) -> bytes:
            return data + data

    installed(Double)
    client, server = relay(proxy("mine"))
    server.accept_bytes(0)
    for _ in range(8):
        client.send(b"x" * (HIGH // 2))
    assert len(client.inbox) >= HIGH  # not read
    server.accept_bytes(None)
    assert len(server.take()) == 8 * HIGH
    assert client.inbox == b""


def test_notes_of_the_acceptance_are_there_with_the_bytes(proxy: Build, installed: Any) -> None:
    class Greeted(Filter):
        def accepted(self, client: Client, now: float) -> Delay:
            client.notes["from"] = client.host
            return Delay(1)

        def received(self, data: bytes, client: Client, now: float) -> bytes:
            return client.notes["from"].encode() + b": " + data if data else b""

    installed(Greeted)
    world = proxy("mine")
    client = world.connect("db")
    world.wait(1.1)
    server = world.dialled()
    server.accept()
    client.send(b"hello")
    assert server.take() == b"192.0.2.1: hello"


def test_filter_for_bytes_that_a_reload_adds_holds_for_new_connections(proxy: Build, installed: Any) -> None:
    installed(Lines)
    world = proxy("")
    client, server = relay(world)
    reload(world, text("mine"))
    client.send(b"a\n")
    assert server.take() == b"a\n"
    later, behind = relay(world)
    later.send(b"a\n")
    assert behind.take() == b"1 a\n"
    reload(world, text(""))
    later.send(b"b")
    assert behind.take() == b"b"


@settings(max_examples=40, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=12), max_size=12), moves=st.lists(st.booleans(), max_size=12))
def test_output_is_the_same_wherever_the_stream_is_cut_and_moved(pieces: list[bytes], moves: list[bool]) -> None:
    FILTERS["law"] = Lines
    try:
        world = World(loads(text("law")).config)
        client, server = relay(world)
        for number, piece in enumerate(pieces):
            client.send(piece.replace(b"quit", b"left"))
            if moves[number : number + 1] == [True]:
                world.move()
                world.tick()
        client.fin()
        whole = b"".join(piece.replace(b"quit", b"left") for piece in pieces)
        *lines, rest = whole.split(b"\n")
        if b"quit" not in lines:
            assert server.take() == b"".join(b"%d %b\n" % line for line in enumerate(lines, 1)) + rest
    finally:
        del FILTERS["law"]
