"""Contexts of OpenSSL with the settings that all of ours have, and the words for what OpenSSL refuses.

versions      TLS 1.2 and 1.3
suites        AEAD only, see `policy`
off           compression, renegotiation, sessions kept in memory, early data (RFC 8446 section 8)
key log       into the `proxy.tls.layer.Secrets` of the connection, which sees the secrets of its handshake; no file
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from OpenSSL import SSL
from OpenSSL.crypto import X509StoreFlags

from proxy.tls.certificates import parse
from proxy.tls.files import Unusable, refuse_encrypted, require_file
from proxy.tls.policy import USUAL, USUAL_12, has_short_tag, is_13

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from OpenSSL.crypto import X509

    Verify = Callable[[SSL.Connection, X509, int, int, int], bool]

_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
LONGEST_SHOWN: Final = 64
_SAME_SESSIONS: Final = b"hotswap"
"""Tickets of one context of a listener are good for its others, which have another certificate only."""


def new_context(*, server: bool, min_version: str, ciphers: Sequence[str]) -> SSL.Context:
    """A context without certificates and trust. No `ciphers`: the usual ones."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    named = ciphers or USUAL
    of_13, of_12 = [name for name in named if is_13(name)], [name for name in named if not is_13(name)]
    context.set_min_proto_version(_VERSIONS[min_version] if of_12 else SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION if of_13 else SSL.TLS1_2_VERSION)
    context.set_tls13_ciphersuites(":".join(of_13).encode())
    level = ["@SECLEVEL=0"] if any(map(has_short_tag, named)) else []
    context.set_cipher_list(":".join([*(of_12 or USUAL_12), *level]).encode())
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SAME_SESSIONS)
    context.set_keylog_callback(_keep)
    return context


def _keep(connection: SSL.Connection, line: bytes) -> None:
    secrets = connection.get_app_data()
    if secrets is not None:
        secrets.line(line)


def load_pair(context: SSL.Context, cert: str, key: str) -> None:
    """Let a context show this certificate. Raises `Unusable`."""
    require_file(cert)
    refuse_encrypted(key)  # OpenSSL would ask whoever sits at the terminal
    try:
        context.use_certificate_chain_file(cert)
    except SSL.Error as error:
        parse(cert)  # its words are better
        raise Unusable(cert, f"cannot be used: {words(error)}; get another certificate") from None
    try:
        context.use_privatekey_file(key)
        context.check_privatekey()
    except SSL.Error as error:
        text = words(error)
        if "mismatch" in text or "no certificate assigned" in text:
            raise Unusable(key, f"is not the key of {cert}; name the two that belong together") from None
        raise Unusable(key, "holds no private key in PEM form; name the file with BEGIN PRIVATE KEY") from None


def load_roots(context: SSL.Context, ca: str | None, verify: Verify, *, optional: bool = False) -> None:
    """Ask the peer for a certificate that this file vouches for. None: the trust store of the system.

    What is in the file is trusted, root or not: one may name an intermediate authority, or a single peer. Raises
    `Unusable`.
    """
    if ca is None:
        context.set_default_verify_paths()
    else:
        parse(ca)
        try:
            context.load_verify_locations(ca)
        except SSL.Error as error:
            raise Unusable(ca, f"cannot be used: {words(error)}; get the file once more") from None
    store = context.get_cert_store()
    if store is not None:
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    mode = SSL.VERIFY_PEER if optional else SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode, verify)


def words(error: SSL.Error) -> str:
    """OpenSSL's own."""
    reasons = [str(one[-1]) for one in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(dict.fromkeys(filter(None, reasons))) or "the handshake failed"


_VERDICTS: Final = {
    2: "{issuer}, which signed it, is not trusted",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself and not trusted",
    19: "its root {subject} is not trusted",
    20: "{issuer}, which signed it, is not trusted",
    21: "{issuer}, which signed it, is not trusted",
    23: "it has been revoked",
    24: "{subject} is no authority and may not sign others",
    26: "it is not made for this purpose (extended key usage)",
    79: "{subject} is no authority and may not sign others",
}
"""By the numbers of openssl-verify(1), x509_vfy.h."""


def verdict(certificate: X509, number: int) -> str:
    """Why OpenSSL does not accept a certificate of the peer's chain."""
    issuer = subject = ""
    try:
        known = certificate.to_cryptography()
        issuer, subject = known.issuer.rfc4514_string(), known.subject.rfc4514_string()
    except ValueError:
        pass  # malformed; that it is not accepted is all there is to say
    text = _VERDICTS.get(number, f"it was not accepted, X509_V_ERR {number}")
    return text.format(issuer=clean(issuer) or "the one", subject=clean(subject) or "one of its chain")


def clean(name: str) -> str:
    """A text of a stranger, for a line of a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:LONGEST_SHOWN]
