"""How the keys of records come of the secrets of a handshake.

TLS 1.3, RFC 8446 section 7.3:  key = HKDF-Expand-Label(traffic secret, "key", "", key size)
                                iv  = HKDF-Expand-Label(traffic secret, "iv", "", 12)
                section 7.2:    next secret = HKDF-Expand-Label(traffic secret, "traffic upd", "", hash size)
TLS 1.2, RFC 5246 section 6.3:  PRF(master secret, "key expansion", server random + client random)
                                = client key, server key, client iv, server iv; AEAD ciphers have no MAC keys
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from proxy.tls.suites import NONCE

if TYPE_CHECKING:
    from proxy.tls.suites import Suite


def expand_label(suite: Suite, secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), for `size` up to that of the hash.

    Then HKDF-Expand is a single HMAC (RFC 5869 section 2.3), over

        | size u16 | length of label u8 | "tls13 " label | length of context u8 = 0 | 1 |
    """
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\x00\x01"
    return hmac.digest(secret, info, suite.hash)[:size]


def traffic_keys(suite: Suite, secret: bytes) -> tuple[bytes, bytes]:
    """Key and iv of a traffic secret."""
    return expand_label(suite, secret, b"key", suite.key_size), expand_label(suite, secret, b"iv", NONCE)


def next_secret(suite: Suite, secret: bytes) -> bytes:
    """The traffic secret that a KeyUpdate leads to."""
    return expand_label(suite, secret, b"traffic upd", suite.hash_size)


def key_block(
    suite: Suite, master: bytes, client_random: bytes, server_random: bytes
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Key and iv of the client, and of the server (TLS 1.2)."""
    key, iv = suite.key_size, suite.iv_size
    block = prf(suite, master, b"key expansion" + server_random + client_random, 2 * (key + iv))
    ivs = block[2 * key :]
    return (block[:key], ivs[:iv]), (block[key : 2 * key], ivs[iv:])


def prf(suite: Suite, secret: bytes, seed: bytes, size: int) -> bytes:
    """P_hash of RFC 5246 section 5: HMAC(secret, A(i) + seed) for i = 1, 2, ...; A(0) = seed, A(i) = HMAC(A(i - 1))."""
    block = b""
    link = seed
    while len(block) < size:
        link = hmac.digest(secret, link, suite.hash)
        block += hmac.digest(secret, link + seed, suite.hash)
    return block[:size]
