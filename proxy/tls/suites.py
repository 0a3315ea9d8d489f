"""Cipher suites that the record layer can carry: all of them AEAD, TLS 1.2 and 1.3.

Numbers and names: the registry of TLS parameters at IANA, and OpenSSL's names (`openssl ciphers -V`). What they mean:
RFC 8446 appendix B.4, RFC 5288 and 5289 (GCM), RFC 6655 and 7251 (CCM), RFC 7905 (ChaCha20-Poly1305).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

TLS12: Final = 0x0303
TLS13: Final = 0x0304

Cipher = Literal["gcm", "ccm", "chacha20"]

NONCE: Final = 12
"""Bytes of a nonce, with all of these ciphers."""


class Suite(msgspec.Struct, frozen=True):
    """What a suite says about records. `name` is OpenSSL's; sizes are bytes."""

    number: int
    version: int
    name: str
    cipher: Cipher
    key_size: int
    hash: Literal["sha256", "sha384"]
    tag_size: int = 16

    @property
    def hash_size(self) -> int:
        """Of a traffic secret, too."""
        return 32 if self.hash == "sha256" else 48

    @property
    def explicit_size(self) -> int:
        """The part of the nonce that is in the record (RFC 5288 section 3, RFC 6655 section 3)."""
        return 8 if self.version == TLS12 and self.cipher != "chacha20" else 0

    @property
    def iv_size(self) -> int:
        """The part of the nonce that both sides derive."""
        return NONCE - self.explicit_size

    @property
    def expansion(self) -> int:
        """Bytes that a record has beyond its header and its plaintext, without padding."""
        return self.tag_size + (1 if self.version == TLS13 else self.explicit_size)


_SUITES: Final = (
    Suite(0x1301, TLS13, "TLS_AES_128_GCM_SHA256", "gcm", 16, "sha256"),
    Suite(0x1302, TLS13, "TLS_AES_256_GCM_SHA384", "gcm", 32, "sha384"),
    Suite(0x1303, TLS13, "TLS_CHACHA20_POLY1305_SHA256", "chacha20", 32, "sha256"),
    Suite(0x1304, TLS13, "TLS_AES_128_CCM_SHA256", "ccm", 16, "sha256"),
    Suite(0x1305, TLS13, "TLS_AES_128_CCM_8_SHA256", "ccm", 16, "sha256", 8),
    Suite(0x009C, TLS12, "AES128-GCM-SHA256", "gcm", 16, "sha256"),
    Suite(0x009D, TLS12, "AES256-GCM-SHA384", "gcm", 32, "sha384"),
    Suite(0x009E, TLS12, "DHE-RSA-AES128-GCM-SHA256", "gcm", 16, "sha256"),
    Suite(0x009F, TLS12, "DHE-RSA-AES256-GCM-SHA384", "gcm", 32, "sha384"),
    Suite(0xC02B, TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256", "gcm", 16, "sha256"),
    Suite(0xC02C, TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384", "gcm", 32, "sha384"),
    Suite(0xC02F, TLS12, "ECDHE-RSA-AES128-GCM-SHA256", "gcm", 16, "sha256"),
    Suite(0xC030, TLS12, "ECDHE-RSA-AES256-GCM-SHA384", "gcm", 32, "sha384"),
    Suite(0xCCA8, TLS12, "ECDHE-RSA-CHACHA20-POLY1305", "chacha20", 32, "sha256"),
    Suite(0xCCA9, TLS12, "ECDHE-ECDSA-CHACHA20-POLY1305", "chacha20", 32, "sha256"),
    Suite(0xCCAA, TLS12, "DHE-RSA-CHACHA20-POLY1305", "chacha20", 32, "sha256"),
    Suite(0xC09C, TLS12, "AES128-CCM", "ccm", 16, "sha256"),
    Suite(0xC09D, TLS12, "AES256-CCM", "ccm", 32, "sha256"),
    Suite(0xC09E, TLS12, "DHE-RSA-AES128-CCM", "ccm", 16, "sha256"),
    Suite(0xC09F, TLS12, "DHE-RSA-AES256-CCM", "ccm", 32, "sha256"),
    Suite(0xC0A0, TLS12, "AES128-CCM8", "ccm", 16, "sha256", 8),
    Suite(0xC0A1, TLS12, "AES256-CCM8", "ccm", 32, "sha256", 8),
    Suite(0xC0A2, TLS12, "DHE-RSA-AES128-CCM8", "ccm", 16, "sha256", 8),
    Suite(0xC0A3, TLS12, "DHE-RSA-AES256-CCM8", "ccm", 32, "sha256", 8),
    Suite(0xC0AC, TLS12, "ECDHE-ECDSA-AES128-CCM", "ccm", 16, "sha256"),
    Suite(0xC0AD, TLS12, "ECDHE-ECDSA-AES256-CCM", "ccm", 32, "sha256"),
    Suite(0xC0AE, TLS12, "ECDHE-ECDSA-AES128-CCM8", "ccm", 16, "sha256", 8),
    Suite(0xC0AF, TLS12, "ECDHE-ECDSA-AES256-CCM8", "ccm", 32, "sha256", 8),
)

BY_ID: Final = {suite.number: suite for suite in _SUITES}
BY_NAME: Final = {suite.name: suite.number for suite in _SUITES}
"""Number of a suite by OpenSSL's name."""


def find(version: int, number: int) -> Suite:
    """The suite of that number. Raises `ValueError` if it is none of ours, or of the other version."""
    suite = BY_ID.get(number)
    if suite is None or suite.version != version:
        raise ValueError(f"suite 0x{number:04x} of version 0x{version:04x} is unknown here")
    return suite


def named(number: int) -> str:
    """OpenSSL's name of a suite, for people."""
    suite = BY_ID.get(number)
    return f"0x{number:04x}" if suite is None else suite.name


def explicit_nonce(number: int) -> bool:
    """Whether each record carries a part of its nonce. Raises `KeyError` for a suite that is none of ours."""
    return BY_ID[number].explicit_size > 0
