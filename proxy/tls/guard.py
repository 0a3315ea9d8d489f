"""What stands between a connection and the wire, as the connection sees it (`Connection.tls`).

    dialled, accepted --> Handshake --done--> Session        Anew: a handshake of the generation before
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.calls import Calls
    from proxy.connection import Connection
    from proxy.tls.layer import Vault
    from proxy.tls.state import TlsState


class Guard:
    """A handshake, or the session that came of one."""

    __slots__ = ("closed_in", "dialling", "sealed", "unheard", "waiting")

    def __init__(self) -> None:
        self.sealed = b""
        """Records that are not written yet: before anything else."""
        self.dialling = False
        """The connection below it is still to be made."""
        self.waiting = False
        """It has whole records, or an end to tell: once the connection is read again."""
        self.unheard = False
        """Of a client of TLS 1.3: the peer may still refuse us, see `Session`."""
        self.closed_in = False
        """The peer's close_notify came."""

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Bytes of the wire came."""
        raise NotImplementedError

    def write(self, calls: Calls, fd: int, outbox: bytes | bytearray) -> int:
        """Write what is sealed, then seal from the outbox as much as the socket takes.

        Returns how many bytes of the outbox are done with. `OSError` as of a write, if nothing of it is.
        """
        raise NotImplementedError

    def pass_on(self, other: Connection) -> None:
        """The stream has ended, and so will `other`, which it was passed on to."""

    def end(self) -> None:
        """The connection is over, or lives elsewhere: forget the keys."""

    def save(self, vault: Vault) -> TlsState:
        """As it travels."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """For people."""
        raise NotImplementedError
