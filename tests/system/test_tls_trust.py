"""Whose certificates are accepted: those of clients by listeners, those of endpoints by clusters."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit.certificates import Authority, Pair
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import Config, Instance
from tests.kit.stage import Stage
from tests.kit.tls import NEWEST_FIRST, VERSIONS, TlsClient, Version, client_context
from tests.kit.tls_peers import OpensslServer
from tests.kit.upstreams import Upstreams


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


# -- clients ------------------------------------------------------------------------------------------


class Guarded:
    """Listeners that ask for certificates: `required`, `optional`, and `listed` for two names only."""

    def __init__(self, stage: Stage, authority: Authority) -> None:
        self.authority = authority
        self.required, self.optional, self.listed = loopback(), loopback(), loopback()
        (behind,) = stage.upstreams(("http", "127.0.0.1:0")).addresses
        terms: dict[str, Config] = {
            self.required: {},
            self.optional: {"mode": "optional"},
            self.listed: {"sans": ["spiffe://test/friend", "*.friends.test"]},
        }
        certificates = [authority.issue("edge").config]
        listeners = [
            {
                "name": f"l{number}",
                "address": address,
                "protocol": "http1",
                "cluster": "app",
                "tls": {"certificates": certificates, "client_certificates": {"ca": str(authority.file)} | term},
            }
            for number, (address, term) in enumerate(terms.items())
        ]
        clusters = [{"name": "app", "endpoints": [behind]}]
        self.instance = stage.instance({"name": "guard", "listeners": listeners, "clusters": clusters})
        self.instance.start()

    def client(self, address: str, version: Version, pair: Pair | None) -> TlsClient:
        """One that had an answer. Raises `ssl.SSLError`."""
        client = TlsClient(address, client_context(self.authority.file, version, pair=pair))
        try:
            assert client.ask("/bytes?n=10").status == 200
        except BaseException:
            client.close()
            raise
        return client

    def is_refused(self, address: str, version: Version, pair: Pair | None) -> bool:
        """A client of 1.3 is told after its part of the handshake, by an alert."""
        try:
            self.client(address, version, pair).close()
        except ssl.SSLError as refusal:
            if "alert" in str(refusal).lower():
                return True
            raise
        return False


@pytest.fixture(scope="module")
def guarded(authority: Authority) -> Iterator[Guarded]:
    with closing(Stage()) as stage:
        yield Guarded(stage, authority)
        stage.show()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_shows_the_certificate_that_is_required(
    guarded: Guarded, authority: Authority, stranger: Authority, version: Version
) -> None:
    known = authority.issue("known", "DNS:known.test", client=True)
    guarded.client(guarded.required, version, known).close()
    assert guarded.is_refused(guarded.required, version, None)
    assert guarded.is_refused(guarded.required, version, stranger.issue("client", "DNS:known.test", client=True))
    assert guarded.is_refused(guarded.required, version, authority.issue("old", "DNS:known.test", client=True, days=-1))
    assert guarded.is_refused(guarded.required, version, authority.issue("server", "DNS:known.test"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_may_show_none_where_it_is_optional_but_no_bad_one(
    guarded: Guarded, authority: Authority, stranger: Authority, version: Version
) -> None:
    guarded.client(guarded.optional, version, None).close()
    guarded.client(guarded.optional, version, authority.issue("known", "DNS:known.test", client=True)).close()
    assert guarded.is_refused(guarded.optional, version, stranger.issue("client", "DNS:known.test", client=True))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "admitted"),
    [
        ("URI:spiffe://test/friend", True),
        ("URI:spiffe://test/friend/", False),
        ("URI:spiffe://test/stranger", False),
        ("DNS:a.friends.test", True),
        ("DNS:A.Friends.test", True),
        ("DNS:a.b.friends.test", True),
        ("DNS:friends.test", False),
        ("DNS:a.friends.test.evil", False),
    ],
)
def test_a_list_admits_names(
    guarded: Guarded, authority: Authority, name: str, admitted: bool, version: Version
) -> None:
    pair = authority.issue("client", name, client=True)
    assert guarded.is_refused(guarded.listed, version, pair) != admitted


@pytest.mark.parametrize("version", VERSIONS)
def test_a_list_admits_a_chain(guarded: Guarded, authority: Authority, version: Version) -> None:
    pair = authority.intermediate().issue("chained", "URI:spiffe://test/friend", client=True)
    guarded.client(guarded.listed, version, pair).close()


def test_who_a_client_is_moves_with_it(stage: Stage, authority: Authority) -> None:
    guarded = Guarded(stage, authority)
    known = authority.issue("known", "URI:spiffe://test/friend", "DNS:known.test", client=True)
    with guarded.client(guarded.listed, "1.2", known) as old, guarded.client(guarded.listed, "1.3", known) as new:
        shown = [one["tls"] for one in guarded.instance.connections() if "listener" in one]
        assert [one["peer"] for one in shown] == [["URI:spiffe://test/friend", "DNS:known.test"]] * 2
        assert guarded.instance.upgrade("--require-all").exit_code == 0
        assert [one["tls"] for one in guarded.instance.connections() if "listener" in one] == shown
        for client in (old, new):
            assert client.ask("/bytes?n=10").status == 200
    assert guarded.is_refused(guarded.listed, "1.3", authority.issue("other", "DNS:known.test", client=True))


# -- endpoints ----------------------------------------------------------------------------------------


def before(stage: Stage, endpoint: str, **tls: object) -> tuple[Instance, str]:
    """A listener without TLS before one endpoint with it."""
    address = loopback()
    instance = stage.instance(
        {
            "name": f"edge{len(stage.instances)}",
            "listeners": [{"name": "web", "address": address, "protocol": "http1", "cluster": "app"}],
            "clusters": [{"name": "app", "endpoints": [endpoint], "connect_timeout": "1s", "tls": tls}],
        }
    )
    instance.start()
    return instance, address


def status_of(stage: Stage, endpoint: str, **tls: object) -> int:
    """What a client gets through it."""
    _, address = before(stage, endpoint, **tls)
    with Client(address) as client:
        return client.ask("/bytes?n=10").status


@pytest.mark.parametrize(
    ("names", "tls", "status"),
    [
        (["IP:127.0.0.1"], {}, 200),
        (["DNS:edge.test"], {}, 503),
        (["DNS:edge.test"], {"sni": "edge.test"}, 200),
        (["DNS:edge.test"], {"sni": "other.test"}, 503),
        (["URI:spiffe://test/app"], {"sans": ["spiffe://test/app"]}, 200),
        (["URI:spiffe://test/app", "IP:127.0.0.1"], {"sans": ["spiffe://test/other"]}, 503),
        (["DNS:nobody.test"], {"verify": False}, 200),
    ],
)
def test_an_endpoint_is_believed_by_its_names(
    stage: Stage, authority: Authority, names: list[str], tls: dict[str, object], status: int
) -> None:
    pair = authority.issue("behind", *names)
    with Upstreams(("http", "127.0.0.1:0"), tls=pair) as upstreams:
        assert status_of(stage, upstreams.addresses[0], ca=str(authority.file), **tls) == status


def test_an_endpoint_with_a_stale_or_foreign_certificate_is_not_believed(
    stage: Stage, authority: Authority, stranger: Authority
) -> None:
    for pair in (authority.issue("stale", days=-1), stranger.issue()):
        with Upstreams(("http", "127.0.0.1:0"), tls=pair) as upstreams:
            instance, address = before(stage, upstreams.addresses[0], ca=str(authority.file))
            with Client(address) as client:
                assert client.ask("/bytes?n=10").status == 503
            (cluster,) = instance.status().server["clusters"]
            assert cluster["handshakes"]["failed"] >= 1
            assert "certificate" in instance.log_tail()


def test_an_endpoint_that_speaks_no_tls_is_not_spoken_to(stage: Stage, authority: Authority) -> None:
    with Upstreams(("http", "127.0.0.1:0")) as upstreams:
        assert status_of(stage, upstreams.addresses[0], ca=str(authority.file)) == 504  # it waits for more
        assert upstreams.record().requests == {}


def test_an_endpoint_of_an_old_version_is_not_spoken_to(stage: Stage, authority: Authority, tmp_path: Path) -> None:
    weak = ("-cipher", "ALL:@SECLEVEL=0")
    with OpensslServer(authority.issue(), tmp_path / "log", *weak, version="1.1") as server:
        assert status_of(stage, server.address, ca=str(authority.file)) == 503
        server.wait_told("unsupported protocol")


@pytest.mark.parametrize("version", NEWEST_FIRST)
def test_an_endpoint_is_shown_a_certificate_if_it_asks(
    stage: Stage, authority: Authority, tmp_path: Path, version: Version
) -> None:
    pair = authority.issue("proxy", "URI:spiffe://test/proxy", client=True)
    asks = ("-Verify", "2", "-verify_return_error", "-CAfile", str(authority.file), "-WWW")
    with OpensslServer(authority.issue("behind"), tmp_path / "log", *asks, version=version) as server:
        assert status_of(stage, server.address, ca=str(authority.file)) != 200
        assert status_of(stage, server.address, ca=str(authority.file), certificate=pair.config) == 200
