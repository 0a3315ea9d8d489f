"""TLS of Python's `ssl` for clients and servers of tests: contexts of one version, and a blocking client."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.kit.certificates import Pair
from tests.kit.client import PATIENCE, Client

Version = Literal["1.2", "1.3"]
VERSIONS: tuple[Version, ...] = ("1.2", "1.3")
NEWEST_FIRST = ("1.3", pytest.param("1.2", marks=pytest.mark.all))
"""Parameters of tests that say the same of both versions: `make test` is content with one."""

HOST = "edge.test"
"""The name that clients ask for; certificates are for it unless a test says otherwise."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(
    ca: Path | str, version: Version, *, pair: Pair | None = None, alpn: Sequence[str] = (), keylog: Path | None = None
) -> ssl.SSLContext:
    """A context of one version that requires a certificate of this authority; `pair` is shown if it is asked for."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = context.maximum_version = _VERSIONS[version]
    if pair:
        context.load_cert_chain(*pair)
    if alpn:
        context.set_alpn_protocols(alpn)
    if keylog:
        context.keylog_filename = str(keylog)
    return context


def server_context(cert: Path | str, key: Path | str, version: Version | None = None) -> ssl.SSLContext:
    """A context of one version, or of both."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[version or "1.2"]
    context.maximum_version = _VERSIONS[version or "1.3"]
    context.load_cert_chain(cert, key)
    return context


class TlsClient(Client):
    """A blocking client whose connection is encrypted, record by record if a test wants to cut there.

    An end without close_notify is an `ssl.SSLEOFError`: somebody else may have cut the connection (RFC 8446
    section 6.1).
    """

    def __init__(
        self,
        address: str,
        context: ssl.SSLContext,
        host: str = HOST,
        patience: float = PATIENCE,
        *,
        shake_hands: bool = True,
    ) -> None:
        super().__init__(address, patience)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        if shake_hands:
            try:
                self.shake_hands()
            except BaseException:
                self.close()
                raise

    def shake_hands(self) -> None:
        """Go on with the handshake to its end. Raises `ssl.SSLError`, after telling the other side."""
        while True:
            try:
                flight = self.flight()
            except ssl.SSLError:
                self.send_raw(self._outgoing.read())
                raise
            self.send_raw(flight)
            if self.established:
                return
            self.hear()

    def flight(self) -> bytes:
        """What the handshake makes of the bytes that were heard, as it goes over the wire; nothing is sent."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    @property
    def established(self) -> bool:
        """Whether this side is done with the handshake."""
        return self.tls.version() is not None

    def hear(self) -> bytes:
        """Read from the wire once; empty at its end."""
        data = self.socket.recv(1 << 16)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return data

    def seal(self, data: bytes | str) -> bytes:
        """The records of these bytes; nothing is sent."""
        self.tls.write(data.encode() if isinstance(data, str) else data)
        return self._outgoing.read()

    def send_raw(self, data: bytes) -> None:
        """Send bytes of the wire."""
        super().send(data)

    def send(self, data: bytes | str) -> None:
        """Send all of it, encrypted."""
        self.send_raw(self.seal(data))

    def more(self) -> bytes:
        """At least one more byte into `unread`; empty after close_notify. Raises `ssl.SSLError`."""
        while True:
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self.hear()
                continue
            except ssl.SSLZeroReturnError:
                return b""
            self.send_raw(self._outgoing.read())  # an answer to KeyUpdate, if there is one
            self.unread += data
            return data

    def end_sending(self) -> None:
        """Say close_notify, and go on reading."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.send_raw(self._outgoing.read())
