"""Handshakes between what `proxy.tls.contexts` makes and Python's ssl, a peer of its own, over memory."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from OpenSSL import SSL

from proxy.config.tls_model import CertificateConfig, ClusterTlsConfig, ListenerTlsConfig
from proxy.tls.contexts import ClientContexts, ServerContexts, failure
from tests.kit.certificates import Authority, Pair

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def config(pair: Pair) -> CertificateConfig:
    return CertificateConfig(**pair.config)


def listener(*pairs: Pair, **settings: Any) -> ServerContexts:
    return ServerContexts(ListenerTlsConfig(certificates=tuple(map(config, pairs)), **settings))


def cluster(ca: Authority | None, **settings: Any) -> ClientContexts:
    return ClientContexts(ClusterTlsConfig(ca=str(ca.file) if ca else None, **settings))


def common_name(peer: ssl.SSLObject) -> str:
    certificate: Any = peer.getpeercert()
    return str(certificate["subject"][0][0][1])


@dataclass
class Outcome:
    """How a handshake ended. `error` is what our side says, `peers_error` what the other one does."""

    ours: SSL.Connection
    peer: ssl.SSLObject
    error: str = ""
    peers_error: str = ""
    lines: list[bytes] = field(default_factory=list)
    """Labels of the key log."""

    @property
    def done(self) -> bool:
        return not self.error and not self.peers_error


class Labels:
    """In the place of `proxy.tls.layer.Secrets`."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def line(self, line: bytes) -> None:
        self._lines.append(line.split()[0])


def shake(
    ours: SSL.Connection,
    context: ssl.SSLContext,
    name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> Outcome:
    """Until both sides are done, or one gives up. `context` of a client sends `name`."""
    to_peer, from_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.protocol == ssl.PROTOCOL_TLS_SERVER
    peer = context.wrap_bio(to_peer, from_peer, server_side=server, server_hostname=name, session=session)
    outcome = Outcome(ours, peer)
    ours.set_app_data(Labels(outcome.lines))
    open_ends = {"ours", "peer"}
    for _ in range(12):
        try:
            ours.do_handshake()
            open_ends.discard("ours")
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            outcome.error = outcome.error or failure(ours, error)
        carry(ours, to_peer)
        try:
            peer.do_handshake()
            open_ends.discard("peer")
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            outcome.peers_error = outcome.peers_error or str(error)
        data = from_peer.read()
        if data:
            ours.bio_write(data)
        if not open_ends and not data:
            break
    if outcome.done:
        assert not open_ends, "the handshake does not come to an end"
        read(peer)
    return outcome


def carry(ours: SSL.Connection, to_peer: ssl.MemoryBIO) -> None:
    try:
        while True:
            to_peer.write(ours.bio_read(65536))
    except SSL.WantReadError:
        pass


def read(peer: ssl.SSLObject) -> None:
    """Let it take its tickets, and alerts that came after the handshake."""
    try:
        peer.read(1)
    except ssl.SSLWantReadError:
        pass


def client(ca: str | None = None, **versions: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that checks host names if it has a root, else takes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


def server(cert: str, key: str, ca: str | None = None) -> ssl.SSLContext:
    """A server that asks for a certificate if it has a root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
