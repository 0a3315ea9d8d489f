"""A client's connection of which only its first bytes tell what it is.

    accepted --> peek --begins a TLS record, tls_mode: permissive--> Handshaking
                   |  `--ClientHello complete, routes by sni--> tcp, to the cluster of that name
                   |--anything else--> the protocol's own connection, plaintext
                   `--silence for first_bytes_timeout--> the same: the server may have to speak first
                                  (without that key: closed after header_timeout)

Bytes are looked at, never taken (MSG_PEEK): whoever takes over reads them all. So it is a value, and moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hotswap.swappable import Schema
from proxy.tls.hello import LONGEST_HELLO, Hello, NotHello, looks_like_tls, read_hello
from proxy.tls.stage import Stage

if TYPE_CHECKING:
    from proxy.calls import Calls


class Undecided(Stage):
    """Waits for the first bytes."""

    __slots__ = ()

    kind: ClassVar[str] = "undecided"
    schema: ClassVar[Schema] = Schema(1, 1)

    def begin(self) -> None:
        """The first bytes are due."""
        config = self.listener.config
        self.expect_by(self.plane.now + (config.first_bytes_timeout or config.header_timeout))

    def readable(self, calls: Calls, now: float) -> None:
        """Look, and take nothing.

        What is looked at is no change: the plane looks again behind one, for a FIN, and would do so without end.
        """
        try:
            first = self.plane.peek(self.fd, LONGEST_HELLO)
        except OSError as error:
            self.plane.io_failed(self, error)
            return
        tls: bool | None = False
        if self.listener.tls is not None:
            tls = looks_like_tls(first) if first else False
        elif first:
            try:
                hello = read_hello(first)
            except NotHello:
                hello = Hello()
            if hello is None:
                return
            self.server_name = hello.server_name
        if tls is not None:
            self.plane.decided(self, tls=tls)

    def expired(self, now: float) -> None:
        """Nothing came, or not enough."""
        if self.listener.config.first_bytes_timeout is None:
            self.close()
        else:
            self.plane.decided(self, tls=False)

    def stage(self) -> str:
        """See `Connection.stage`."""
        return "undecided"
