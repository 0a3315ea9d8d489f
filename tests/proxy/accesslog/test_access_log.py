"""One line for each request, written by whoever ends it: playbooks, straight and with a handover after every step."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.config.loader import loads
from proxy.config.model import Config
from tests.proxy.simulation import Socket, World

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\nUser-Agent: me\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOG = "/log"
TEMPLATE = "{method} {target} {status} {received} {sent} {duration} {endpoint} {outcome}"


def config(template: str = TEMPLATE, form: str = "text", tcp: str = "{client} {received} {sent} {outcome}") -> Config:
    return loads(
        f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, routes: [{{match: {{prefix: /}}, cluster: app}}],
     access_log: {{to: {LOG}, format: {form}, template: '{template}'}}}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app, access_log: {{to: {LOG}, template: '{tcp}'}}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000], request_timeout: 5s}}
"""
    ).config


@pytest.fixture
def world(moving: bool) -> World:
    return World(config(), moving=moving)


def ask(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    return client, server


def lines(world: World) -> list[str]:
    return world.lines[LOG]


def test_line_is_written_once_the_response_is_complete(world: World) -> None:
    client, server = ask(world)
    world.wait(0.5)
    server.send(OK[:-1])
    assert lines(world) == []
    world.wait(0.25)
    server.send(OK[-1:])
    assert lines(world) == ["GET /a?b=1 200 0 2 750.0 127.0.0.1:9000 ok"]
    client.send(GET)
    server.send(OK)
    assert len(lines(world)) == 2
    client.fin()
    assert len(lines(world)) == 2


def test_bodies_are_counted_as_they_came(world: World) -> None:
    _, server = ask(world, b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    server.take()
    world.wait(1)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    server.send(b"0\r\n\r\n")
    assert lines(world) == ["POST /x 200 8 12 1000.0 127.0.0.1:9000 ok"]


def test_request_that_the_proxy_answers_itself(world: World) -> None:
    _, server = ask(world)
    world.wait(5.1)
    assert lines(world) == ["GET /a?b=1 504 0 0 5100.0 127.0.0.1:9000 own"]
    assert server.closed


def test_request_that_cannot_be_read_has_a_line_too(world: World) -> None:
    client = world.connect("web")
    client.send(b"GARBAGE\r\n\r\n")
    assert lines(world) == ["- - 400 0 0 0.0 - own"]


def test_client_that_gives_up(world: World) -> None:
    client, _ = ask(world)
    client.rst()
    assert lines(world) == ["GET /a?b=1 - 0 0 0.0 127.0.0.1:9000 aborted"]


def test_client_that_ends_within_its_body(world: World) -> None:
    client, _ = ask(world, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    client.fin()
    assert lines(world) == ["POST /x - 3 0 0.0 127.0.0.1:9000 aborted"]


def test_response_that_is_cut_short(world: World) -> None:
    client, server = ask(world)
    server.send(OK[:-1])
    server.fin()
    assert lines(world) == ["GET /a?b=1 200 0 1 0.0 127.0.0.1:9000 cut"]
    client.fin()
    assert len(lines(world)) == 1


def test_idle_client_that_goes_has_no_line(world: World) -> None:
    world.connect("web").fin()
    assert lines(world) == []


def test_tunnel_has_one_line_at_its_end(world: World) -> None:
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    client, server = ask(world, upgrade)
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    client.send(b"hello")
    server.send(b"you")
    assert lines(world) == []
    client.fin()
    server.fin()
    assert lines(world) == ["GET /ws 101 5 3 0.0 127.0.0.1:9000 ok"]


def test_tcp_connection_has_one_line_at_its_end(world: World) -> None:
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"hello")
    server.send(b"you")
    client.fin()
    assert lines(world) == []
    server.fin()
    assert lines(world) == ["192.0.2.1 5 3 ok"]


@pytest.mark.parametrize("who", ["client", "server"])
def test_tcp_connection_that_is_reset(world: World, who: str) -> None:
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"hello")
    server.send(b"you")
    (client if who == "client" else server).rst()
    assert lines(world) == ["192.0.2.1 5 3 aborted"]


def test_tcp_connection_without_an_upstream(world: World) -> None:
    world.connect("raw")
    world.dialled().refuse()
    assert lines(world) == ["192.0.2.1 0 0 own"]


def test_drain_that_runs_out_leaves_no_request_without_a_line(world: World) -> None:
    ask(world)
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"hello")
    server.send(b"you")
    world.proxy.drain(world.kernel.clock() + 1)
    world.wait(1.1)
    world.wait(1.1)
    assert sorted(lines(world)) == ["192.0.2.1 5 3 aborted", "GET /a?b=1 - 0 0 1100.0 127.0.0.1:9000 aborted"]


def test_bug_in_a_layer_leaves_no_request_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(config())
    _, server = ask(world)
    world.expected_bugs = 1
    monkeypatch.setattr("proxy.http1.upstream.parse_response", None)
    server.send(OK)
    assert lines(world) == ["GET /a?b=1 - 0 0 0.0 127.0.0.1:9000 aborted"]


def test_json_has_types_and_header_fields(moving: bool) -> None:
    template = "{time} {listener} {client} {status} {duration} {request_id} {header.user-agent} {header.cookie}"
    world = World(config(template, "json"), moving=moving)
    _, server = ask(world)
    world.wait(0.5)
    server.send(OK)
    (line,) = lines(world)
    assert msgspec.json.decode(line) == {
        "time": "2027-01-15T12:00:00.000Z",
        "listener": "web",
        "client": "192.0.2.1",
        "status": 200,
        "duration": 500.0,
        "request_id": "7",
        "header.user-agent": "me",
        "header.cookie": None,
    }


def test_request_without_an_id_is_logged_with_the_one_it_was_given(moving: bool) -> None:
    world = World(config("{request_id}"), moving=moving)
    _, server = ask(world, GET.replace(b"X-Request-Id: 7\r\n", b""))
    sent = server.take().partition(b"X-Request-Id: ")[2][:32].decode()
    server.send(OK)
    assert lines(world) == [sent]


def test_what_a_client_sends_cannot_forge_a_line(moving: bool) -> None:
    world = World(config('"{header.user-agent}"'), moving=moving)
    _, server = ask(world, GET.replace(b"me", b'x" \\ \xff\t100%s'))
    server.send(OK)
    assert lines(world) == ['"x\\x22 \\x5C \\xFF\\x09100%s"']


def test_usual_templates_tell_everything(moving: bool) -> None:
    whole = loads(
        "name: edge\n"
        "listeners: [{name: web, address: 127.0.0.1:80, protocol: http1, cluster: app, access_log: stdout}]\n"
        "clusters: [{name: app, endpoints: [127.0.0.1:9000]}]\n"
    ).config
    world = World(whole, moving=moving)
    _, server = ask(world)
    server.send(OK)
    assert world.lines["stdout"] == [
        '2027-01-15T12:00:00.000Z web 192.0.2.1 "GET /a?b=1 HTTP/1.1" 200 0 2 0.0 app 127.0.0.1:9000 ok 7'
    ]


def test_nothing_is_kept_where_no_log_is_configured() -> None:
    whole = config()
    plain = [msgspec.structs.replace(one, access_log=None) for one in whole.listeners]
    world = World(msgspec.structs.replace(whole, listeners=tuple(plain)))
    client, _ = ask(world)
    downstream: Any = next(iter(world.proxy.values().values()))
    assert downstream.record is None
    client.rst()
    assert world.lines == {}
