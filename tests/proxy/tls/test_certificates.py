"""Files of TLS: what is read of them, what is wrong with them, and what to do."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from proxy.config.tls_model import CertificateConfig
from proxy.tls.certificates import Shown, concerns, days, describe, names_of, read_chain
from proxy.tls.files import Unusable, exposed, fingerprint
from proxy.tls.openssl import load_pair, load_roots, new_context
from tests.kit.certificates import Authority, Pair

DAY = 86400.0


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def load(cert: Path, key: Path) -> None:
    load_pair(new_context(server=True, min_version="1.2", ciphers=()), str(cert), str(key))


def refused(cert: Path, key: Path) -> tuple[Path, str]:
    """The file that is to blame, and the words without its path in front."""
    with pytest.raises(Unusable) as raised:
        load(cert, key)
    path = raised.value.path
    assert str(raised.value).startswith(path)
    return Path(path), str(raised.value).removeprefix(f"{path} ")


def test_chain_is_read_in_its_order(ca: Authority) -> None:
    pair = ca.intermediate().issue("edge", "DNS:Edge.test", "URI:spiffe://t/edge", "IP:::1", "email:a@b.test", days=30)
    leaf, above = read_chain(str(pair.cert))
    assert leaf.subject == "CN=edge"
    assert (leaf.issuer, above.subject) == ("CN=intermediate", "CN=intermediate")
    assert leaf.names == ("DNS:edge.test", "URI:spiffe://t/edge", "IP:::1", "email:a@b.test")
    assert leaf.serial == pair.serial
    assert (leaf.key, leaf.kind) == ("ECDSA secp256r1", "ECDSA")
    assert leaf.until - leaf.since == pytest.approx(31 * DAY, abs=2)


def test_shown_certificate_ends_with_the_first_of_its_chain(ca: Authority) -> None:
    pair = ca.intermediate().issue("edge", days=700)
    shown = Shown(CertificateConfig(**pair.config))
    leaf, above = shown.chain
    assert shown.until == above.until < leaf.until
    about = shown.describe(shown.until - 3.5 * DAY)
    assert about["days_left"] == 3
    assert about["serial"] == f"{pair.serial:x}"
    assert about["expires"] == above.expiry()
    assert about["expires"].endswith("Z")
    assert shown.describe(shown.until + 1)["days_left"] == -1


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
def test_pair_that_belongs_together_is_taken(ca: Authority, algorithm: str) -> None:
    pair = ca.issue(algorithm="rsa" if algorithm == "rsa" else "ecdsa")
    load(pair.cert, pair.key)


def test_file_that_cannot_be_read(ca: Authority, tmp_path: Path) -> None:
    pair = ca.issue()
    remedy = "name a file that this user can read"
    assert refused(tmp_path / "none", pair.key) == (
        tmp_path / "none",
        f"cannot be read: no such file or directory; {remedy}",
    )
    assert refused(pair.cert, tmp_path / "none")[0] == tmp_path / "none"
    assert refused(tmp_path, pair.key) == (tmp_path, f"cannot be read: is a directory; {remedy}")


def test_pipe_keeps_nobody_waiting(ca: Authority, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pair = ca.issue()
    words = (pipe, "is no regular file; name a PEM file")
    assert refused(pipe, pair.key) == words
    assert refused(pair.cert, pipe) == words
    assert "no regular file" in fingerprint(str(pipe))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; put a certificate in PEM form into it"),
        (b"0\x82\x01\x00", "is no PEM file; convert it: openssl x509"),
        (b"-----BEGIN PRIVATE KEY-----\n", "holds no certificate; is this the key?"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a broken certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "holds a broken certificate"),
        (b"x" * (1 << 20) + b"x", "is larger than 1 MB; is this a PEM file?"),
    ],
)
def test_certificate_that_is_none(ca: Authority, tmp_path: Path, content: bytes, words: str) -> None:
    cert = tmp_path / "broken.pem"
    cert.write_bytes(content)
    path, text = refused(cert, ca.issue().key)
    assert path == cert
    assert text.startswith(words)
    with pytest.raises(Unusable, match=r"broken\.pem"):
        load_roots(SSL.Context(SSL.TLS_CLIENT_METHOD), str(cert), lambda *_: True)


def test_key_of_another_certificate(ca: Authority) -> None:
    one, other = ca.issue("one"), ca.issue("other")
    rsa_pair = ca.issue("rsa", algorithm="rsa")
    words = "is not the key of {}; name the two that belong together"
    assert refused(one.cert, other.key) == (other.key, words.format(one.cert))
    assert refused(one.cert, rsa_pair.key) == (rsa_pair.key, words.format(one.cert))
    assert refused(rsa_pair.cert, one.key) == (one.key, words.format(rsa_pair.cert))


def test_key_that_is_none(ca: Authority, tmp_path: Path) -> None:
    pair = ca.issue()
    key = tmp_path / "broken.key"
    for content in (b"", b"\x30\x82", pair.cert.read_bytes(), b"-----BEGIN PRIVATE KEY-----\nAAAA\n"):
        key.write_bytes(content)
        path, text = refused(pair.cert, key)
        assert (path, text) == (key, "holds no private key in PEM form; name the file with BEGIN PRIVATE KEY")


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_key_is_refused_and_nobody_is_asked(ca: Authority, tmp_path: Path, form: PrivateFormat) -> None:
    pair = ca.issue()
    private = load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    key = tmp_path / "locked.key"
    key.write_bytes(private.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    path, text = refused(pair.cert, key)
    assert path == key
    assert text.startswith("is encrypted, and nobody is there to type a passphrase; decrypt it: openssl pkey")


def test_weak_key_is_refused_in_openssls_words(tmp_path: Path) -> None:
    key, cert = tmp_path / "weak.key", tmp_path / "weak.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    path, text = refused(cert, key)
    assert (path, text) == (cert, "cannot be used: ee key too small; get another certificate")


def test_messages_show_nothing_of_a_key(ca: Authority, tmp_path: Path) -> None:
    """A key in the place of the certificate is the mistake that could print one."""
    pair = ca.issue()
    secret = pair.key.read_text().splitlines()[1]
    broken = tmp_path / "broken.key"
    broken.write_text(pair.key.read_text().replace("-----END", "x-----END"))
    for cert, key in ((pair.key, pair.key), (pair.cert, broken), (broken, broken)):
        assert secret not in refused(cert, key)[1]


def test_what_changes_of_a_file_is_its_content(ca: Authority, tmp_path: Path) -> None:
    pair = ca.issue()
    before = fingerprint(str(pair.cert))
    copy = tmp_path / "copy.pem"
    copy.write_bytes(pair.cert.read_bytes())
    assert fingerprint(str(copy)) == before
    copy.write_bytes(copy.read_bytes() + b"\n")
    assert fingerprint(str(copy)) != before
    copy.unlink()
    assert "no such file" in fingerprint(str(copy))


# ---- what is legal and probably not meant ----


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (-1.0, "{0} expired on {1}; renew it"),
        (3600.0 * 5, "{0} expires on {1}, in 5 hours; renew it"),
        (1.5 * DAY, "{0} expires on {1}, in 1 day; renew it"),
        (13 * DAY, "{0} expires on {1}, in 13 days; renew it"),
        (15 * DAY, ""),
    ],
)
def test_certificate_that_ends_soon(ca: Authority, left: float, words: str) -> None:
    chain = read_chain(str(ca.issue("edge", "DNS:edge.test").cert))
    expected = [words.format("edge.test", chain[0].expiry())] if words else []
    assert concerns(chain, chain[0].until - left) == expected


def test_certificate_of_the_future(ca: Authority) -> None:
    chain = read_chain(str(ca.issue().cert))
    (words,) = concerns(chain, chain[0].since - 1)
    assert words.endswith("; check the clock of this machine")


def test_chain_in_another_order(ca: Authority, tmp_path: Path) -> None:
    pair = ca.intermediate().issue("edge", "DNS:edge.test")
    now = read_chain(str(pair.cert))[0].since + 1
    assert concerns(read_chain(str(pair.cert)), now) == []
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(pair.cert.read_bytes() + ca.issue("stranger").cert.read_bytes())
    (words,) = concerns(read_chain(str(mixed)), now)
    assert words.startswith("certificate 3 of the file did not sign the one before it, CN=intermediate; put the leaf")


def test_leaf_without_a_name(ca: Authority, tmp_path: Path) -> None:
    path = tmp_path / "old.pem"
    path.write_bytes(self_signed().public_bytes(Encoding.PEM))
    chain = read_chain(str(path))
    assert chain[0].names == ()
    assert concerns(chain, chain[0].since - 1)[1:] == [
        "CN=x has no alternative names, which is where peers look; get one that has its hosts"
    ]


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_key_that_everybody_can_read(ca: Authority, mode: int, told: bool) -> None:
    key = ca.issue().key
    key.chmod(mode)
    words = f"every user of this machine can read or write {key}; chmod o-rw it"
    assert exposed(str(key)) == (words if told else "")


def test_time_left_in_words() -> None:
    assert [days(seconds) for seconds in (0, 3600, 7300, DAY, 2 * DAY)] == [
        "0 hours",
        "1 hour",
        "2 hours",
        "1 day",
        "2 days",
    ]


# ---- certificates of strangers ----


def self_signed(*extensions: x509.ExtensionType) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical=False)
    return made.sign(key, SHA256())


def edwards() -> x509.Certificate:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2026, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001
    return made.sign(key, None)


def test_names_of_kinds_that_nobody_asks_for_are_left_out() -> None:
    certificate = self_signed(
        x509.SubjectAlternativeName(
            [x509.DirectoryName(x509.Name([])), x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.DNSName("a")]
        )
    )
    assert names_of(certificate) == ("DNS:a",)


def test_names_that_cannot_be_meant_are_left_out() -> None:
    names = [
        x509.DNSName("good.test\0.evil.test"),
        x509.DNSName("a\nb"),
        x509.UniformResourceIdentifier("u:" + "x" * 2000),
    ]
    assert names_of(self_signed(x509.SubjectAlternativeName([*names, x509.DNSName("a")]))) == ("DNS:a",)


def test_certificate_whose_names_are_malformed_has_none() -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x05\xff\xff")
    assert names_of(self_signed(broken)) == ()


def test_kinds_of_keys(ca: Authority) -> None:
    assert read_chain(str(ca.issue("r", algorithm="rsa").cert))[0].key == "RSA 2048"
    assert read_chain(str(ca.issue("e").cert))[0].key == "ECDSA secp256r1"
    odd = describe(edwards())
    assert odd.kind not in ("RSA", "ECDSA")


def test_pair_that_openssl_made_is_taken(tmp_path: Path) -> None:
    """The older form of a key, BEGIN RSA PRIVATE KEY."""
    private = rsa.generate_private_key(65537, 2048)
    key, cert = tmp_path / "old.key", tmp_path / "old.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    subprocess.run(["openssl", "req", "-x509", "-key", key, "-subj", "/CN=x", "-out", cert], check=True)
    load(cert, key)
    assert isinstance(Pair(cert, key).serial, int)
