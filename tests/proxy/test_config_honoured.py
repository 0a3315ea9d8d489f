"""Every key of the configuration makes the difference that docs/config.md promises: playbooks from YAML to the wire."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from proxy.config.cluster_keys import CLUSTER, ENDPOINT
from proxy.config.keys import ROOT, UPGRADE
from proxy.config.listener_keys import LISTENER
from proxy.config.loader import loads
from proxy.config.route_keys import MATCH, ROUTE
from proxy.config.tls_keys import TLS_SECTIONS
from proxy.server import ProxyServer
from tests.proxy.honoured import GET, HONOURED, OK, ask, honours, status, text
from tests.proxy.simulation import World


@pytest.fixture
def proxy(moving: bool) -> Callable[..., World]:
    def build(listener: str = "", cluster: str = "", *, routes: str = "", endpoints: str = "127.0.0.1:9000") -> World:
        written = text(
            f", {listener}" if listener else "", f", {cluster}" if cluster else "", routes=routes, endpoints=endpoints
        )
        return World(loads(written).config, moving=moving)

    return build


Build = Callable[..., World]


# -- listeners ------------------------------------------------------------------------------------------


@honours("listener.name", "listener.address", "listener.backlog", "configuration.listeners")
def test_listeners_are_wanted_as_configured() -> None:
    web, raw = ProxyServer(loads(text(", backlog: 7")).config).wanted()
    assert (web.name, str(web.address), web.backlog) == ("web", "127.0.0.1:80", 7)
    assert (raw.name, str(raw.address), raw.backlog) == ("raw", "127.0.0.1:81", 4096)


@honours("listener.protocol", "listener.cluster", "configuration.clusters", "cluster.name")
def test_protocol_decides_what_is_spoken(proxy: Build) -> None:
    world = proxy()
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    client.send(b"\x00not http")
    assert server.take() == b"\x00not http"
    client = world.connect("web")
    client.send(b"\x00not http\r\n\r\n")
    assert status(client) == 400


@honours("listener.max_connections")
def test_max_connections_makes_more_wait(proxy: Build) -> None:
    world = proxy("max_connections: 1")
    first, _ = ask(world)
    second = world.connect("web")
    second.send(GET)
    assert world.dials == []
    first.rst()
    assert len(world.dials) == 1


@honours("listener.header_timeout")
def test_header_timeout_ends_a_slow_header_by_408(proxy: Build) -> None:
    world = proxy("header_timeout: 3s")
    client = world.connect("web")
    client.send(b"GET / HTTP/1.1\r\n")
    world.wait(2.9)
    assert not client.ended
    world.wait(0.2)
    assert status(client) == 408


@honours("listener.header_timeout")
def test_header_timeout_closes_a_connection_that_says_nothing(proxy: Build) -> None:
    world = proxy("header_timeout: 3s")
    client = world.connect("web")
    world.wait(3.1)
    assert client.closed
    assert client.take() == b""


@honours("listener.body_timeout")
def test_body_timeout_is_the_longest_silence_in_a_body(proxy: Build) -> None:
    world = proxy("body_timeout: 3s")
    client, _ = ask(world, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    for _ in range(3):
        world.wait(2.5)
        client.send(b"x")
    assert client.take() == b""
    world.wait(3.1)
    assert status(client) == 408


@honours("listener.keepalive_timeout")
def test_keepalive_timeout_of_a_listener_closes_an_idle_client(proxy: Build) -> None:
    world = proxy("keepalive_timeout: 3s", "keepalive_timeout: 1h")
    client, server = ask(world)
    server.send(OK)
    world.wait(2.9)
    assert not client.closed
    world.wait(0.2)
    assert client.closed


@honours("listener.max_header_bytes")
def test_max_header_bytes_is_the_limit_of_a_header(proxy: Build) -> None:
    world = proxy("max_header_bytes: 1KB")
    client = world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1024 + b"\r\n\r\n")
    assert status(client) == 431


@honours("listener.max_headers")
def test_max_headers_is_the_limit_of_header_fields(proxy: Build) -> None:
    world = proxy("max_headers: 3")
    ask(world, b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n")
    client = world.connect("web")
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nZ: 3\r\n\r\n")
    assert status(client) == 431


@pytest.mark.parametrize(
    "body", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n"]
)
@honours("listener.max_body")
def test_max_body_is_the_limit_of_a_body(proxy: Build, body: bytes) -> None:
    world = proxy("max_body: 10")
    client = world.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + body)
    for server in world.dials:
        server.accept()
    assert status(client) == 413


# -- routes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "taken", "left"),
    [
        ("host: a.example.com", b"/ a.example.com", b"/ b.example.com"),
        ("host: '*.example.com'", b"/ b.example.com", b"/ example.com"),
        ("path: /v1", b"/v1?x=1 a", b"/v1/x a"),
        ("prefix: /v1", b"/v1/x a", b"/v10 a"),
        ("headers: {X-V: beta}", b"/ a\r\nx-v: beta", b"/ a\r\nx-v: Beta"),
        ("host: a, prefix: /v1", b"/v1 a", b"/ a"),
    ],
)
@honours("listener.routes", "route.match", "route.cluster", "match.host", "match.path", "match.prefix", "match.headers")
def test_first_route_that_matches_decides(proxy: Build, match: str, taken: bytes, left: bytes) -> None:
    world = proxy(routes=f"{{match: {{{match}}}, cluster: one}}, {{cluster: two}}")
    for words, port in ((taken, 9000), (left, 9001)):
        target, _, host = words.partition(b" ")
        world.connect("web").send(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert str(world.dialled().address) == f"127.0.0.1:{port}"


def test_request_without_a_route_is_answered_by_404(proxy: Build) -> None:
    world = proxy(routes="{match: {path: /only}, cluster: one}")
    client = world.connect("web")
    client.send(GET)
    assert status(client) == 404


# -- clusters -------------------------------------------------------------------------------------------

THREE = "127.0.0.1:9000, 127.0.0.1:9001, 127.0.0.1:9002"


def ports(world: World, count: int) -> list[int]:
    """Where so many connections of the tcp listener go, none of which ends."""
    for _ in range(count):
        world.connect("raw")
    return [dial.address.port for dial in world.dials if dial.address is not None]


@honours("cluster.endpoints", "endpoint.address", "cluster.balance")
def test_round_robin_takes_the_endpoints_in_turn(proxy: Build) -> None:
    assert ports(proxy(endpoints=THREE), 6) == [9000, 9001, 9002] * 2


@honours("cluster.balance", "endpoint.weight")
def test_weighted_shares_by_weight(proxy: Build) -> None:
    endpoints = "{address: 127.0.0.1:9000, weight: 3}, 127.0.0.1:9001"
    went = ports(proxy("", "balance: weighted", endpoints=endpoints), 8)
    assert (went.count(9000), went.count(9001)) == (6, 2)


@honours("cluster.balance")
def test_least_request_takes_the_one_with_the_fewest(proxy: Build) -> None:
    world = proxy("", "balance: least_request", endpoints=THREE)
    clients = [world.connect("raw") for _ in range(3)]
    for dial in world.dials:
        dial.accept()
    clients[1].rst()
    world.connect("raw")
    assert str(world.dials[-1].address) == "127.0.0.1:9001"


@honours("cluster.connect_timeout")
def test_connect_timeout_leads_to_the_next_endpoint_then_to_504(proxy: Build) -> None:
    world = proxy("", "connect_timeout: 2s", endpoints="127.0.0.1:9000, 127.0.0.1:9001")
    client = world.connect("web")
    client.send(GET)
    world.wait(1.9)
    assert len(world.dials) == 1
    world.wait(0.2)
    assert len(world.dials) == 2
    world.wait(2.1)
    assert status(client) == 504


@honours("cluster.request_timeout")
def test_request_timeout_runs_from_the_complete_request_to_the_first_byte(proxy: Build) -> None:
    world = proxy("", "request_timeout: 2s")
    client, _ = ask(world, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    world.wait(5)
    client.send(b"xx")
    world.wait(1.9)
    assert client.take() == b""
    world.wait(0.2)
    assert status(client) == 504


def test_request_timeout_ends_with_the_first_byte_of_the_response(proxy: Build) -> None:
    world = proxy("", "request_timeout: 2s")
    client, server = ask(world)
    server.send(OK[:20])
    world.wait(5)
    server.send(OK[20:])
    assert status(client) == 200


@honours("cluster.idle_timeout")
def test_idle_timeout_is_the_longest_silence_of_both_sides(proxy: Build) -> None:
    world = proxy("", "idle_timeout: 2s")
    client = world.connect("raw")
    server = world.dialled()
    server.accept()
    for speaker in (client, server, client):
        world.wait(1.9)
        speaker.send(b"x")
    assert not client.ended
    world.wait(2.1)
    assert client.closed
    assert server.closed


@honours("cluster.idle_timeout")
def test_idle_timeout_ends_a_response_that_stands_still(proxy: Build) -> None:
    world = proxy("", "idle_timeout: 2s")
    client, server = ask(world)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    world.wait(1.9)
    assert not client.ended
    world.wait(0.2)
    assert client.ended
    assert server.closed


@pytest.mark.parametrize("listener", ["web", "raw"])
@honours("cluster.max_duration")
def test_max_duration_ends_what_is_not_silent(proxy: Build, listener: str) -> None:
    world = proxy("", "max_duration: 5s")
    client = world.connect(listener)
    client.send(GET)
    server = world.dialled()
    server.accept()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(4):
        world.wait(1.2)
        server.send(b"x")
    assert not client.ended
    world.wait(0.3)
    assert client.ended


@pytest.mark.parametrize(("retries", "dials"), [(0, 0), (1, 1), (2, 2)])
@honours("cluster.retries")
def test_retries_is_how_often_a_lost_request_is_sent_again(proxy: Build, retries: int, dials: int) -> None:
    world = proxy("", f"retries: {retries}")
    client, server = ask(world)
    server.send(OK)
    assert status(client) == 200
    client.send(GET)
    server.fin()  # the kept-alive connection is closed in the very moment of its next use
    for _ in range(dials):
        again = world.dialled()
        again.accept()
        again.fin()
    assert world.dials == []
    assert status(client) == 502


@pytest.mark.parametrize(("max_idle", "dials"), [(0, 1), (1, 0)])
@honours("cluster.max_idle")
def test_max_idle_is_how_many_connections_wait_for_the_next_request(proxy: Build, max_idle: int, dials: int) -> None:
    world = proxy("", f"max_idle: {max_idle}")
    client, server = ask(world)
    server.send(OK)
    assert server.closed is (max_idle == 0)
    client.send(GET)
    assert len(world.dials) == dials


@honours("cluster.keepalive_timeout")
def test_keepalive_timeout_of_a_cluster_closes_an_idle_upstream(proxy: Build) -> None:
    world = proxy("keepalive_timeout: 1h", "keepalive_timeout: 3s")
    client, server = ask(world)
    server.send(OK)
    world.wait(2.9)
    assert not server.closed
    world.wait(0.2)
    assert server.closed
    assert not client.ended


# tests/proxy/bolt/test_config.py shows these.
HONOURED |= {"match.service", "listener.max_frame", "cluster.shared_connections", "cluster.heartbeat_interval"}


@honours("cluster.outlier")
def test_outlier_ejects_an_endpoint_that_fails(proxy: Build) -> None:
    """Its keys: tests/proxy/health/test_outlier.py."""
    world = proxy("", "outlier: {connect_failures: 1}, max_idle: 0", endpoints="127.0.0.1:9000, 127.0.0.1:9001")
    world.connect("raw")
    world.dialled().refuse()
    for _ in range(3):
        world.connect("raw")
    ports = [socket.address.port for socket in world.dials if socket.address is not None]
    assert ports == [9001] * 4


@honours("listener.filters")
def test_filters_decide_about_requests(proxy: Build) -> None:
    """Their own keys: tests/proxy/filters."""
    client = proxy("filters: [{name: fault, config: {abort_percent: 100}}]").connect("web")
    client.send(GET)
    assert status(client) == 503


@honours("listener.access_log")
def test_access_log_has_a_line_for_each_request(proxy: Build) -> None:
    """Its own keys: tests/proxy/accesslog."""
    world = proxy("access_log: {to: stdout, template: '{status}'}")
    _, server = ask(world)
    server.send(OK)
    assert world.lines == {"stdout": ["200"]}


@honours("cluster.health_check")
def test_health_check_asks_every_endpoint(proxy: Build) -> None:
    """Its keys: tests/proxy/health/test_checks.py."""
    world = proxy("", "health_check: {}", endpoints="127.0.0.1:9000, 127.0.0.1:9001")
    assert sorted(str(dial.address) for dial in world.dials) == ["127.0.0.1:9000", "127.0.0.1:9001"]


@honours("cluster.limits", "cluster.retry_budget")
def test_limits_refuse_what_exceeds_them(proxy: Build) -> None:
    """Their keys: tests/proxy/test_limits.py."""
    world = proxy("", "limits: {max_requests: 1}, retry_budget: {}")
    world.connect("web").send(GET)
    client = world.connect("web")
    client.send(GET)
    assert status(client) == 503


@honours("route.clusters", "route.subset", "endpoint.labels", "route.retries")
@honours("route.request_timeout", "route.idle_timeout", "route.filters", "route.name")
def test_routes_have_terms_of_their_own() -> None:
    """One by one: tests/proxy/test_split.py, tests/proxy/filters/test_routes.py."""
    terms = "name: orders, subset: {version: v2}, retries: 0, request_timeout: 1s, idle_timeout: 1s"
    config = loads(text().replace("cluster: app}", f"routes: [{{clusters: [{{name: app}}], {terms}}}]}}", 1)).config
    world = World(config)
    client = world.connect("web")
    client.send(GET)
    assert status(client) == 503
    assert world.proxy.families.requests.labels("web", "orders", "5xx").value == 1
    labelled = "{address: 127.0.0.1:9000, labels: {version: v2}}"
    world.move(msgspec.structs.replace(config, clusters=loads(text(endpoints=labelled)).config.clusters))
    client.send(GET)
    assert len(world.dials) == 1


def test_no_key_is_forgotten() -> None:
    of_the_process = {f"{section.title}.{key.name}" for section in (ROOT, UPGRADE) for key in section.keys}
    sections = (LISTENER, ROUTE, MATCH, CLUSTER, ENDPOINT, *TLS_SECTIONS)
    of_the_data_plane = {f"{section.title}.{key.name}" for section in sections for key in section.keys}
    assert of_the_data_plane <= HONOURED, "tests/proxy/cli/test_run.py shows those of the process"
    assert of_the_data_plane | of_the_process >= HONOURED
