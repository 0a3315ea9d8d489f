"""Certificates: read, judged, and told about. What is wrong with a file says which one, and what to do.

`proxy.tls.files` has what can be done without `cryptography`.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.tls.files import Unusable, read_bytes
from proxy.tls.names import LONGEST

if TYPE_CHECKING:
    from proxy.config.tls_model import CertificateConfig

SOON: Final = 14 * 86400.0
"""Seconds before its end in which a certificate is warned of."""


class Certificate(msgspec.Struct, frozen=True):
    """What matters of one. `since` and `until` are Unix seconds; `names` as `proxy.tls.names` has them."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    serial: int
    key: str
    """The kind of its key, and its size: ``RSA 2048``, ``ECDSA secp256r1``."""
    since: float
    until: float

    @property
    def kind(self) -> str:
        """The kind of its key, without its size."""
        return self.key.partition(" ")[0]

    def expiry(self) -> str:
        """Its last moment: ``2026-11-28T12:00:00Z``."""
        return moment(self.until)

    def short(self) -> str:
        """The name by which people know it."""
        return self.names[0].partition(":")[2] if self.names else self.subject or f"serial {self.serial:x}"


def moment(seconds: float) -> str:
    """Unix seconds for people and programs (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- reading ----


def read_chain(path: str) -> tuple[Certificate, ...]:
    """The certificates of a file in their order, one at least. Raises `Unusable`."""
    return tuple(describe(one) for one in parse(path))


def parse(path: str) -> list[x509.Certificate]:
    """The same for `cryptography`. Raises `Unusable`."""
    data = read_bytes(path)
    if not data.strip():
        raise Unusable(path, "is empty; put a certificate in PEM form into it")
    if b"-----BEGIN " not in data:
        raise Unusable(path, "is no PEM file; convert it: openssl x509 -inform DER -in FILE -out edge.pem")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise Unusable(path, "holds no certificate; is this the key? Name the file that begins with BEGIN CERTIFICATE")
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise Unusable(path, f"holds a broken certificate ({error}); get the file once more") from None


def describe(certificate: x509.Certificate) -> Certificate:
    """The parts that matter."""
    return Certificate(
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        names_of(certificate),
        certificate.serial_number,
        _key(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "other"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"ECDSA {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Its alternative names. Those of other kinds, and those that cannot be meant, are left out. Raises nothing."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()  # that of a peer may be malformed: then it has no name
    return tuple(filter(None, map(_name, extension.value)))


def _name(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        text = f"DNS:{name.value.lower()}"
    elif isinstance(name, x509.UniformResourceIdentifier):
        text = f"URI:{name.value}"
    elif isinstance(name, x509.IPAddress):
        text = f"IP:{name.value}"
    elif isinstance(name, x509.RFC822Name):
        text = f"email:{name.value}"
    else:
        return ""
    return text if text.isascii() and text.isprintable() and len(text) <= LONGEST else ""


class Shown:
    """A certificate that is shown with its chain, as it was when it was loaded."""

    __slots__ = ("chain", "config", "until")

    def __init__(self, config: CertificateConfig) -> None:
        """Reads the certificate, not the key. Raises `Unusable`."""
        self.config = config
        self.chain = read_chain(config.cert)
        self.until = min(one.until for one in self.chain)
        """When the first of the chain ends, in Unix seconds: from then on clients refuse it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the leaf."""
        return self.chain[0].names

    @property
    def kind(self) -> str:
        """That of the key of the leaf."""
        return self.chain[0].kind

    def describe(self, wall: float) -> dict[str, Any]:
        """For status. `wall` is now, in Unix seconds."""
        leaf = self.chain[0]
        return {
            "file": self.config.cert,
            "subject": leaf.subject,
            "names": list(leaf.names),
            "serial": f"{leaf.serial:x}",
            "key": leaf.key,
            "expires": moment(self.until),
            "days_left": int((self.until - wall) // 86400),
        }


# ---- judging ----


def concerns(chain: tuple[Certificate, ...], wall: float) -> list[str]:
    """What is legal and probably not meant, each with its remedy. `wall` is now, in Unix seconds."""
    found = []
    for one in chain:
        found += age(one, wall)
    if not chain[0].names:
        nameless = f"{chain[0].short()} has no alternative names, which is where peers look"
        found.append(f"{nameless}; get one that has its hosts")
    for number, (one, above) in enumerate(itertools.pairwise(chain), 1):
        if one.issuer != above.subject:
            wrong = f"certificate {number + 1} of the file did not sign the one before it, {one.short()}"
            found.append(f"{wrong}; put the leaf first, then who signed it, and so on")
            break
    return found


def age(one: Certificate, wall: float) -> list[str]:
    """What is to be said of its age: too old, nearly so, or too young."""
    if one.until <= wall:
        return [f"{one.short()} expired on {one.expiry()}; renew it"]
    if one.until - wall < SOON:
        return [f"{one.short()} expires on {one.expiry()}, in {days(one.until - wall)}; renew it"]
    if one.since > wall:
        return [f"{one.short()} is valid only from {moment(one.since)}; check the clock of this machine"]
    return []


def days(seconds: float) -> str:
    """``3 days``, ``1 day``, ``5 hours``."""
    number, unit = (seconds / 86400, "day") if seconds >= 86400 else (seconds / 3600, "hour")
    return f"{int(number)} {unit}{'' if int(number) == 1 else 's'}"
