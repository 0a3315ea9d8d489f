"""Which cipher suites may be negotiated, by OpenSSL's names: those that our record layer can carry, all of them AEAD.

usual      forward secret, and as fast as it gets: offered unless the configuration names others
on demand  CCM, for small devices; DHE, for old upstreams; AES128-GCM-SHA256 and the like, whose key exchange has
           no forward secrecy: whoever gets the private key later reads what was recorded before
"""

from __future__ import annotations

from typing import Final

USUAL_13: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
USUAL_12: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
USUAL: Final = USUAL_13 + USUAL_12

CCM: Final = (
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-AES256-CCM8",
)
STATIC_RSA: Final = (
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-CCM",
    "AES256-CCM",
    "AES128-CCM8",
    "AES256-CCM8",
)
DHE: Final = (
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-CCM",
    "DHE-RSA-AES256-CCM",
)

KNOWN: Final = USUAL + CCM + STATIC_RSA + DHE
"""All that may be named."""


def is_13(name: str) -> bool:
    """Whether a suite belongs to TLS 1.3, which knows no others (RFC 8446 appendix B.4)."""
    return name.startswith("TLS_")


def has_short_tag(name: str) -> bool:
    """Whether records carry 8 bytes of proof instead of 16, which OpenSSL takes at its security level 0 only."""
    return name.endswith(("CCM8", "CCM_8_SHA256"))
