"""Handshakes under way, and clients that have not said yet what they speak, at the moment of an upgrade."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Config, finish_upgrade
from tests.kit.stage import Edge, Stage
from tests.kit.tls import NEWEST_FIRST, VERSIONS, TlsClient, Version, client_context, server_context
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually, ever_longer, readable

GREETING = b"220 the server speaks first\r\n"


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, authority: Authority, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams, authority=authority)


@pytest.fixture(params=NEWEST_FIRST)
def version(request: pytest.FixtureRequest) -> Version:
    chosen: Version = request.param
    return chosen


class Beginner:
    """A client in the middle of its handshake: `done` flights are sent, and `part` of the next one."""

    def __init__(self, edge: Edge, authority: Authority, version: Version, done: int, part: float) -> None:
        before = edge.instance.status().connections
        self.client = TlsClient(edge.web, client_context(authority.file, version), shake_hands=False)
        for number in range(done):
            self.client.send_raw(self.client.flight())
            if number + 1 < done or not part:
                self.hear()
        if done and part:
            self.hear()
        self.rest = b""
        if part:
            flight = self.client.flight()
            cut = int(len(flight) * part)
            self.client.send_raw(flight[:cut])
            self.rest = flight[cut:]
        eventually(lambda: edge.instance.status().connections > before, within=PATIENCE, what="it is accepted")

    def hear(self) -> None:
        """A whole flight: whatever comes until the handshake can go on."""
        self.client.hear()

    def finish(self) -> None:
        """The rest of the handshake, and a request."""
        self.client.send_raw(self.rest)
        if not self.client.established:
            self.client.shake_hands()
        assert self.client.ask("/bytes?n=10").status == 200


# Flights that were sent before the upgrade, and the part of the next one.
STAGES = {"half a hello": (0, 0.5), "half of the end": (1, 0.5), "nothing": (0, 0.0), "a hello": (1, 0.0)}


def owner_changes(edge: Edge, source: int) -> None:
    def changed() -> bool:
        status = edge.instance.try_status()
        return status is not None and status.pid != source and status.state == "serving"

    eventually(changed, within=PATIENCE, what="the next generation owns")


@pytest.mark.parametrize(
    "stages",
    [pytest.param(stages, id=name, marks=() if "half" in name else pytest.mark.all) for name, stages in STAGES.items()],
)
def test_a_handshake_is_finished_by_the_source_and_follows(
    edge: Edge, authority: Authority, version: Version, stages: tuple[int, float]
) -> None:
    """The next generation serves the connection then, and moves it on like any other."""
    source = edge.instance.status().pid
    beginner = Beginner(edge, authority, version, *stages)
    with beginner.client:
        attempt = edge.instance.start_upgrade()
        owner_changes(edge, source)
        beginner.finish()
        done = finish_upgrade(attempt)
        assert done.exit_code == 0, done.text
        assert edge.stage.offspring.status(source, within=PATIENCE) == 0
        assert beginner.client.ask("/bytes?n=10").status == 200
        assert [one["tls"]["version"] for one in edge.instance.connections() if "listener" in one] == [version]
        assert edge.instance.upgrade("--require-all").exit_code == 0
        assert beginner.client.ask("/bytes?n=10").status == 200


def test_a_request_in_the_packet_that_ends_the_handshake_is_served(edge: Edge, authority: Authority) -> None:
    """The source opens it with the keys that it has just got, or leaves it to the next generation; once, either way."""
    source = edge.instance.status().pid
    beginner = Beginner(edge, authority, "1.3", 1, 0.0)
    with beginner.client as client:
        attempt = edge.instance.start_upgrade()
        owner_changes(edge, source)
        last = client.flight()
        request = client.seal(b"GET /bytes?n=77 HTTP/1.1\r\nhost: edge.test\r\n\r\n")
        client.send_raw(last + request[:20])
        assert finish_upgrade(attempt).exit_code == 0
        client.send_raw(request[20:] + client.seal(b"GET /bytes?n=78 HTTP/1.1\r\nhost: edge.test\r\n\r\n"))
        assert [len(client.response().body) for _ in range(2)] == [77, 78]


def test_many_handshakes_at_once_follow(edge: Edge, authority: Authority) -> None:
    """Of both versions and at every stage; others are there already, and new ones come meanwhile."""
    source = edge.instance.status().pid
    with ExitStack() as exits:
        served = [TlsClient(edge.web, client_context(authority.file, version)) for version in VERSIONS * 3]
        for client in served:
            exits.enter_context(client)
        beginners = [
            Beginner(edge, authority, version, *stages)
            for version in VERSIONS
            for stages in STAGES.values()
            for _ in range(3)
        ]
        for beginner in beginners:
            exits.enter_context(beginner.client)
        attempt = edge.instance.start_upgrade()
        owner_changes(edge, source)
        contexts = [client_context(authority.file, version) for version in VERSIONS]
        served += [exits.enter_context(TlsClient(edge.web, context)) for context in contexts]
        for client in served:
            assert client.ask("/bytes?n=10").status == 200
        for beginner in beginners:
            beginner.finish()
        assert finish_upgrade(attempt).exit_code == 0
        assert edge.stage.offspring.status(source, within=PATIENCE) == 0
        assert edge.instance.upgrade("--require-all").exit_code == 0
        for client in [*served, *(one.client for one in beginners)]:
            assert client.ask("/bytes?n=10").status == 200


def test_a_handshake_outlasts_two_upgrades(edge: Edge, authority: Authority, version: Version) -> None:
    """Its first generation finishes it, and it follows to the newest."""
    first = edge.instance.status().pid
    beginner = Beginner(edge, authority, version, 1, 0.0)
    with beginner.client:
        attempts = [edge.instance.start_upgrade()]
        owner_changes(edge, first)
        second = edge.instance.status().pid
        attempts.append(edge.instance.start_upgrade())
        beginner.finish()
        for attempt in attempts:
            assert finish_upgrade(attempt).exit_code == 0
        for pid in (first, second):
            assert edge.stage.offspring.status(pid, within=PATIENCE) == 0
        assert beginner.client.ask("/bytes?n=10").status == 200
        assert edge.instance.status().generation == 3


@pytest.mark.all
def test_a_handshake_that_is_never_finished_holds_nobody_for_longer_than_its_timeout(
    stage: Stage, authority: Authority, upstreams: Upstreams
) -> None:
    edge = Edge(stage, upstreams, authority=authority)
    edge.instance.config["listeners"][0]["tls"]["handshake_timeout"] = "2s"
    edge.instance.write_config()
    edge.instance.start()
    source = edge.instance.status().pid
    beginner = Beginner(edge, authority, "1.3", 0, 0.5)
    with beginner.client as client, TlsClient(edge.web, client_context(authority.file, "1.3")) as other:
        assert edge.instance.upgrade().exit_code == 0
        assert other.ask("/bytes?n=10").status == 200
        assert client.hear() == b""
        assert stage.offspring.status(source, within=PATIENCE) == 0


def test_an_attempt_that_fails_leaves_handshakes_where_they_are(
    edge: Edge, authority: Authority, version: Version
) -> None:
    source = edge.instance.status().pid
    beginner = Beginner(edge, authority, version, 1, 0.5)
    with beginner.client:
        edge.instance.arm("destination.send_prepared.before:raise")
        assert edge.instance.upgrade().exit_code != 0
        edge.instance.disarm()
        assert edge.instance.status().pid == source
        beginner.finish()
        assert edge.instance.upgrade("--require-all").exit_code == 0
        assert beginner.client.ask("/bytes?n=10").status == 200


def test_a_handshake_with_an_endpoint_is_begun_anew(stage: Stage, authority: Authority, version: Version) -> None:
    """Nothing was sent yet, so nothing is lost: the endpoint sees one connection end and another come."""
    context = server_context(*authority.issue("behind"), version)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        clusters: list[Config] = [{"name": name, "endpoints": [address]} for name in ("app", "db")]
        clusters[0] |= {"connect_timeout": "15s", "tls": {"ca": str(authority.file)}}
        edge = stage.edge(stage.upstreams(), clusters=clusters)
        with Client(edge.web) as client, ExitStack() as exits:
            client.get("/slow")
            first = exits.enter_context(server.accept()[0])
            assert edge.instance.upgrade("--require-all").exit_code == 0
            second = exits.enter_context(server.accept()[0])
            behind = exits.enter_context(context.wrap_socket(second, server_side=True))
            behind.settimeout(PATIENCE)
            for target, body in ((b"/slow", b"late"), (b"/again", b"soon")):
                assert behind.recv(10_000).startswith(b"GET " + target)
                behind.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + body)
                assert client.response().body == body
                if target == b"/slow":
                    client.get("/again")
            first.settimeout(PATIENCE)
            while first.recv(10_000):
                pass


# -- both on one port ---------------------------------------------------------------------------------


@pytest.fixture
def permissive(stage: Stage, authority: Authority, upstreams: Upstreams) -> Edge:
    """Listeners that take plaintext, too; `raw` for servers that speak first."""
    edge = Edge(stage, upstreams, authority=authority)
    web, raw = edge.instance.config["listeners"]
    web["tls_mode"] = raw["tls_mode"] = "permissive"
    raw["first_bytes_timeout"] = "3s"
    edge.instance.write_config()
    edge.instance.start()
    return edge


def accepted(edge: Edge, count: int) -> None:
    eventually(lambda: edge.instance.status().connections >= count, within=PATIENCE, what="they are accepted")


def test_a_client_that_said_nothing_yet_moves_and_may_speak_either(permissive: Edge, authority: Authority) -> None:
    with Client(permissive.web) as plain, ExitStack() as exits:
        later = [
            exits.enter_context(TlsClient(permissive.web, client_context(authority.file, one), shake_hands=False))
            for one in VERSIONS
        ]
        accepted(permissive, 3)
        for _ in range(2):
            assert permissive.instance.upgrade("--require-all").exit_code == 0
        assert plain.ask("/bytes?n=10").status == 200
        for client in later:
            client.shake_hands()
            assert client.ask("/bytes?n=10").status == 200
        assert permissive.instance.upgrade("--require-all").exit_code == 0
        assert [one.ask("/bytes?n=10").status for one in (plain, *later)] == [200, 200, 200]


@pytest.mark.parametrize("cut", [2, pytest.param(1, marks=pytest.mark.all), pytest.param(4, marks=pytest.mark.all)])
def test_a_client_that_said_too_little_moves_and_is_understood(
    permissive: Edge, authority: Authority, cut: int
) -> None:
    request = b"GET /bytes?n=10 HTTP/1.1\r\nhost: edge.test\r\n\r\n"
    context = client_context(authority.file, "1.3")
    with Client(permissive.web) as plain, TlsClient(permissive.web, context, shake_hands=False) as client:
        hello = client.flight()
        plain.send(request[:cut])
        client.send_raw(hello[:cut])
        accepted(permissive, 2)
        source = permissive.instance.status().pid
        attempt = permissive.instance.start_upgrade()
        owner_changes(permissive, source)
        plain.send(request[cut:])
        assert len(plain.response().body) == 10
        client.send_raw(hello[cut:])
        client.hear()
        client.shake_hands()
        assert client.ask("/bytes?n=10").status == 200
        assert finish_upgrade(attempt).exit_code == 0


def test_a_server_may_speak_first_to_a_client_that_waits(stage: Stage, authority: Authority) -> None:
    """Who says nothing for the first_bytes_timeout is no TLS client; the time goes on in the next generation."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        edge = Edge(stage, stage.upstreams(), clusters=[{"name": "app", "endpoints": [address]}], authority=authority)
        del edge.instance.config["listeners"][0]
        edge.instance.config["listeners"][0].update(cluster="app", tls_mode="permissive", first_bytes_timeout="1s")
        edge.instance.write_config()
        edge.instance.start()
        for timeout in ever_longer(3.0):
            edge.instance.config["listeners"][0]["first_bytes_timeout"] = f"{timeout:g}s"
            edge.instance.write_config()
            assert edge.instance.hotswap("reload", "edge").returncode == 0
            began = time.monotonic()
            with Client(edge.raw) as client:
                accepted(edge, 1)
                assert edge.instance.upgrade("--require-all").exit_code == 0
                waits = not readable(server.fileno(), within=0)
                with server.accept()[0] as behind:
                    assert time.monotonic() - began > 0.9 * timeout
                    behind.sendall(GREETING)
                    assert client.take(len(GREETING)) == GREETING
                    assert edge.instance.upgrade("--require-all").exit_code == 0
                    client.send(b"EHLO\r\n")
                    behind.settimeout(PATIENCE)
                    assert behind.recv(100) == b"EHLO\r\n"
            if waits:  # else it was the former generation whose time was over
                return


@pytest.mark.all
@pytest.mark.parametrize("mode", ["required", "permissive"])
def test_a_proxy_protocol_header_and_the_handshake_behind_it_are_cut_anywhere(
    stage: Stage, authority: Authority, upstreams: Upstreams, mode: str
) -> None:
    edge = Edge(stage, upstreams, authority=authority)
    edge.instance.config["listeners"][0] |= {"proxy_protocol": {"trusted": ["127.0.0.1"]}, "tls_mode": mode}
    edge.instance.write_config()
    source = edge.instance.start()
    header = b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 443\r\n"
    with ExitStack() as exits:
        context = client_context(authority.file, "1.3")
        cuts = (0, 1, 20, len(header), len(header) + 1, len(header) + 3, 200)
        clients = [exits.enter_context(TlsClient(edge.web, context, shake_hands=False)) for _ in cuts]
        sent = [header + client.flight() for client in clients]
        for client, data, cut in zip(clients, sent, cuts, strict=True):
            client.send_raw(data[:cut])
        accepted(edge, len(cuts))
        attempt = edge.instance.start_upgrade()
        owner_changes(edge, source)
        for client, data, cut in zip(clients, sent, cuts, strict=True):
            client.send_raw(data[cut:])
            client.hear()
            client.shake_hands()
            assert b"203.0.113.9" in client.ask("/headers").body
        assert finish_upgrade(attempt).exit_code == 0
        assert edge.instance.upgrade("--require-all").exit_code == 0
        assert all(b"203.0.113.9" in client.ask("/headers").body for client in clients)


# -- passing through ----------------------------------------------------------------------------------


def test_tls_that_is_passed_through_by_its_host_name_moves(stage: Stage, authority: Authority) -> None:
    """Undecided with half a ClientHello, and as a connection; the certificate tells who answered."""
    pairs = {name: authority.issue(name, f"DNS:{name}.test") for name in ("one", "two", "rest")}
    with ExitStack() as exits:
        behind = {
            name: exits.enter_context(Upstreams(("http", "127.0.0.1:0"), tls=pair)) for name, pair in pairs.items()
        }
        address = loopback()
        config: Config = {
            "name": "edge",
            "listeners": [
                {
                    "name": "pass",
                    "address": address,
                    "protocol": "tcp",
                    "routes": [
                        {"match": {"sni": "one.test"}, "cluster": "one"},
                        {"match": {"sni": "*.two.test"}, "cluster": "two"},
                        {"match": {"sni": "two.test"}, "cluster": "two"},
                        {"cluster": "rest"},
                    ],
                }
            ],
            "clusters": [{"name": name, "endpoints": one.addresses} for name, one in behind.items()],
        }
        instance = stage.instance(config)
        instance.start()
        clients = []
        for name in pairs:
            for version in VERSIONS:
                context = client_context(authority.file, version)
                clients.append(exits.enter_context(TlsClient(address, context, f"{name}.test", shake_hands=False)))
        flights = [client.flight() for client in clients]
        for client, flight in zip(clients, flights, strict=True):
            client.send_raw(flight[:70])
        eventually(lambda: instance.status().connections >= len(clients), within=PATIENCE, what="they are accepted")
        assert instance.upgrade("--require-all").exit_code == 0
        for client, flight in zip(clients, flights, strict=True):
            client.send_raw(flight[70:])
            client.hear()
            client.shake_hands()
        assert instance.upgrade("--require-all").exit_code == 0
        for client in clients:
            assert client.ask("/bytes?n=10").status == 200
        assert [one.record().versions for one in behind.values()] == [{"TLSv1.2": 1, "TLSv1.3": 1}] * 3
        with pytest.raises(ssl.SSLCertVerificationError):  # the rest takes it, and has no such name
            TlsClient(address, client_context(authority.file, "1.3"), "unknown.test")
