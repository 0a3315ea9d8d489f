"""TLS peers that nobody here wrote, on both sides of the proxy: one connection each, five upgrades, no other handshake.

Each is tried without a proxy in `tests/kit/test_tls_peers.py`.
"""

from __future__ import annotations

import os
import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.conversation import Conversation, turn_all
from tests.kit.networks import Network, command, needed
from tests.kit.ports import free_port, loopback
from tests.kit.processes import PATIENCE, Config, Instance, finish_upgrade
from tests.kit.programs import program
from tests.kit.stage import Edge, Stage
from tests.kit.tls import VERSIONS, TlsClient, Version, client_context
from tests.kit.tls_peers import (
    SUITES_12,
    SUITES_13,
    ForeignClient,
    GnutlsClient,
    GnutlsServer,
    NodeClient,
    NodeServer,
    OpensslClient,
    OpensslServer,
    nginx,
)
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

UPGRADES = 5


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def network() -> Iterator[Network]:
    needed()
    made = Network(f"hs{uuid.uuid4().hex[:8]}")
    yield made
    command("ip", "netns", "del", made.name)


def upgrade_while(instance: Instance, happens: Callable[[], object]) -> None:
    """One upgrade, and this again and again until it is done, but leaving it a processor."""
    attempt = instance.start_upgrade("--require-all")
    while attempt.poll() is None:
        happens()
        with suppress(subprocess.TimeoutExpired):
            attempt.wait(0.02)
    done = finish_upgrade(attempt)
    assert done.exit_code == 0, done.text
    assert done.result["kept"] == []


def assert_no_handshake(instance: Instance) -> None:
    """Since this generation owns, on either side."""
    server = instance.status().server
    counts = [place["handshakes"] for place in [*server["listeners"], *server["clusters"]] if "handshakes" in place]
    assert counts
    assert [count for count in counts if any(count.values())] == []


def talk_through_upgrades(instance: Instance, *conversations: Conversation) -> None:
    """Bytes flow before, while and after each of the upgrades; all on the connections there were."""
    serials = {one["serial"] for one in instance.connections()}
    assert len(serials) == 2 * len(conversations)
    for _ in range(UPGRADES):
        turn_all(conversations)
        upgrade_while(instance, partial(turn_all, conversations))
    turn_all(conversations)
    assert {one["serial"] for one in instance.connections()} == serials
    assert_no_handshake(instance)


# -- clients ------------------------------------------------------------------------------------------


def test_openssl_clients_notice_nothing_with_any_suite(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Those of TLS 1.3 update keys too, before, between and after the upgrades, with and without an answer."""
    edge = Edge(stage, upstreams, authority=authority)
    tls = edge.instance.config["listeners"][1]["tls"]
    tls["certificates"] = [authority.issue(kind, algorithm=kind).config for kind in ("ecdsa", "rsa")]
    tls["ciphers"] = [*SUITES_12, *SUITES_13]
    edge.instance.write_config()
    edge.instance.start()
    with ExitStack() as exits:
        clients, conversations = [], []
        for suite in tls["ciphers"]:
            newest = suite in SUITES_13
            offer = ("-ciphersuites", suite) if newest else ("-cipher", f"{suite}:@SECLEVEL=0")
            client = OpensslClient(
                edge.raw, authority.file, tmp_path / suite, *offer, version="1.3" if newest else "1.2"
            )
            clients.append(exits.enter_context(client))
            client.wait_ready()
            assert f"Ciphersuite: {suite}" in client.told()
            conversations.append(exits.enter_context(Conversation(client, suite)))
        serials = {one["serial"] for one in edge.instance.connections()}
        for _ in range(UPGRADES):
            update_keys(clients, conversations, both=True)
            upgrade_while(edge.instance, partial(turn_all, conversations))
            update_keys(clients, conversations, both=False)
        assert {one["serial"] for one in edge.instance.connections()} == serials
        assert_no_handshake(edge.instance)
        for client, conversation in zip(clients, conversations, strict=True):
            conversation.finish()
            assert client.finish() == 0, client.told()


def update_keys(clients: list[OpensslClient], conversations: list[Conversation], *, both: bool) -> None:
    """Those that can, and then they talk on."""
    for client, conversation in zip(clients, conversations, strict=True):
        if "TLSv1.3" in client.told():
            conversation.ask(partial(client.update_keys, both=both))
    for conversation in conversations:
        conversation.wait_done()
    turn_all(conversations)


@pytest.mark.all
def test_clients_of_every_library_notice_nothing(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path
) -> None:
    """GnuTLS, node and Python's ssl in both versions, at once."""
    edge = stage.edge(upstreams, authority=authority)
    with ExitStack() as exits:
        programs: list[ForeignClient] = []
        conversations = []
        for version in VERSIONS:
            python = TlsClient(edge.raw, client_context(authority.file, version))
            conversations.append(exits.enter_context(Conversation(exits.enter_context(python), f"python {version}")))
            for kind in (GnutlsClient, NodeClient):
                log = tmp_path / f"{kind.__name__}-{version}"
                client: ForeignClient = exits.enter_context(kind(edge.raw, authority.file, log, version=version))
                client.wait_ready()
                programs.append(client)
                conversations.append(exits.enter_context(Conversation(client, log.name)))
        turn_all(conversations)
        talk_through_upgrades(edge.instance, *conversations)
        for conversation in conversations:
            conversation.finish()
        assert [client.told() for client in programs if client.finish()] == []


def curl(authority: Authority, version: str, *options: str) -> list[str]:
    trust = ["--cacert", str(authority.file)]
    return [program("curl"), "-sS", *trust, "--tls-max", version, f"--tlsv{version}", *options]


@pytest.mark.parametrize("version", ["1.2", pytest.param("1.3", marks=pytest.mark.all)])
def test_curl_keeps_its_one_connection(stage: Stage, authority: Authority, upstreams: Upstreams, version: str) -> None:
    """The last of its requests is held until the upgrades are done."""
    edge = stage.edge(upstreams, authority=authority)
    streams = f"https://{edge.web}/stream?seconds=1&every=0.05&size=1000&number=[1-3]"
    written = ["-w", "%{http_code} %{num_connects} %{ssl_verify_result} %{size_download}\n"]
    output = edge.run_through_upgrades(
        curl(
            authority,
            version,
            *written,
            "-o",
            "/dev/null",
            streams,
            "-o",
            "/dev/null",
            f"https://{edge.web}/hold?token=curl-{version}",
        ),
        UPGRADES,
        then=lambda _: upstreams.release(f"curl-{version}"),
    )
    size = 20 * 1012
    assert output.splitlines() == [f"200 1 0 {size}", *[f"200 0 0 {size}"] * 2, "200 0 0 0"]


@pytest.mark.all
@pytest.mark.parametrize("version", VERSIONS)
def test_curl_uploads_slowly(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path, version: str
) -> None:
    edge = stage.edge(upstreams, authority=authority)
    body = os.urandom(2_000_000)
    (tmp_path / "body").write_bytes(body)
    upload = ["-T", str(tmp_path / "body"), "--limit-rate", "500K"]
    urls = [f"https://{edge.web}/sink", f"https://{edge.web}/hold?token=upload-{version}"]
    output = edge.run_through_upgrades(
        curl(authority, version, *upload, *urls), UPGRADES, then=lambda _: upstreams.release(f"upload-{version}")
    )
    assert msgspec.json.decode(output) == {"length": len(body), "crc": zlib.crc32(body)}


@pytest.mark.all
def test_h2load_sees_no_error(stage: Stage, authority: Authority, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams, authority=authority)

    def load(seconds: float) -> list[str]:
        count = f"-n{seconds * 528:.0f}"
        return [program("h2load"), "--h1", "-t1", "-c16", count, "--rps=33", f"https://{edge.web}/bytes?n=1000"]

    output, seconds = edge.run_for_long(load, 9.0, UPGRADES)
    assert f"{seconds * 528:.0f} succeeded, 0 failed, 0 errored, 0 timeout" in output, output
    assert f"{seconds * 528:.0f} 2xx, 0 3xx, 0 4xx, 0 5xx" in output, output


@pytest.mark.parametrize("version", [pytest.param("1.2", marks=pytest.mark.all), "1.3"])
def test_nginx_asks_on_one_connection(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path, version: Version
) -> None:
    edge = stage.edge(upstreams, authority=authority)
    before = loopback()
    servers = f"""
        upstream edge {{ server {edge.web}; keepalive 1; keepalive_requests 100000; }}
        server {{ listen {before}; keepalive_requests 100000; location / {{
            proxy_pass https://edge; proxy_http_version 1.1; proxy_set_header connection "";
            proxy_ssl_protocols TLSv{version}; proxy_ssl_name edge.test;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority.file}; }} }}
    """
    with nginx(tmp_path / "nginx", servers, before) as peer, Client(before) as client:
        serials = set()
        for _ in range(UPGRADES):
            upgrade_while(edge.instance, partial(assert_bytes, client, 5000))
            assert_bytes(client, 50_000)
            serials |= {one["serial"] for one in edge.instance.connections() if one.get("listener") == "web"}
        assert len(serials) == 1
        assert_no_handshake(edge.instance)
        assert "[error]" not in peer.told()


def assert_bytes(client: Client, count: int) -> None:
    response = client.ask(f"/bytes?n={count}")
    assert response.status == 200
    assert response.fields["x-crc"] == f"{zlib.crc32(response.body):08x}"


# -- servers ------------------------------------------------------------------------------------------


def behind(protocol: str, authority: Authority, *addresses: str) -> tuple[Config, list[str]]:
    """A listener without TLS for each of these, whose cluster speaks TLS to it; their addresses."""
    listeners = [loopback() for _ in addresses]
    config: Config = {"name": "edge", "listeners": [], "clusters": []}
    for number, (listener, address) in enumerate(zip(listeners, addresses, strict=True)):
        name = f"c{number}"
        config["listeners"].append({"name": name, "address": listener, "protocol": protocol, "cluster": name})
        tls = {"ca": str(authority.file), "sni": "edge.test"}
        config["clusters"].append({"name": name, "endpoints": [address], "tls": tls})
    return config, listeners


@pytest.mark.all
def test_openssl_and_python_servers_notice_nothing(stage: Stage, authority: Authority, tmp_path: Path) -> None:
    """s_server of 1.3 sends key updates in between, which only it can ask for."""
    pair = authority.issue()
    with ExitStack() as exits:
        servers = [
            exits.enter_context(OpensslServer(pair, tmp_path / version, version=version)) for version in VERSIONS
        ]
        python = [exits.enter_context(Upstreams(("raw", "127.0.0.1:0"), tls=pair, version=one)) for one in VERSIONS]
        addresses = [one.address for one in servers] + [one.addresses[0] for one in python]
        config, listeners = behind("tcp", authority, *addresses)
        instance = stage.instance(config)
        instance.start()
        conversations = [exits.enter_context(Conversation(exits.enter_context(Client(one)), one)) for one in listeners]
        turn_all(conversations)
        serials = {one["serial"] for one in instance.connections()}
        updating, newest = conversations[1], servers[1]
        for number in range(UPGRADES):
            updating.between(partial(newest.update_keys, both=bool(number % 2)))
            upgrade_while(instance, partial(turn_all, conversations))
            updating.between(partial(newest.update_keys, both=not number % 2))
            updating.turn()
        for conversation in conversations:
            conversation.finish()
        assert {one["serial"] for one in instance.connections()} == serials
        assert_no_handshake(instance)
        assert [one.handshakes for one in servers] == [1, 1]
        eventually(lambda: newest.updates == UPGRADES, within=PATIENCE, what="key updates are answered")
        assert [one.record().versions for one in python] == [{"TLSv1.2": 1}, {"TLSv1.3": 1}]


@pytest.mark.all
@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_server_notices_nothing(stage: Stage, authority: Authority, tmp_path: Path, version: Version) -> None:
    body = os.urandom(60_000)
    with NodeServer(authority.issue(), tmp_path / "log", version=version) as server:
        config, (address,) = behind("http1", authority, server.address)
        instance = stage.instance(config)
        instance.start()
        with Client(address) as client:

            def post() -> None:
                client.send(b"POST / HTTP/1.1\r\nhost: edge.test\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                assert client.response().body == body

            for _ in range(UPGRADES):
                post()
                upgrade_while(instance, post)
            post()
            assert msgspec.json.decode(client.ask("/").body)["connections"] == 1
        assert_no_handshake(instance)
        assert server.told() == ""


@pytest.mark.all
@pytest.mark.parametrize("version", VERSIONS)
def test_an_nginx_server_notices_nothing(stage: Stage, authority: Authority, tmp_path: Path, version: Version) -> None:
    pair, address = authority.issue(), loopback()
    server = f"""
        server {{ listen {address} ssl; ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};
                  ssl_protocols TLSv{version}; keepalive_requests 100000;
                  return 200 "$connection $connection_requests $ssl_protocol"; }}
    """
    with nginx(tmp_path / "nginx", server, address) as peer:
        config, (listener,) = behind("http1", authority, address)
        instance = stage.instance(config)
        instance.start()
        answers: list[list[str]] = []
        with Client(listener) as client:

            def ask() -> None:
                answers.append(client.ask("/").body.decode().split())

            for _ in range(UPGRADES):
                ask()
                upgrade_while(instance, ask)
            ask()
        first = answers[0][0]
        assert answers == [[first, str(number), f"TLSv{version}"] for number in range(1, len(answers) + 1)]
        assert_no_handshake(instance)
        assert "[error]" not in peer.told()


@pytest.mark.all
def test_gnutls_servers_notice_nothing(stage: Stage, authority: Authority, tmp_path: Path, network: Network) -> None:
    """It cannot be bound to one address, so the whole test is in a network of its own."""
    pair = authority.issue()

    def inside() -> None:
        with ExitStack() as exits:
            servers = [
                exits.enter_context(GnutlsServer(pair, free_port(), tmp_path / one, version=one)) for one in VERSIONS
            ]
            config, listeners = behind("tcp", authority, *(one.address for one in servers))
            instance = stage.instance(config)
            instance.start()
            clients = [exits.enter_context(Client(one)) for one in listeners]
            conversations = [exits.enter_context(Conversation(one)) for one in clients]
            turn_all(conversations)
            talk_through_upgrades(instance, *conversations)
            for conversation in conversations:
                conversation.finish()
            assert [one.handshakes for one in servers] == [1, 1]

    network.run(inside)


def test_a_foreign_client_is_a_witness_at_all(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A control: killing the proxy under it must show."""
    edge = stage.edge(upstreams, authority=authority)
    with OpensslClient(edge.raw, authority.file, tmp_path / "log") as client:
        client.wait_ready()
        conversation = Conversation(client)
        with pytest.raises(AssertionError, match=r"after \d+ bytes"):
            talk_and_kill(edge, conversation)


def talk_and_kill(edge: Edge, conversation: Conversation) -> None:
    with conversation:
        conversation.turn()
        edge.instance.kill(edge.instance.status().pid)
        conversation.turn()
