"""One record sealed, one record opened.

TLS 1.3, RFC 8446 section 5.2                  TLS 1.2, RFC 5246 section 6.2.3.3
| 23 | 03 03 | length u16 |                    | type | 03 03 | length u16 |
| plaintext, type, zeros: sealed | tag |       | explicit nonce 8, GCM and CCM only | plaintext: sealed | tag |

additional data: the header                    sequence u64, type, version, length of the plaintext
nonce: iv XOR sequence                         GCM, CCM: iv 4, explicit nonce 8 (RFC 5288, 6655 section 3);
                                               ChaCha20 as TLS 1.3 (RFC 7905 section 2)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from proxy.tls import keys
from proxy.tls.errors import BAD_RECORD_MAC, INTERNAL_ERROR, UNEXPECTED_MESSAGE, TlsError
from proxy.tls.suites import NONCE, TLS13

if TYPE_CHECKING:
    from proxy.tls.suites import Suite

ALERT, HANDSHAKE, APPLICATION = 21, 22, 23
"""Types of records, RFC 8446 section 5.1."""
HEADER: Final = 5

_HEADER: Final = struct.Struct("!BHH")
_AAD: Final = struct.Struct("!QBHH")
_LEGACY: Final = 0x0303
_TYPES: Final = {kind: bytes((kind,)) for kind in (ALERT, HANDSHAKE, APPLICATION)}
_SEQUENCE_END: Final = (1 << 64) - 1


class Opened(NamedTuple):
    """A record that opened."""

    kind: int
    plain: bytes


class Direction:
    """Keys and sequence number of one direction. `secret` is that of the state, `proxy.tls.twin_state`."""

    __slots__ = ("_cipher", "_iv", "_key", "_suite", "secret", "seq")

    def __init__(self, suite: Suite, secret: bytes, seq: int) -> None:
        self._suite = suite
        self.secret = secret
        self.seq = seq
        derived = suite.version == TLS13
        self._key = b"" if derived else secret[: suite.key_size]
        self._iv = b"" if derived else secret[suite.key_size :]
        self._cipher: AESGCM | AESCCM | ChaCha20Poly1305 | None = None

    def following(self) -> Direction:
        """Under the next traffic secret, TLS 1.3."""
        return Direction(self._suite, keys.next_secret(self._suite, self.secret), 0)

    def _made_cipher(self) -> AESGCM | AESCCM | ChaCha20Poly1305:
        """Made when it is first needed: most connections that are restored are idle."""
        if self._cipher is None:
            if not self._key:
                self._key, self._iv = keys.traffic_keys(self._suite, self.secret)
            if self._suite.cipher == "gcm":
                self._cipher = AESGCM(self._key)
            elif self._suite.cipher == "ccm":
                self._cipher = AESCCM(self._key, self._suite.tag_size)
            else:
                self._cipher = ChaCha20Poly1305(self._key)
        return self._cipher

    def _nonce(self, seq: int) -> bytes:
        return (int.from_bytes(self._iv, "big") ^ seq).to_bytes(NONCE, "big")

    def spend(self) -> int:
        """The sequence number of the next record that we seal. Raises `TlsError` after 2**64 - 1 of them.

        Before use: whatever fails then can skip a nonce, never use one again. No call stands between reading a number
        and writing the next, so that nothing that interrupts us there can seal under the same.
        """
        seq = self.seq
        if seq == _SEQUENCE_END:
            raise TlsError(INTERNAL_ERROR, "the sequence numbers are used up")
        self.seq = seq + 1
        return seq

    def seal(self, kind: int, plain: bytes, seq: int, explicit: int) -> bytes:
        """One record. `explicit`: the explicit nonce, for suites that have one. Both numbers are spent already."""
        suite, cipher = self._suite, self._made_cipher()
        size = len(plain) + suite.expansion
        if suite.version == TLS13:
            header = _HEADER.pack(APPLICATION, _LEGACY, size)
            return header + cipher.encrypt(self._nonce(seq), plain + _TYPES[kind], header)
        header = _HEADER.pack(kind, _LEGACY, size)
        aad = _AAD.pack(seq, kind, _LEGACY, len(plain))
        if not suite.explicit_size:
            return header + cipher.encrypt(self._nonce(seq), plain, aad)
        carried = explicit.to_bytes(8, "big")
        return header + carried + cipher.encrypt(self._iv + carried, plain, aad)

    def open(self, seq: int, record: bytes) -> Opened:
        """A complete record. Raises `TlsError`."""
        if seq == _SEQUENCE_END:
            raise TlsError(INTERNAL_ERROR, "the sequence numbers are used up")
        suite, cipher = self._suite, self._made_cipher()
        header, body = record[:HEADER], record[HEADER:]
        explicit = suite.explicit_size
        size = len(body) - explicit - suite.tag_size
        if size < 0:
            raise TlsError(BAD_RECORD_MAC, "a record is shorter than its tag")
        nonce = self._iv + body[:explicit] if explicit else self._nonce(seq)
        aad = header if suite.version == TLS13 else seq.to_bytes(8, "big") + header[:3] + size.to_bytes(2, "big")
        try:
            plain = cipher.decrypt(nonce, body[explicit:], aad)
        except InvalidTag:
            raise TlsError(BAD_RECORD_MAC, "a record cannot be opened") from None
        kind = header[0]
        if suite.version == TLS13:  # the type is the last byte that is not zero (RFC 8446 section 5.4)
            plain = plain.rstrip(b"\x00")
            kind = plain[-1] if plain else 0
            plain = plain[:-1]
        if not ALERT <= kind <= APPLICATION:
            raise TlsError(UNEXPECTED_MESSAGE, "a record has an unexpected type")
        if not plain and kind != APPLICATION:
            raise TlsError(UNEXPECTED_MESSAGE, "a record of an alert or a handshake message is empty")
        return Opened(kind, plain)
