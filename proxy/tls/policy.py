"""Which cipher suites may be negotiated, by OpenSSL's names: those of `suites`, all of them AEAD.

usual      forward secret, and as fast as it gets: offered unless the configuration names others
on demand  CCM, for small devices; DHE, for old endpoints; AES128-GCM-SHA256 and the like, whose key exchange has
           no forward secrecy: whoever gets the private key later reads what was recorded before
"""

from __future__ import annotations

from typing import Final

from proxy.tls.suites import BY_ID, BY_NAME, TLS13

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

KNOWN: Final = (*USUAL, *(name for name in BY_NAME if name not in USUAL))
"""All that may be named."""


def is_13(name: str) -> bool:
    """Whether a suite belongs to TLS 1.3, which knows no others (RFC 8446 appendix B.4)."""
    return BY_ID[BY_NAME[name]].version == TLS13


def is_forward_secret(name: str) -> bool:
    """Whether the key exchange is ephemeral, so that the private key does not open what was recorded."""
    return is_13(name) or name.startswith(("ECDHE-", "DHE-"))


def has_short_tag(name: str) -> bool:
    """Whether records carry 8 bytes of proof instead of 16, which OpenSSL takes at its security level 0 only."""
    return BY_ID[BY_NAME[name]].tag_size == 8
