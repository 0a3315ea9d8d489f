"""Handshakes with Python's ssl: what is agreed on, and which certificate is shown. Who is believed: test_trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from hotswap.errors import ConfigError
from proxy.config.tls_model import CertificateConfig, ClientCertificatesConfig, ClusterTlsConfig, ListenerTlsConfig
from proxy.tls import policy, suites
from proxy.tls.contexts import ClientContexts, ServerContexts
from proxy.tls.openssl import new_context
from tests.kit.certificates import Authority, Pair
from tests.proxy.honoured import honours
from tests.proxy.tls.shaking import TLS12, TLS13, client, cluster, common_name, config, listener, server, shake


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("contexts"))


@pytest.fixture(scope="session")
def edge(ca: Authority) -> Pair:
    return ca.issue("edge")


@pytest.fixture(scope="session")
def rsa(ca: Authority) -> Pair:
    return ca.intermediate().issue("rsa", algorithm="rsa")


# ---- versions and suites ----


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("kind", ["edge", "rsa"])
def test_both_versions_and_both_kinds_of_keys(
    ca: Authority, version: ssl.TLSVersion, kind: str, request: pytest.FixtureRequest
) -> None:
    contexts = listener(request.getfixturevalue(kind))
    context = client(str(ca.file), minimum_version=version, maximum_version=version)
    outcome = shake(contexts.connection(), context, "edge.test")
    assert outcome.done
    assert common_name(outcome.peer) == kind
    secret = b"CLIENT_TRAFFIC_SECRET_0" if version == TLS13 else b"CLIENT_RANDOM"
    assert outcome.lines.count(secret) == 1, "the secrets of the handshake come by the key log"


@honours("listener tls.min_version")
def test_min_version_refuses_older_clients(ca: Authority, edge: Pair) -> None:
    contexts = listener(edge, min_version="1.3")
    outcome = shake(contexts.connection(), client(str(ca.file), maximum_version=TLS12), "edge.test")
    assert "PROTOCOL_VERSION" in outcome.peers_error.upper()
    assert shake(contexts.connection(), client(str(ca.file)), "edge.test").done


@honours("cluster tls.min_version")
def test_min_version_refuses_older_endpoints(ca: Authority, edge: Pair) -> None:
    old = server(str(edge.cert), str(edge.key))
    old.maximum_version = TLS12
    assert not shake(cluster(ca, min_version="1.3").connection("edge.test"), old).done
    assert shake(cluster(ca).connection("edge.test"), old).done


def test_only_suites_that_the_record_layer_knows_can_be_named() -> None:
    assert set(policy.KNOWN) == set(suites.BY_NAME)
    assert len(policy.KNOWN) == len(set(policy.KNOWN))


@pytest.mark.parametrize("name", policy.KNOWN)
@honours("listener tls.ciphers", "cluster tls.ciphers")
def test_named_suite_is_the_one_that_is_used(ca: Authority, edge: Pair, rsa: Pair, name: str) -> None:
    contexts = listener(edge, rsa, ciphers=(name,))
    context = client(str(ca.file))
    if not policy.is_13(name):
        try:
            context.set_ciphers(f"{name}:@SECLEVEL=0")
        except ssl.SSLError:
            pytest.skip("this OpenSSL does not know it")
    elif "CCM" in name:
        ours = cluster(ca, ciphers=(name,)).connection("edge.test")  # Python's ssl cannot ask for it
        assert ours.get_cipher_list()[0] == name
        return
    outcome = shake(contexts.connection(), context, "edge.test")
    assert outcome.done
    assert outcome.ours.get_cipher_name() == name


def test_suites_of_one_version_alone_leave_the_other_out(ca: Authority, edge: Pair) -> None:
    old = listener(edge, ciphers=("ECDHE-ECDSA-AES128-GCM-SHA256",))
    assert shake(old.connection(), client(str(ca.file)), "edge.test").peer.version() == "TLSv1.2"
    assert not shake(old.connection(), client(str(ca.file), minimum_version=TLS13), "edge.test").done
    new = listener(edge, ciphers=("TLS_AES_256_GCM_SHA384",))
    assert shake(new.connection(), client(str(ca.file)), "edge.test").peer.cipher() == (
        "TLS_AES_256_GCM_SHA384",
        "TLSv1.3",
        256,
    )
    assert not shake(new.connection(), client(str(ca.file), maximum_version=TLS12), "edge.test").done


def test_without_named_suites_only_forward_secret_aead_ones_are_offered() -> None:
    connection = ClientContexts(ClusterTlsConfig()).connection("x")
    offered = connection.get_cipher_list()
    assert offered == list(policy.USUAL)
    assert all(policy.is_forward_secret(name) and not policy.has_short_tag(name) for name in offered)


def test_the_order_of_the_server_decides(ca: Authority, edge: Pair) -> None:
    names = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
    context = client(str(ca.file), maximum_version=TLS12)
    context.set_ciphers(":".join(reversed(names)))
    outcome = shake(listener(edge, ciphers=names).connection(), context, "edge.test")
    assert outcome.ours.get_cipher_name() == names[0]


# ---- which certificate ----


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("edge.test", "edge"),
        ("EDGE.test", "edge"),
        ("other.test", "other"),
        ("a.wild.test", "wild"),
        ("exact.wild.test", "other"),
        ("a.b.wild.test", "edge"),
        ("wild.test", "edge"),
        ("nobody.test", "edge"),
        (None, "edge"),
    ],
)
@honours("listener tls.certificates", "certificate.cert", "certificate.key")
def test_host_name_chooses_exactly_then_by_wildcard_then_the_first(
    ca: Authority, edge: Pair, asked: str | None, shown: str
) -> None:
    wild = ca.issue("wild", "DNS:*.wild.test")
    other = ca.issue("other", "DNS:other.test", "DNS:exact.wild.test")
    context = client(str(ca.file))
    context.check_hostname = False
    outcome = shake(listener(edge, wild, other).connection(), context, asked)
    assert outcome.done
    assert common_name(outcome.peer) == shown


@pytest.mark.parametrize(
    ("suite", "shown"), [("ECDHE-ECDSA-AES128-GCM-SHA256", "edge"), ("ECDHE-RSA-AES128-GCM-SHA256", "rsa")]
)
def test_of_two_certificates_with_the_same_names_the_client_gets_the_kind_that_it_knows(
    ca: Authority, edge: Pair, rsa: Pair, suite: str, shown: str
) -> None:
    for contexts in (listener(edge, rsa), listener(rsa, edge)):
        for asked in ("edge.test", None):
            context = client(str(ca.file), maximum_version=TLS12)
            context.check_hostname = False
            context.set_ciphers(suite)
            outcome = shake(contexts.connection(), context, asked)
            assert common_name(outcome.peer) == shown


def test_chain_is_shown_up_to_the_root(ca: Authority, rsa: Pair) -> None:
    """The client knows only the root, so the handshake needs the certificate between both."""
    assert shake(listener(rsa).connection(), client(str(ca.file)), "localhost").done


# ---- ALPN ----


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (("http/1.1",), ["h2", "http/1.1"], "http/1.1"),
        (("http/1.1", "http/1.0"), ["http/1.0", "http/1.1"], "http/1.1"),
        (("http/1.1",), [], None),
        ((), ["h2"], None),
    ],
)
@honours("listener tls.alpn")
def test_the_first_protocol_of_ours_that_the_client_offers(
    ca: Authority, edge: Pair, ours: tuple[str, ...], theirs: list[str], agreed: str | None
) -> None:
    context = client(str(ca.file))
    context.set_alpn_protocols(theirs)
    outcome = shake(listener(edge, alpn=ours).connection(), context, "edge.test")
    assert outcome.done
    assert outcome.peer.selected_alpn_protocol() == agreed


def test_client_that_speaks_only_other_protocols_gets_an_alert(ca: Authority, edge: Pair) -> None:
    context = client(str(ca.file))
    context.set_alpn_protocols(["h2", "x\ny"])
    outcome = shake(listener(edge, alpn=("http/1.1",)).connection(), context, "edge.test")
    assert outcome.error == "the client speaks h2, x?y by ALPN, this listener http/1.1"
    assert "NO_APPLICATION_PROTOCOL" in outcome.peers_error.upper().replace(" ", "_")


def test_failed_negotiation_is_not_held_against_the_next_client(ca: Authority, edge: Pair) -> None:
    contexts = listener(edge, ca.issue("other", "DNS:other.test"), alpn=("http/1.1",))
    context = client(str(ca.file))
    context.set_alpn_protocols(["h2"])
    for name in ("other.test", "edge.test"):
        assert not shake(contexts.connection(), context, name).done
        for good in ("other.test", "edge.test"):
            assert shake(contexts.connection(), client(str(ca.file)), good).done


@honours("cluster tls.alpn")
def test_cluster_offers_its_protocols(ca: Authority, edge: Pair) -> None:
    context = server(str(edge.cert), str(edge.key))
    context.set_alpn_protocols(["b", "c"])
    assert shake(cluster(ca, alpn=("a", "b")).connection("edge.test"), context).peer.selected_alpn_protocol() == "b"
    assert shake(cluster(ca).connection("edge.test"), context).peer.selected_alpn_protocol() is None


# ---- resumption ----


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("tickets", [True, False])
@honours("listener tls.tickets")
def test_tickets_resume_sessions_unless_they_are_off(
    ca: Authority, edge: Pair, version: ssl.TLSVersion, tickets: bool
) -> None:
    contexts = listener(edge, ca.issue("other", "DNS:other.test"), tickets=tickets)
    context = client(str(ca.file), minimum_version=version, maximum_version=version)
    first = shake(contexts.connection(), context, "edge.test")
    again = shake(contexts.connection(), context, "edge.test", session=first.peer.session)
    assert again.done
    assert bool(again.peer.session_reused) is tickets


# ---- what is wrong with files, and what is told of good ones ----


def test_broken_file_is_a_config_error(ca: Authority, edge: Pair, tmp_path: Path) -> None:
    none = str(tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=r"none\.pem cannot be read"):
        ServerContexts(ListenerTlsConfig(certificates=(CertificateConfig(cert=none, key=str(edge.key)),)))
    with pytest.raises(ConfigError, match=r"none\.pem cannot be read"):
        listener(edge, client_certificates=ClientCertificatesConfig(ca=none))
    with pytest.raises(ConfigError, match=r"none\.pem cannot be read"):
        ClientContexts(ClusterTlsConfig(ca=none))
    pair = CertificateConfig(cert=str(edge.cert), key=str(edge.cert))
    with pytest.raises(ConfigError, match=r"edge\.pem holds no private key"):
        ClientContexts(ClusterTlsConfig(certificate=pair))
    assert ClientContexts(ClusterTlsConfig(ca=none, verify=False)).files == (), "a root that nobody asks for"


def test_description_tells_each_certificate(ca: Authority, edge: Pair, rsa: Pair) -> None:
    contexts = listener(edge, client_certificates=ClientCertificatesConfig(ca=str(ca.file)))
    about = contexts.describe(contexts.expires() - 86400 * 2.5)
    assert about["client_certificates"] == "required"
    assert about["min_version"] == "1.2"
    (shown,) = about["certificates"]
    assert (shown["file"], shown["days_left"], shown["subject"]) == (str(edge.cert), 2, "CN=edge")
    assert shown["names"][0] == "DNS:edge.test"
    own = cluster(ca, certificate=config(rsa)).describe(0)
    assert (own["verify"], own["certificates"][0]["key"]) == (True, "RSA 2048")
    assert cluster(ca, verify=False).describe(0)["certificates"] == []


def test_first_certificate_that_ends_counts(ca: Authority, edge: Pair) -> None:
    sooner = ca.issue("sooner", "DNS:sooner.test", days=3)
    contexts = listener(edge, sooner)
    assert contexts.expires() == contexts.certificates[1].until < contexts.certificates[0].until


def test_contexts_are_for_their_side_alone() -> None:
    assert new_context(server=True, min_version="1.2", ciphers=()) is not None
    with pytest.raises(KeyError):
        new_context(server=True, min_version="1.1", ciphers=())
