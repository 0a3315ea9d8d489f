"""The far end of a simulated connection, speaking TLS: Python's ssl over memory BIOs, a peer that nobody here wrote."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.certificates import Pair
    from tests.proxy.simulation import Socket


class Far:
    """Plays one side of TLS on a simulated socket, and takes the plaintext out."""

    def __init__(self, socket: Socket, context: ssl.SSLContext, *, server: bool = False, name: str = "") -> None:
        self.socket = socket
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name or None)
        self.plain = b""
        self.ended = False
        """The other side sent its close_notify."""

    def handshake(self) -> Far:
        """To the end."""
        for _ in range(20):
            if self.step():
                self.pull()
                return self
        raise AssertionError("the handshake does not come to an end")

    def step(self) -> bool:
        """One flight. True once it is done."""
        self._in.write(self.socket.take())
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        else:
            done = True
        self.push()
        return done

    def push(self, data: bytes | None = None) -> None:
        """Let what was sealed out, or this in its place."""
        out = self._out.read() if data is None else data
        if out:
            self.socket.send(out)

    def seal(self, data: bytes) -> bytes:
        """Records that are not sent yet."""
        self.tls.write(data)
        return self._out.read()

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.push()

    def pull(self) -> None:
        """Open what came."""
        self._in.write(self.socket.take())
        while not self.ended:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            self.ended = not data
            self.plain += data

    def take(self) -> bytes:
        """The plaintext since the last look."""
        self.pull()
        data, self.plain = self.plain, b""
        return data

    def goodbye(self) -> None:
        """Our close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.push()


def client_context(ca: Path, version: str = "1.3") -> ssl.SSLContext:
    """One that trusts this authority and speaks this version."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = context.maximum_version = _VERSIONS[version]
    return context


def server_context(pair: Pair, version: str = "1.3") -> ssl.SSLContext:
    """One that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.minimum_version = context.maximum_version = _VERSIONS[version]
    return context


_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
