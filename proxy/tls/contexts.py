"""What a handshake must know: made from the configuration and its files, never moved.

    ServerContexts   of a listener: its certificates, chosen by the client's host name (SNI); whom it asks for one
    ClientContexts   of a cluster: whom it trusts, which names it wants to see, what it shows

A context of OpenSSL cannot change once it is in use. When files change, `renewal.renew` makes new ones; connections
that are there keep what they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL

from proxy.tls.certificates import Shown, names_of
from proxy.tls.errors import HANDSHAKE_FAILURE, NOT_ACCEPTED, TlsError
from proxy.tls.files import fingerprint
from proxy.tls.names import admitted, expected, is_name, names_host
from proxy.tls.openssl import clean, load_pair, load_roots, new_context, verdict, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from OpenSSL.crypto import X509

    from proxy.config.tls_model import ClusterTlsConfig, ListenerTlsConfig

MOST_SHOWN: Final = 10
"""Names of a certificate that an error message shows."""
OUTPUT: Final = 16384
"""Bytes of OpenSSL's that are asked for at once."""
MOST_KEPT: Final = 32
"""Names of a client that are kept with its connection: they move with it."""


class Handshaking(SSL.Connection):
    """A connection of OpenSSL over memory BIOs, for one handshake."""

    def __init__(self, context: SSL.Context, host: str = "") -> None:
        super().__init__(context, None)
        self.host = host
        """What an endpoint is called by: a name or an address."""
        self.problem = ""
        """Why the peer's certificate is not accepted; see `failure`."""

    def advance(self) -> bool:
        """One step on, with what came by `bio_write`. True once it is done. Raises `TlsError`."""
        try:
            self.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TlsError(HANDSHAKE_FAILURE, failure(self, error)) from None
        return True

    def written(self) -> bytes:
        """What OpenSSL has for the peer."""
        output = b""
        try:
            while True:
                piece = self.bio_read(OUTPUT)
                output += piece
                if len(piece) < OUTPUT:
                    break
        except SSL.WantReadError:
            pass
        return output


class _Contexts:
    """What both sides share: which files were read."""

    def __init__(self, files: Iterable[str | None]) -> None:
        self.files: tuple[str, ...] = tuple(dict.fromkeys(path for path in files if path is not None))
        """Absolute paths."""
        # Before they are loaded: what changes in between is loaded once more, never missed.
        self.read: dict[str, str] = {path: fingerprint(path) for path in self.files}
        self.refused: dict[str, str] = {}
        """Contents that could not be used in place of these, so that each is told about once."""

    @staticmethod
    def identity(connection: SSL.Connection) -> tuple[str, ...]:
        """The names in the certificate of the peer if it was verified, as `proxy.tls.names` writes them; or nothing."""
        if not connection.get_verify_mode() & SSL.VERIFY_PEER:
            return ()
        return (_peer_names(connection) or ())[:MOST_KEPT]


class ServerContexts(_Contexts):
    """What a TLS listener shows and asks for."""

    def __init__(self, config: ListenerTlsConfig) -> None:
        """Reads the files. Raises `ConfigError` with the file and the remedy."""
        clients = config.client_certificates
        pairs = [path for one in config.certificates for path in (one.cert, one.key)]
        super().__init__([*pairs, clients.ca if clients else None])
        self.config = config
        self.certificates = tuple(Shown(one) for one in config.certificates)
        self._alpn = [name.encode() for name in config.alpn]
        self._made: dict[tuple[Shown, ...], SSL.Context] = {}
        by_name = _by_name(self.certificates)
        first = self.certificates[0]
        twins = [one for one in self.certificates if one.names == first.names and one.kind != first.kind]
        self._first = self._context((first, *twins[:1]))
        contexts = {name: self._context(shown) for name, shown in by_name.items()}
        self._exact = {name: one for name, one in contexts.items() if not name.startswith("*.")}
        self._below = {name[2:]: one for name, one in contexts.items() if name.startswith("*.")}

    def _context(self, shown: tuple[Shown, ...]) -> SSL.Context:
        """The one that shows these, of which OpenSSL takes the one whose kind of key the client knows."""
        if shown in self._made:
            return self._made[shown]
        config = self.config
        context = new_context(server=True, min_version=config.min_version, ciphers=config.ciphers)
        for one in shown:
            load_pair(context, one.config.cert, one.config.key)
        if not config.tickets:
            context.set_options(SSL.OP_NO_TICKET)
        if self._alpn:
            context.set_alpn_select_callback(self._agree)
        if len(config.certificates) > 1:
            context.set_tlsext_servername_callback(self._choose)
        clients = config.client_certificates
        if clients is not None:
            load_roots(context, clients.ca, _accepted, optional=clients.mode == "optional")
            context.load_client_ca(clients.ca.encode())
        self._made[shown] = context
        return context

    def connection(self) -> Handshaking:
        """A fresh one that waits for a ClientHello."""
        connection = Handshaking(self._first)
        connection.set_accept_state()
        return connection

    def _choose(self, connection: SSL.Connection) -> None:
        """By the client's host name: exactly this one, a wildcard in the place of its first label, the first of all."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower().removesuffix(".")
        context = self._exact.get(name) or self._below.get(name.partition(".")[2])
        if context is not None and context is not connection.get_context():
            connection.set_context(context)

    def _agree(self, _connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
        """Our first protocol that the client offers. None: alert no_application_protocol (RFC 7301 section 3.2)."""
        for name in self._alpn:
            if name in offered:
                return name
        theirs = ", ".join(clean(one.decode("ascii", "backslashreplace")) for one in offered[:MOST_SHOWN])
        raise SSL.Error([("", "", f"the client speaks {theirs} by ALPN, this listener {', '.join(self.config.alpn)}")])

    def refusal(self, connection: SSL.Connection) -> str:
        """After the handshake: why the client is not admitted, or nothing. Resumed sessions are judged, too."""
        clients = self.config.client_certificates
        if clients is None or not clients.sans:
            return ""
        names = _peer_names(connection)
        if names is None:
            return ""  # the handshake itself refuses this if one is required
        return (
            ""
            if admitted(names, clients.sans)
            else f"its certificate is for {_listed(names)}, none of which is in sans"
        )

    def expires(self) -> float:
        """When the first certificate that is shown ends, in Unix seconds."""
        return min(one.until for one in self.certificates)

    def describe(self, wall: float) -> dict[str, Any]:
        """For status. `wall` is now, in Unix seconds."""
        return {
            "certificates": [one.describe(wall) for one in self.certificates],
            "min_version": self.config.min_version,
            "client_certificates": self.config.client_certificates.mode if self.config.client_certificates else None,
        }


def _peer_names(connection: SSL.Connection) -> tuple[str, ...] | None:
    """The names in the certificate of the peer; None without one. What cannot be read has none."""
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
    except ValueError:
        return ()
    return None if certificate is None else names_of(certificate)


def _by_name(certificates: Sequence[Shown]) -> dict[str, tuple[Shown, ...]]:
    """For each host name the first certificate of each kind of key that has it."""
    found: dict[str, dict[str, Shown]] = {}
    for one in certificates:
        for name in one.names:
            if name.startswith("DNS:"):
                found.setdefault(name.removeprefix("DNS:"), {}).setdefault(one.kind, one)
    return {name: tuple(kinds.values()) for name, kinds in found.items()}


class ClientContexts(_Contexts):
    """How the endpoints of a cluster are spoken to by TLS, and which of them are believed."""

    def __init__(self, config: ClusterTlsConfig) -> None:
        """Reads the files. Raises `ConfigError` with the file and the remedy."""
        own = config.certificate
        super().__init__([config.ca if config.verify else None, *((own.cert, own.key) if own else ())])
        self.config = config
        self.certificates = (Shown(own),) if own else ()
        self._context = new_context(server=False, min_version=config.min_version, ciphers=config.ciphers)
        if own:
            load_pair(self._context, own.cert, own.key)
        if config.alpn:
            self._context.set_alpn_protos([name.encode() for name in config.alpn])
        if config.verify:
            load_roots(self._context, config.ca, self._accepted)

    def connection(self, host: str) -> Handshaking:
        """A fresh one that will say hello to an endpoint. `host` is what the configuration calls it, without port."""
        asked = self.config.sni or host
        connection = Handshaking(self._context, asked)
        if is_name(asked):
            connection.set_tlsext_host_name(asked.removesuffix(".").encode())
        connection.set_connect_state()
        return connection

    def _accepted(self, connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        """OpenSSL's judgement of the chain, then ours of the name: before our own certificate is shown."""
        if not _accepted(connection, certificate, error, depth, ok):
            return False
        if depth == 0 and isinstance(connection, Handshaking):
            connection.problem = self._misnamed(certificate, connection.host)
            return not connection.problem
        return True

    def _misnamed(self, certificate: X509, host: str) -> str:
        """Why it is not one for this endpoint, or nothing."""
        try:
            names = names_of(certificate.to_cryptography())
        except ValueError as error:
            return f"it is malformed: {error}"
        allowed = self.config.sans
        if allowed:
            return "" if admitted(names, allowed) else f"it is for {_listed(names)}, none of which is in sans"
        if names_host(names, expected(host)):
            return ""
        return f"it is for {_listed(names)}, not for {host}; see sni and sans"

    def refusal(self, _connection: SSL.Connection) -> str:
        """After the handshake: nothing. It fails itself for an endpoint that is not believed."""
        return ""

    def describe(self, wall: float) -> dict[str, Any]:
        """For status. `wall` is now, in Unix seconds."""
        return {
            "certificates": [one.describe(wall) for one in self.certificates],
            "min_version": self.config.min_version,
            "verify": self.config.verify,
        }


def _accepted(connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:  # noqa: ARG001
    """OpenSSL's judgement of one certificate of the peer's chain; keeps the reason, which OpenSSL forgets.

    It must not raise: pyOpenSSL keeps exceptions at the context, where with several certificates another handshake
    would meet them.
    """
    if not ok and isinstance(connection, Handshaking):
        connection.problem = verdict(certificate, error)
    return bool(ok)


def failure(connection: SSL.Connection, error: SSL.Error) -> str:
    """Why a handshake failed, in words."""
    problem = connection.problem if isinstance(connection, Handshaking) else ""
    return f"{NOT_ACCEPTED}: {problem}" if problem else words(error)


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
    return listed or "no name at all"
