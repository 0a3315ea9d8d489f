"""Who is believed: clients with certificates, endpoints with the right name. The peer is Python's ssl."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from proxy.config.tls_model import ClientCertificatesConfig
from proxy.tls.contexts import ServerContexts
from tests.kit.certificates import Authority, Pair
from tests.proxy.honoured import honours
from tests.proxy.tls.shaking import (
    TLS12,
    TLS13,
    Outcome,
    client,
    cluster,
    common_name,
    config,
    listener,
    server,
    shake,
)


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("contexts"))


@pytest.fixture(scope="session")
def edge(ca: Authority) -> Pair:
    return ca.issue("edge")


# ---- clients ----


def mutual(ca: Authority, edge: Pair, **settings: Any) -> ServerContexts:
    return listener(edge, client_certificates=ClientCertificatesConfig(ca=str(ca.file), **settings))


def as_client(contexts: ServerContexts, ca: Authority, pair: Pair | None, **versions: ssl.TLSVersion) -> Outcome:
    context = client(str(ca.file), **versions)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return shake(contexts.connection(), context, "edge.test")


@pytest.mark.parametrize("version", [TLS12, TLS13])
@honours("listener tls.client_certificates", "client_certificates.ca")
def test_required_certificate_is_required(ca: Authority, edge: Pair, version: ssl.TLSVersion) -> None:
    contexts = mutual(ca, edge)
    versions = {"minimum_version": version, "maximum_version": version}
    good = as_client(contexts, ca, ca.issue("web", "URI:spiffe://t/web", "DNS:web", client=True), **versions)
    assert good.done
    assert contexts.refusal(good.ours) == ""
    assert contexts.identity(good.ours) == ("URI:spiffe://t/web", "DNS:web")
    assert as_client(contexts, ca, None, **versions).error == "peer did not return a certificate"


@honours("client_certificates.mode")
def test_optional_certificate_may_be_missing_but_not_wrong(ca: Authority, edge: Pair, tmp_path: Path) -> None:
    contexts = mutual(ca, edge, mode="optional", sans=("DNS:web",))
    without = as_client(contexts, ca, None)
    assert without.done
    assert contexts.refusal(without.ours) == ""
    assert contexts.identity(without.ours) == ()
    stranger = Authority(tmp_path, "stranger").issue("web", "DNS:web", client=True)
    wrong = as_client(contexts, ca, stranger)
    assert wrong.error == "the certificate of the peer is not accepted: CN=stranger, which signed it, is not trusted"
    assert "UNKNOWN_CA" in wrong.peers_error.upper() or not wrong.peers_error


@pytest.mark.parametrize("mode", ["required", "optional"])
@honours("client_certificates.sans")
def test_allow_list_admits_by_name(ca: Authority, edge: Pair, mode: str) -> None:
    contexts = mutual(ca, edge, mode=mode, sans=("URI:spiffe://t/web", "DNS:*.good.test"))
    for name, refusal in (
        ("URI:spiffe://t/web", ""),
        ("DNS:a.good.test", ""),
        ("DNS:bad.test", "its certificate is for DNS:bad.test, none of which is in sans"),
    ):
        outcome = as_client(contexts, ca, ca.issue("web", name, client=True))
        assert outcome.done
        assert contexts.refusal(outcome.ours) == refusal


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_resumed_session_is_still_of_somebody(ca: Authority, edge: Pair, version: ssl.TLSVersion) -> None:
    contexts = mutual(ca, edge, sans=("DNS:web",))
    context = client(str(ca.file), minimum_version=version, maximum_version=version)
    pair = ca.issue("web", "DNS:web", client=True)
    context.load_cert_chain(pair.cert, pair.key)
    first = shake(contexts.connection(), context, "edge.test")
    again = shake(contexts.connection(), context, "edge.test", session=first.peer.session)
    assert again.peer.session_reused
    assert contexts.identity(again.ours) == ("DNS:web",)
    assert contexts.refusal(again.ours) == ""


def test_certificate_of_a_server_is_none_of_a_client(ca: Authority, edge: Pair) -> None:
    outcome = as_client(mutual(ca, edge), ca, edge)
    assert outcome.error.endswith("it is not made for this purpose (extended key usage)")


def test_expired_certificate_of_a_client(ca: Authority, edge: Pair) -> None:
    outcome = as_client(mutual(ca, edge), ca, ca.issue("late", "DNS:web", client=True, days=-1))
    assert outcome.error == "the certificate of the peer is not accepted: it has expired"


def test_failed_verification_is_not_held_against_the_next_client(ca: Authority, edge: Pair) -> None:
    """Also where the host name changed the context of the connection."""
    other = ca.issue("other", "DNS:other.test")
    settings = ClientCertificatesConfig(ca=str(ca.file))
    contexts = listener(edge, other, client_certificates=settings)
    late, good = ca.issue("late", "DNS:web", client=True, days=-1), ca.issue("web", "DNS:web", client=True)
    for name in ("other.test", "edge.test", "other.test"):
        for pair, done in ((late, False), (good, True)):
            context = client(str(ca.file))
            context.load_cert_chain(pair.cert, pair.key)
            outcome = shake(contexts.connection(), context, name)
            assert outcome.done is done
            assert ("expired" in outcome.error) is not done


def test_intermediate_authority_can_be_the_one_that_is_trusted(ca: Authority, edge: Pair, tmp_path: Path) -> None:
    team = ca.intermediate("team")
    pair = team.issue("web", "DNS:web", client=True)
    trusted = tmp_path / "team.pem"
    trusted.write_bytes(pair.cert.read_bytes()[pair.cert.read_bytes().index(b"-----BEGIN", 1) :])
    contexts = listener(edge, client_certificates=ClientCertificatesConfig(ca=str(trusted)))
    assert as_client(contexts, ca, pair).done
    assert not as_client(contexts, ca, ca.issue("else", "DNS:web", client=True)).done


def test_many_names_are_not_carried_along(ca: Authority, edge: Pair) -> None:
    names = [f"DNS:n{number}.test" for number in range(100)]
    contexts = mutual(ca, edge, sans=("DNS:n99.test",))
    outcome = as_client(contexts, ca, ca.issue("web", *names, client=True))
    assert contexts.refusal(outcome.ours) == ""
    assert contexts.identity(outcome.ours) == tuple(names[:32])
    refusing = mutual(ca, edge, sans=("DNS:x",))
    refusal = refusing.refusal(as_client(refusing, ca, ca.issue("web", *names, client=True)).ours)
    assert len(refusal) < 300
    assert refusal.endswith(", ..., none of which is in sans")


# ---- endpoints ----


@pytest.mark.parametrize("host", ["edge.test", "EDGE.test.", "localhost", "127.0.0.1", "::1"])
def test_endpoint_is_believed_by_its_host_or_address(ca: Authority, edge: Pair, host: str) -> None:
    asked: list[str | None] = []
    context = server(str(edge.cert), str(edge.key))
    context.sni_callback = lambda _tls, name, _context: asked.append(name)
    outcome = shake(cluster(ca).connection(host), context)
    assert outcome.done
    assert asked == [host.removesuffix(".") if host[0].isalpha() else None], "only names are sent"


@pytest.mark.parametrize(
    ("host", "settings", "words"),
    [
        (
            "other.test",
            {},
            "it is for DNS:edge.test, DNS:localhost, IP:127.0.0.1, IP:::1, not for other.test; see sni and sans",
        ),
        ("127.0.0.2", {}, "IP:::1, not for 127.0.0.2; see sni and sans"),
        ("/run/app.sock", {}, "not for /run/app.sock; see sni and sans"),
        ("edge.test", {"sni": "other.test"}, "not for other.test; see sni and sans"),
        ("edge.test", {"sans": ("URI:spiffe://t/db",)}, "IP:::1, none of which is in sans"),
    ],
)
def test_endpoint_with_another_name_is_not_believed(
    ca: Authority, edge: Pair, host: str, settings: dict[str, Any], words: str
) -> None:
    contexts = cluster(ca, **settings)
    outcome = shake(contexts.connection(host), server(str(edge.cert), str(edge.key)))
    assert outcome.error.startswith("the certificate of the peer is not accepted: it is for DNS:edge.test")
    assert outcome.error.endswith(words)


@pytest.mark.parametrize("settings", [{"sni": "edge.test"}, {"sans": ("DNS:x", "DNS:edge.test")}, {"verify": False}])
@honours("cluster tls.sni", "cluster tls.sans", "cluster tls.verify")
def test_endpoint_by_address_is_believed_by_sni_or_sans(ca: Authority, edge: Pair, settings: dict[str, Any]) -> None:
    outcome = shake(cluster(ca, **settings).connection("10.9.9.9"), server(str(edge.cert), str(edge.key)))
    assert outcome.done


@honours("cluster tls.ca")
def test_endpoint_of_another_authority_is_not_believed(ca: Authority, edge: Pair, tmp_path: Path) -> None:
    contexts = cluster(Authority(tmp_path))
    context = server(str(edge.cert), str(edge.key))
    outcome = shake(contexts.connection("edge.test"), context)
    assert outcome.error.startswith("the certificate of the peer is not accepted: CN=ca, which signed it,")
    assert "UNKNOWN_CA" in outcome.peers_error.upper()
    system = shake(cluster(None).connection("edge.test"), context)
    assert "not trusted" in system.error, "nor does the trust store of the system know it"


def test_expired_endpoint_is_not_believed(ca: Authority) -> None:
    late = ca.issue("late", days=-1)
    outcome = shake(cluster(ca).connection("edge.test"), server(str(late.cert), str(late.key)))
    assert outcome.error == "the certificate of the peer is not accepted: it has expired"
    assert "EXPIRED" in outcome.peers_error.upper()


def test_without_verification_nobody_has_an_identity(ca: Authority, edge: Pair) -> None:
    context = server(str(edge.cert), str(edge.key))
    blind, seeing = cluster(ca, verify=False), cluster(ca)
    assert blind.identity(shake(blind.connection("x"), context).ours) == ()
    believed = shake(seeing.connection("edge.test"), context).ours
    assert seeing.identity(believed)[0] == "DNS:edge.test"
    assert seeing.refusal(believed) == ""


@honours("cluster tls.certificate")
def test_certificate_of_the_cluster_is_shown_on_demand(ca: Authority, edge: Pair) -> None:
    asks = server(str(edge.cert), str(edge.key), str(ca.file))
    own = ca.issue("proxy", "DNS:proxy", client=True)
    outcome = shake(cluster(ca, certificate=config(own)).connection("edge.test"), asks)
    assert outcome.done
    assert common_name(outcome.peer) == "proxy"
    assert not shake(cluster(ca).connection("edge.test"), asks).done


def test_own_certificate_is_not_shown_to_an_endpoint_that_is_not_believed(ca: Authority, edge: Pair) -> None:
    asks = server(str(edge.cert), str(edge.key), str(ca.file))
    own = ca.issue("proxy", "DNS:proxy", client=True)
    outcome = shake(cluster(ca, certificate=config(own)).connection("other.test"), asks)
    assert not outcome.done
    with pytest.raises(ValueError, match="handshake not done"):
        outcome.peer.getpeercert()
