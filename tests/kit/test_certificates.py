from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.kit.certificates import Algorithm, Authority, Pair


def shake_hands(server: Pair, trusted: Path, host: str, *, client: Pair | None = None) -> tuple[ssl.SSLObject, ...]:
    """Both ends after a handshake in memory, where the client requires everything that can be required."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(*server)
    connecting = ssl.create_default_context(cafile=str(trusted))
    connecting.verify_flags |= ssl.VERIFY_X509_STRICT
    if client:
        accepting.verify_mode = ssl.CERT_REQUIRED
        accepting.load_verify_locations(trusted)
        connecting.load_cert_chain(*client)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        connecting.wrap_bio(down, up, server_hostname=host),
        accepting.wrap_bio(up, down, server_side=True),
    )
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
@pytest.mark.parametrize("host", ["edge.test", "127.0.0.1"])
def test_a_leaf_is_taken_for_its_names(tmp_path: Path, algorithm: Algorithm, host: str) -> None:
    authority = Authority(tmp_path)
    client, _ = shake_hands(authority.issue(algorithm=algorithm), authority.file, host)
    assert client.cipher() is not None


def test_a_leaf_is_not_taken_for_another_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(authority.issue("edge", "DNS:other.test"), authority.file, "edge.test")


def test_a_leaf_of_another_authority_is_not_taken(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(stranger.issue(), Authority(tmp_path).file, "edge.test")


def test_an_expired_leaf_is_not_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(authority.issue(days=-1), authority.file, "edge.test")


def test_a_chain_leads_to_the_root(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issuing = authority.intermediate("first").intermediate("second")
    pair = issuing.issue()
    assert pair.cert.read_text().count("BEGIN CERTIFICATE") == 3
    shake_hands(pair, issuing.file, "edge.test")


def test_a_client_is_known_by_its_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client = authority.issue("client", "URI:spiffe://test/client", "DNS:client.test", client=True)
    _, server = shake_hands(authority.issue(), authority.file, "edge.test", client=client)
    shown = server.getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("URI", "spiffe://test/client"), ("DNS", "client.test"))


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue()
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_issued_again_gets_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue().serial
    assert authority.issue().serial != first
