"""Certificates of a test: an authority, intermediate ones, and what they sign, as PEM files.

Alternative names are written as OpenSSL prints them: `DNS:edge.test`, `IP:127.0.0.1`, `URI:spiffe://test/edge`,
`email:edge@edge.test` (RFC 5280 section 4.2.1.6).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Algorithm = Literal["ecdsa", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LOCAL = ("DNS:edge.test", "DNS:localhost", "IP:127.0.0.1", "IP:::1")
"""The names of a server that runs on this machine."""

DAY = timedelta(days=1)


class Pair(NamedTuple):
    """The files of one identity: `cert` holds the chain without the root, leaf first, `key` is for the owner only."""

    cert: Path
    key: Path

    @property
    def config(self) -> dict[str, str]:
        """As the configuration of the proxy wants it."""
        return {"cert": str(self.cert), "key": str(self.key)}

    @property
    def serial(self) -> int:
        """That of the leaf."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number


class Authority:
    """Who signs. `file` is the root certificate in a folder of the test, the one that clients trust."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = name
        self.file = folder / f"{name}.pem"
        self.above: list[x509.Certificate] = []  # what leaves must show besides themselves
        self._key: PrivateKey = new_key("ecdsa")
        self._certificate = _authority(self._key, name, None, None)
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def intermediate(self, name: str = "intermediate") -> Authority:
        """Another one, signed by this one: its leaves show its certificate too, and clients trust only the root."""
        made = Authority.__new__(Authority)
        made.folder, made.name, made.file = self.folder, name, self.file
        made._key = new_key("ecdsa")
        made._certificate = _authority(made._key, name, self._certificate, self._key)
        made.above = [made._certificate, *self.above]
        return made

    def issue(
        self,
        name: str = "edge",
        *names: str,
        algorithm: Algorithm = "ecdsa",
        client: bool = False,
        days: float = 30,
        age: float = 1,
    ) -> Pair:
        """A leaf for these alternative names (`LOCAL` without any), valid since `age` days and for `days` more.

        `name` is its common name and that of its files. A negative number of `days`: it expired so long ago.
        """
        key = new_key(algorithm)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        now = datetime.now(UTC)
        certificate = (
            _builder(name, key, self._certificate, now - age * DAY + min(days, 0) * DAY, now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general(one) for one in names or LOCAL]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .sign(self._key, SHA256())
        )
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        chain = [certificate, *self.above]
        pair.cert.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        pair.key.unlink(missing_ok=True)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def new_key(algorithm: Algorithm) -> PrivateKey:
    """A P-256 key, or the one RSA key of this run: another would take a tenth of a second to find."""
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ecdsa" else _rsa_key()


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _authority(
    key: PrivateKey, name: str, issuer: x509.Certificate | None, issuer_key: PrivateKey | None
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        _builder(name, key, issuer, now - 2 * DAY, now + 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(issuer_key or key, SHA256())
    )


def _builder(
    name: str, key: PrivateKey, issuer: x509.Certificate | None, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.public_key() if issuer else key.public_key()
    assert isinstance(signer, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "IP":
        return x509.IPAddress(ip_address(value))
    if kind == "URI":
        return x509.UniformResourceIdentifier(value)
    return x509.DNSName(value) if kind == "DNS" else x509.RFC822Name(value)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not signs_certificates,  # RSA key exchange: only the choice of suites may rule it out
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
