"""TLS of the agent's HTTPS: both sides show a certificate, and what stands in the client's decides what it may do.

The names of a client are the alternative names of its certificate, DNS names and URIs (RFC 5280 section 4.2.1.6); the
common name of its subject if it has none of any kind. DNS names compare without case. Clients get no tickets, and
sessions end with the context: who is no longer trusted after a renewal is out at once.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hotswap.control import Request, Response, Route
from hotswap.errors import ConfigError
from hotswap.http import EventStream, HttpError
from hotswap.log import Once, fields
from hotswap.wire import Wire

if TYPE_CHECKING:
    import socket

    from vm_agent.spec.model import HttpSettings

T = TypeVar("T")

log = logging.getLogger("vm_agent")

_CHUNK = 65536
_FILE_LIMIT = 1 << 20  # bytes


class TlsWire(Wire):
    """A connection of which nothing is read before the client has proved itself."""

    __slots__ = ("_incoming", "_outgoing", "_refused", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, refused: Callable[[str], None]) -> None:
        """`refused` hears why a handshake failed."""
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._refused = refused

    async def open(self) -> None:
        """The handshake."""
        try:
            await self._carry(self._tls.do_handshake)
        except ssl.SSLError as error:
            self._refused(_reason(error))
            raise
        self.names = names_of(self._tls.getpeercert() or {})

    async def recv(self, most: int) -> bytes:
        """See `Wire`; an end without close_notify raises `ssl.SSLError`: somebody else may have cut it."""
        try:
            return await self._carry(lambda: self._tls.read(most))
        except ssl.SSLZeroReturnError:
            return b""

    async def send(self, data: bytes) -> None:
        """See `Wire`."""
        self._tls.write(data)
        await self._flush()

    async def end(self) -> None:
        """See `Wire`."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client's close_notify is not waited for, and what it sends instead is dropped
        await self._flush()
        await super().end()

    async def _carry(self, step: Callable[[], T]) -> T:
        """Take `step` once there is enough of the client's bytes for it."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError:
                await self._flush()  # an alert that says why
                raise
            else:
                await self._flush()
                return result
            data = await super().recv(_CHUNK)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await super().send(data)


class Identity:
    """The agent's certificate and whom it believes: read from files, and again when they change."""

    def __init__(self, settings: HttpSettings) -> None:
        """Raises `ConfigError` with the file that cannot be used, and the remedy."""
        self._settings = settings
        self.files = (settings.certificate, settings.key, settings.client_ca)
        self._seen = self._digest()
        self._context = context_of(settings)
        self._strangers = Once()

    def wire(self, sock: socket.socket) -> TlsWire:
        """For a connection that was accepted just now."""
        return TlsWire(sock, self._context, self._refused)

    def renew(self) -> None:
        """Take the files if they changed. Broken ones are told once, and those from before stay in use."""
        found = self._digest()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._context = context_of(self._settings)
        except ConfigError as error:
            log.error("not taken, the one from before stays in use", extra=fields(reason=str(error)))  # noqa: TRY400
        else:
            log.info("certificates of the agent are renewed", extra=fields(certificate=self._settings.certificate))

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for file in self.files:
            try:
                with Path(file).open("rb") as stream:
                    digest.update(hashlib.sha256(stream.read(_FILE_LIMIT)).digest())
            except OSError as error:
                digest.update(str(error.errno).encode())
        return digest.digest()

    def _refused(self, reason: str) -> None:
        if self._strangers.first(reason):
            log.warning("refused a client of HTTPS, the first for this reason", extra=fields(reason=reason))


def context_of(settings: HttpSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer; clients show a certificate of the authority. Raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["http/1.1"])
    _secret(settings.key)
    for file in (settings.certificate, settings.key, settings.client_ca):
        _readable(file)
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: b"")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ConfigError(
            f"http: {settings.certificate} and {settings.key}: {_reason(error)}: give a chain in PEM, the agent's own "
            f"certificate first, and the key of it without a passphrase"
        ) from None
    try:
        context.load_verify_locations(settings.client_ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"http.client_ca: {settings.client_ca}: {_reason(error)}: give certificates in PEM") from None
    if not context.get_ca_certs():
        raise ConfigError(f"http.client_ca: {settings.client_ca} holds no authority: give certificates of authorities")
    return context


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or str(error)).lower().replace("_", " ")


def _readable(file: str) -> None:
    try:
        with Path(file).open("rb") as stream:
            stream.read(1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"http: {file} cannot be read: {reason}: make it readable for the agent, or take http out of the settings"
        ) from None


def _secret(key: str) -> None:
    try:
        mode = Path(key).stat().st_mode
    except OSError:
        return  # reading says why
    if mode & stat.S_IRWXO:
        raise ConfigError(f"http.key: everybody may use {key} (mode {stat.S_IMODE(mode):04o}): chmod 0600 it")


def names_of(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom a certificate names, as `ssl.SSLSocket.getpeercert` has it."""
    alternatives = certificate.get("subjectAltName") or ()
    if alternatives:
        return tuple(_comparable(value, kind) for kind, value in alternatives if kind in ("DNS", "URI"))
    parts = (part for parts in certificate.get("subject") or () for part in parts)
    return tuple(value for kind, value in parts if kind == "commonName")[:1]


def _comparable(name: str, kind: str) -> str:
    return name.lower() if kind == "DNS" else name


def guarded(
    routes: Mapping[tuple[str, str], Route], allow: Iterable[str], reads: frozenset[str]
) -> dict[tuple[str, str], Route]:
    """The same routes; all but those that only look are for clients that `allow` names (empty: for all of them)."""
    allowed = frozenset(allow)
    if not allowed:
        return dict(routes)
    allowed |= {name.lower() for name in allowed if "/" not in name}
    return {
        (method, path): route if method == "GET" and path in reads else _guard(route, allowed)
        for (method, path), route in routes.items()
    }


def _guard(route: Route, allowed: frozenset[str]) -> Route:
    async def guard(request: Request) -> Response | EventStream:
        if allowed.isdisjoint(request.names):
            who = ", ".join(request.names) or "a client without a name"
            raise HttpError(403, f"{who} may only look: `http.allow` of the agent's settings names who gives orders")
        return await route(request)

    return guard
