"""A far end that can do what Python's ssl cannot: change its keys, and ask for ours. Made of our own parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.tls_model import CertificateConfig, ClusterTlsConfig, ListenerTlsConfig
from proxy.tls.contexts import ClientContexts, ServerContexts
from proxy.tls.handshake import Handshake
from proxy.tls.suites import TLS13
from tests.proxy.tls.pairs import granted, seal

if TYPE_CHECKING:
    from proxy.tls.session import Session
    from tests.kit.certificates import Authority, Pair
    from tests.proxy.tls.wire import Wire

PORTION = 16384
"""Bytes of a read: what follows the handshake must not be taken for a part of it."""
SUITES = {
    "1.2": ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    "1.3": ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
}


class Updating:
    """One side of TLS on a wire."""

    def __init__(self, wire: Wire, handshake: Handshake) -> None:
        self.wire = wire
        self._handshake = handshake
        self._session: Session | None = None
        self.plain = b""
        self.ended = False
        """The other side sent its close_notify."""

    @property
    def updates(self) -> bool:
        """Its version has KeyUpdates, and it may still send one."""
        session = self._session
        return session is not None and session.layer.version == TLS13 and not session.closed_out

    def step(self) -> bool:
        """One flight. True once it is done."""
        data = self.wire.take()
        for at in range(0, len(data), PORTION):
            portion = data[at : at + PORTION]
            if self._session is not None:
                self.plain += self._session.receive(portion)
            elif self._handshake.receive(portion):
                self._session = self._handshake.finish(granted())
        self._out(b"")
        return self._session is not None

    def send(self, data: bytes) -> None:
        self._out(data)

    def update(self, *, ask: bool) -> None:
        """Go on under the next key, and perhaps ask for the same."""
        if self._session is not None:
            self._session.update(ask=ask)
            self._out(b"")

    def pull(self) -> None:
        """Open what came."""
        session = self._session
        if session is not None:
            self.plain += session.receive(self.wire.take())
            self.ended = session.closed_in
            self._out(b"")
            if session.error is not None:
                raise ConnectionError(str(session.error))

    def goodbye(self) -> None:
        """Our close_notify."""
        if self._session is not None:
            self._session.close()
            self._out(b"")

    def _out(self, data: bytes) -> None:
        session = self._session
        if session is None:
            sealed, self._handshake.sealed = self._handshake.sealed, b""
            self.wire.send(sealed)
        elif data or session.sealed:
            self.wire.send(seal(session, data))


def updating_client(wire: Wire, authority: Authority, suite: str) -> Updating:
    contexts = ClientContexts(ClusterTlsConfig(ca=str(authority.file), ciphers=(suite,)))
    ssl = contexts.connection("edge.test")
    handshake = Handshake(ssl, server=False, refusal=contexts.refusal, identity=contexts.identity)
    handshake.begin()
    return Updating(wire, handshake)


def updating_server(wire: Wire, pair: Pair, suite: str) -> Updating:
    contexts = ServerContexts(ListenerTlsConfig(certificates=(CertificateConfig(**pair.config),), ciphers=(suite,)))
    ssl = contexts.connection()
    return Updating(wire, Handshake(ssl, server=True, refusal=contexts.refusal, identity=contexts.identity))
