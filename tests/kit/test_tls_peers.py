"""The peers talk to each other, without a proxy: then what goes wrong in a test with a proxy is the proxy's fault."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.conversation import Conversation
from tests.kit.networks import Network, command, needed
from tests.kit.ports import free_port, loopback
from tests.kit.relay import Relay
from tests.kit.tls import VERSIONS, TlsClient, Version, client_context
from tests.kit.tls_peers import (
    SUITES_12,
    SUITES_13,
    GnutlsClient,
    GnutlsServer,
    NodeClient,
    NodeServer,
    OpensslClient,
    OpensslServer,
    nginx,
)
from tests.kit.upstreams import Upstreams

Kind = type[OpensslClient] | type[GnutlsClient] | type[NodeClient]
CLIENTS: list[Kind] = [OpensslClient, GnutlsClient, NodeClient]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def echo(authority: Authority) -> Iterator[Upstreams]:
    with Upstreams(("raw", "127.0.0.1:0"), tls=authority.issue()) as running:
        yield running


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_a_foreign_client_talks(
    tmp_path: Path, authority: Authority, echo: Upstreams, kind: Kind, version: Version
) -> None:
    before = echo.record().versions.get(f"TLSv{version}", 0)
    with kind(echo.addresses[0], authority.file, tmp_path / "log", version=version) as client:
        client.wait_ready()
        with Conversation(client) as conversation:
            conversation.turn()
        assert client.finish() == 0, client.told()
    assert echo.record().versions[f"TLSv{version}"] == before + 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_foreign_client_distrusts_a_stranger(tmp_path: Path, echo: Upstreams, kind: Kind) -> None:
    stranger = Authority(tmp_path, "stranger")
    with kind(echo.addresses[0], stranger.file, tmp_path / "log") as client:
        assert client.more() == b""
        assert client.finish() != 0


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_foreign_client_notices_a_flipped_bit(
    tmp_path: Path, authority: Authority, echo: Upstreams, kind: Kind
) -> None:
    with (
        Relay(echo.addresses[0]) as relay,
        kind(relay.address, authority.file, tmp_path / "log") as client,
    ):
        client.wait_ready()
        conversation = Conversation(client)

        def talk() -> None:
            with conversation:
                conversation.turn()
                relay.fail("flip")
                conversation.turn()

        with pytest.raises(AssertionError, match=r"ended with|Broken pipe"):
            talk()


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_serves(tmp_path: Path, authority: Authority, version: Version) -> None:
    with (
        OpensslServer(authority.issue(), tmp_path / "log", version=version) as server,
        TlsClient(server.address, client_context(authority.file, version)) as client,
        Conversation(client) as conversation,
    ):
        conversation.turn()
    assert server.handshakes == 1


def test_openssl_updates_keys_on_both_ends(tmp_path: Path, authority: Authority) -> None:
    with (
        OpensslServer(authority.issue(), tmp_path / "server") as server,
        OpensslClient(server.address, authority.file, tmp_path / "client") as client,
        Conversation(client) as conversation,
    ):
        for peer in (client, server, server, client):
            for both in (True, False):
                conversation.turn()
                conversation.between(partial(peer.update_keys, both=both))
        conversation.turn()
    assert server.handshakes == 1
    assert server.updates == 4 + 2  # the client's own, and its answers to those that asked for one


@pytest.mark.parametrize("version", VERSIONS)
def test_node_serves(tmp_path: Path, authority: Authority, version: Version) -> None:
    body = os.urandom(200_000)
    with (
        NodeServer(authority.issue(), tmp_path / "log", version=version) as server,
        TlsClient(server.address, client_context(authority.file, version)) as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nhost: edge.test\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert client.response().body == body
        assert client.ask("/bytes?n=10").body == b"node node "
        assert msgspec.json.decode(client.ask("/").body) == {"connections": 1, "requests": 3}
    assert server.told() == ""


@pytest.fixture
def network() -> Iterator[Network]:
    needed()
    made = Network(f"hs{uuid.uuid4().hex[:8]}")
    yield made
    command("ip", "netns", "del", made.name)


@pytest.mark.all
@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_serves(tmp_path: Path, authority: Authority, network: Network, version: Version) -> None:
    server = network.run(lambda: GnutlsServer(authority.issue(), free_port(), tmp_path / "log", version=version))
    with (
        server,
        network.run(TlsClient, server.address, client_context(authority.file, version)) as client,
        Conversation(client) as conversation,
    ):
        conversation.turn()
    assert server.handshakes == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_serves_and_asks(tmp_path: Path, authority: Authority, version: Version) -> None:
    pair, behind, before = authority.issue(), loopback(), loopback()
    servers = f"""
        upstream behind {{ server {behind}; keepalive 1; }}
        server {{ listen {behind} ssl; ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};
                  ssl_protocols TLSv{version}; return 200 "$connection $connection_requests $ssl_protocol"; }}
        server {{ listen {before}; location / {{
            proxy_pass https://behind; proxy_http_version 1.1; proxy_set_header connection "";
            proxy_ssl_protocols TLSv{version}; proxy_ssl_name edge.test;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority.file}; }} }}
    """
    with nginx(tmp_path / "nginx", servers, before), Client(before) as client:
        answers = [client.ask("/").body.decode().split() for _ in range(3)]
    assert {connection for connection, _, _ in answers} == {answers[0][0]}
    assert [number for _, number, _ in answers] == ["1", "2", "3"]
    assert {protocol for _, _, protocol in answers} == {f"TLSv{version}"}


@pytest.mark.parametrize(("suites", "version"), [(SUITES_12, "1.2"), (SUITES_13, "1.3")])
def test_openssl_offers_every_suite(
    tmp_path: Path, authority: Authority, suites: tuple[str, ...], version: Version
) -> None:
    """On both ends: the tests of all suites leave none out because a program does not know it."""
    pairs = {"RSA": authority.issue("rsa", algorithm="rsa"), "ECDSA": authority.issue("ecdsa")}
    option = "-ciphersuites" if version == "1.3" else "-cipher"
    for suite in suites:
        offer = (option, suite if version == "1.3" else f"{suite}:@SECLEVEL=0")
        pair = pairs["RSA" if "RSA" in suite and "ECDSA" not in suite else "ECDSA"]
        log = tmp_path / suite
        with (
            OpensslServer(pair, Path(f"{log}.server"), *offer, version=version) as server,
            OpensslClient(server.address, authority.file, log, *offer, version=version) as client,
            Conversation(client) as conversation,
        ):
            conversation.turn()
            assert f"Ciphersuite: {suite}" in client.told()


def test_a_cut_connection_is_an_error_for_the_blocking_client(authority: Authority, echo: Upstreams) -> None:
    with Relay(echo.addresses[0]) as relay, TlsClient(relay.address, client_context(authority.file, "1.3")) as client:
        client.send(b"1")
        assert client.take(1) == b"1"
        relay.fail("close")
        with pytest.raises(ssl.SSLEOFError):
            client.more()
