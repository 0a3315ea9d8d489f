"""Filters in the life of connections and requests: playbooks, straight and with a handover after every step."""

# mypy: disable-error-code="unreachable"

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads
from proxy.filters import Abort, Answer, Client, Delay, Filter, Request, Response, Verdict
from proxy.filters.registry import FILTERS
from tests.proxy.simulation import Socket, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: 7\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Build = Callable[..., World]


@pytest.fixture
def proxy(moving: bool) -> Build:
    def build(filters: str, protocol: str = "http1", more: str = "") -> World:
        text = f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: {protocol}, cluster: app, filters: [{filters}]{more}}}
clusters:
  - {{name: app, endpoints: [127.0.0.1:9000]}}
"""
        return World(loads(text).config, moving=moving)

    return build


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Filter]], None]:
    return lambda kind: monkeypatch.setitem(FILTERS, "mine", kind)


def status(client: Socket) -> int:
    data = client.take()
    assert data.startswith(b"HTTP/1.1 "), data
    return int(data[9:12])


def ask(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    return client, server


def with_field(line: bytes) -> bytes:
    return GET[:-2] + line + b"\r\n\r\n"


# -- the verdicts ---------------------------------------------------------------------------------------


def test_answer_goes_to_no_upstream_and_the_connection_goes_on(proxy: Build, installed: Any) -> None:
    class Teapot(Filter):
        def request(self, request: Request, now: float) -> Verdict:
            return Answer(418, "short and stout", (("X-Pot", "tea"),)) if request.method == "POST" else None

    installed(Teapot)
    world = proxy("mine", more=", access_log: {to: /log, template: '{status} {outcome} {received}'}")
    client = world.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 418 ")
    assert b"\r\nX-Pot: tea\r\n" in answer
    assert answer.endswith(b"\r\n\r\nshort and stout")
    assert world.dials == []
    client.send(b"cd")
    client.send(GET)
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert status(client) == 200
    assert world.lines["/log"] == ["418 own 0", "200 ok 0"]


def test_delay_is_a_deadline_and_everything_waits_for_it(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    client = world.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    world.wait(1.9)
    client.send(b"cd")
    client.send(GET)
    assert world.dials == []
    assert world.proxy.in_flight() == 1
    world.wait(0.2)
    server = world.dialled()
    server.accept()
    assert server.take().endswith(b"\r\n\r\nabcd")
    server.send(OK)
    assert status(client) == 200
    world.wait(2.1)  # the second request is delayed as well
    assert server.take().startswith(b"GET / ")
    server.send(OK)
    assert status(client) == 200


def test_client_that_half_closes_while_delayed_gets_its_answer(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}")
    client = world.connect("web")
    client.send(GET)
    client.fin()
    world.wait(2.1)
    server = world.dialled()
    server.accept()
    server.send(OK)
    assert status(client) == 200
    assert client.ended


def test_client_that_leaves_while_delayed_has_its_line(proxy: Build) -> None:
    world = proxy("{name: fault, config: {delay: 2}}", more=", access_log: {to: /log, template: '{method} {outcome}'}")
    client = world.connect("web")
    client.send(GET)
    client.rst()
    world.wait(3)
    assert world.dials == []
    assert world.lines["/log"] == ["GET aborted"]


def test_delays_of_several_filters_follow_each_other(proxy: Build) -> None:
    delay = "{name: fault, config: {delay: 1}}"
    world = proxy(f"{delay}, {{name: headers, config: {{request: {{set: {{x-by: me}}}}}}}}, {delay}")
    client = world.connect("web")
    client.send(GET)
    world.wait(1.1)
    assert world.dials == []
    world.wait(1.1)
    server = world.dialled()
    server.accept()
    assert server.take().count(b"\r\nx-by: me\r\n") == 1


def test_abort_is_a_reset_and_has_a_line(proxy: Build) -> None:
    world = proxy(
        "{name: fault, config: {status: 0, abort_percent: 100}}",
        more=", access_log: {to: /log, template: '{method} {status} {outcome}'}",
    )
    client = world.connect("web")
    client.send(GET)
    assert client.reset
    assert world.dials == []
    assert world.lines["/log"] == ["GET - aborted"]


def test_heads_are_edited_both_ways_and_notes_reach_the_response(proxy: Build, installed: Any) -> None:
    class Timed(Filter):
        def request(self, request: Request, now: float) -> Verdict:
            request.notes["asked"] = request.target
            request.remove("x-request-id")
            return Delay(0.5) if request.get("x-slow") else None

        def response(self, response: Response, now: float) -> None:
            response.set("X-Asked", response.notes["asked"])
            response.remove("server")

    installed(Timed)
    world = proxy("mine")
    client = world.connect("web")
    client.send(with_field(b"X-Slow: yes"))
    world.wait(0.6)
    server = world.dialled()
    server.accept()
    assert b"X-Request-Id: 7\r\n" not in server.take()
    server.send(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok")
    answer = client.take()
    assert b"X-Asked: /\r\n" in answer
    assert b"Server" not in answer
    assert answer.endswith(b"ok")


# -- filters that fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["request", "response", "malformed"])
def test_filter_that_raises_costs_one_request_and_is_logged(
    proxy: Build, installed: Any, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    class Broken(Filter):
        def request(self, request: Request, now: float) -> Verdict:
            request.notes["bad"] = request.get("x-bad")
            if when == "malformed" and request.get("x-bad"):
                request.add("no name", "\0")
            return Delay(1 / 0) if when == "request" and request.get("x-bad") else None

        def response(self, response: Response, now: float) -> None:
            if when == "response" and response.notes["bad"]:
                raise KeyError("oops")

    installed(Broken)
    world = proxy("mine")
    other, behind_other = ask(world)
    client = world.connect("web")
    with caplog.at_level(logging.ERROR, "proxy"):
        client.send(with_field(b"X-Bad: yes"))
        if when == "response":
            server = world.dialled()
            server.accept()
            server.send(OK)
    assert status(client) == 500
    assert "a filter failed" in caplog.text
    behind_other.send(OK)
    assert status(other) == 200
    client.send(GET)
    assert b"GET / " in (behind_other.take() if not world.dials else b"GET / ")
    assert world.proxy.reactor.bugs == 0


def test_framing_is_not_for_filters(proxy: Build, installed: Any) -> None:
    class Smuggler(Filter):
        def request(self, request: Request, now: float) -> Verdict:
            request.set("Content-Length", "100")
            return None

    installed(Smuggler)
    client = proxy("mine").connect("web")
    client.send(GET)
    assert status(client) == 500


def test_line_ends_in_a_value_are_refused(proxy: Build, installed: Any) -> None:
    class Splitter(Filter):
        def request(self, request: Request, now: float) -> Verdict:
            request.set("X-A", "b\r\nTransfer-Encoding: chunked")
            return None

    installed(Splitter)
    client = proxy("mine").connect("web")
    client.send(GET)
    assert status(client) == 500


# -- on accepting ---------------------------------------------------------------------------------------


def test_connection_can_be_refused_before_a_byte_is_read(proxy: Build, installed: Any) -> None:
    class Picky(Filter):
        def accepted(self, client: Client, now: float) -> Abort | None:
            assert client.protocol == "tcp"
            return Abort() if client.host == "192.0.2.66" else None

    installed(Picky)
    world = proxy("mine", "tcp")
    refused = world.connect("web", "192.0.2.66")
    assert refused.reset
    assert world.dials == []
    world.connect("web")
    assert len(world.dials) == 1


def test_filter_that_raises_on_accepting_costs_that_connection(proxy: Build, installed: Any) -> None:
    class Broken(Filter):
        def accepted(self, client: Client, now: float) -> Abort | None:
            raise KeyError(client.host)

    installed(Broken)
    world = proxy("mine", "tcp")
    assert world.connect("web").reset
    assert world.proxy.reactor.bugs == 0


# -- the built-in ones ----------------------------------------------------------------------------------


def test_fault_hits_exactly_its_share_across_generations(proxy: Build) -> None:
    world = proxy("{name: fault, config: {abort_percent: 25, headers: {x-test: fault}}}")
    statuses = []
    server = None
    for _ in range(20):
        client = world.connect("web")
        client.send(with_field(b"X-Test: fault"))
        if world.dials:
            server = world.dialled()
            server.accept()
        got = client.take()
        if not got and server is not None:
            server.send(OK)
            got = client.take()
        statuses.append(int(got[9:12]))
        client.fin()
    assert [number for number, code in enumerate(statuses, 1) if code == 503] == [4, 8, 12, 16, 20]
    client, server = ask(world) if not server else (world.connect("web"), server)
    client.send(GET)
    server.send(OK)
    assert status(client) == 200


RULES = (
    "{name: rbac, config: {rules: [{action: deny, source: [192.0.2.66/32]},"
    " {action: allow, source: ['192.0.2.0/24', '2001:db8::/32']}, {action: allow, headers: {x-key: secret}}]}}"
)


@pytest.mark.parametrize(
    ("host", "line", "allowed"),
    [
        ("192.0.2.1", b"X-A: b", True),
        ("192.0.2.66", b"X-Key: secret", False),
        ("198.51.100.1", b"X-A: b", False),
        ("198.51.100.1", b"X-Key: secret", True),
        ("2001:db8::7", b"X-A: b", True),
        ("unix", b"X-A: b", False),
    ],
)
def test_rbac_takes_the_first_rule_that_fits(proxy: Build, host: str, line: bytes, allowed: bool) -> None:
    world = proxy(RULES)
    client = world.connect("web", host)
    client.send(with_field(line))
    if allowed:
        assert len(world.dials) == 1
    else:
        assert status(client) == 403
        assert world.dials == []


def test_rbac_of_tcp_resets(proxy: Build) -> None:
    world = proxy(RULES, "tcp")
    assert world.connect("web", "192.0.2.66").reset
    world.connect("web", "192.0.2.1")
    assert len(world.dials) == 1


def test_rate_limit_fills_with_time_and_its_bucket_moves(proxy: Build) -> None:
    world = proxy("{name: rate_limit, config: {rate: 0.5, burst: 2}}")
    client, server = ask(world)
    server.send(OK)
    assert status(client) == 200
    client.send(GET)
    server.send(OK)
    assert status(client) == 200
    client.send(GET)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 2\r\n" in answer
    world.wait(2.1)
    client.send(GET)
    server.send(OK)
    assert status(client) == 200


def test_rate_limit_of_tcp_counts_connections(proxy: Build) -> None:
    world = proxy("{name: rate_limit, config: {rate: 1}}", "tcp")
    world.connect("web")
    assert world.connect("web").reset
    world.wait(1.1)
    world.connect("web")
    assert len(world.dials) == 2


def test_headers_are_removed_set_and_added(proxy: Build) -> None:
    edits = "{remove: [x-a], set: {x-b: two}, add: {x-c: three}}"
    world = proxy(f"{{name: headers, config: {{request: {edits}, response: {edits}}}}}")
    lines = b"X-A: 1\r\nX-B: 1\r\nX-C: 1"
    client, server = ask(world, with_field(lines))
    server.send(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nContent-Length: 2\r\n\r\nok")
    for head in (server.take(), client.take()):
        assert b"X-A" not in head
        assert b"X-B" not in head
        assert b"\r\nx-b: two\r\n" in head
        assert b"\r\nX-C: 1\r\n" in head
        assert b"\r\nx-c: three\r\n" in head


# -- the file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "protocol", "problem"),
    [
        ("rback", "http1", "there is no filter 'rback'; did you mean rbac?"),
        ("{name: rate_limit, config: {rate: fast}}", "http1", "rate_limit: Expected `float`, got `str`"),
        ("{name: rate_limit, config: {rate: 1, brust: 2}}", "http1", "unknown field `brust`"),
        ("{name: rate_limit, config: {rate: 0}}", "http1", "rate is above 0"),
        ("{name: headers, config: {request: {set: {content-length: '1'}}}}", "http1", "not for filters to change"),
        ("headers", "tcp", "headers looks at http1 or bolt or dubbo, not at tcp"),
        ("{name: rbac, config: {rules: [{action: deny, source: [nowhere]}]}}", "http1", "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(filters: str, protocol: str, problem: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        loads(
            "name: edge\n"
            f"listeners: [{{name: web, address: 127.0.0.1:80, protocol: {protocol}, cluster: app,\n"
            f"  filters: [{filters}]}}]\n"
            "clusters: [{name: app, endpoints: [127.0.0.1:9000]}]\n"
        )
    assert problem in str(caught.value)
