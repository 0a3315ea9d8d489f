"""What a layer sees of its surroundings: the plane it lives on, and the places a restored connection belongs to.

`proxy.reactor.Reactor` is the plane, `proxy.server.ProxyServer` knows the places. This module imports neither them nor
any layer: connections know their plane by this class.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hotswap.address import Address
    from proxy.acceptor import Acceptor
    from proxy.cluster import Cluster
    from proxy.connection import Connection
    from proxy.dialling import Dials
    from proxy.endpoint import Endpoint
    from proxy.flow import Flow
    from proxy.guests import Guests
    from proxy.kernel import Kernel
    from proxy.listener import Listener
    from proxy.proxy_protocol.header import Pair
    from proxy.sides import Downstream, Upstream
    from proxy.tls.plane import TlsPlane


class Plane:
    """What a layer sees of the reactor, which is the only one there is: it makes the parts, and adds the ticks."""

    __slots__ = ("acceptor", "dials", "draining", "flows", "guests", "kernel", "next_serial", "now", "tls", "unflushed")

    kernel: Kernel
    """Layers may ask nothing of it but `peek` and `ends`, by the verbs below."""
    next_serial: int
    """Of the next connection, or of what lives on one."""
    now: float
    """Monotonic seconds at the start of this tick. Read only for layers."""
    unflushed: list[Connection]
    """Connections with work for the end of the tick: bytes to write, a FIN, a changed interest."""
    flows: list[Flow]
    """Bytes that were counted in this batch, to be told at its end."""
    draining: bool
    """True once no new work is wanted: keep-alive connections end after the current request."""
    tls: TlsPlane
    """Handshakes, and what all sessions need."""
    dials: Dials
    guests: Guests
    acceptor: Acceptor

    # ---- verbs of layers ----

    def dial(self, connection: Upstream, address: Address) -> None:
        """Connect a new `connection`; `connected` or `connect_failed` follows, never from within."""
        self.dials.dial(connection, address)

    def in_plaintext(self, connection: Connection, reason: str, code: int = 0) -> bool:
        """TLS to its endpoint could not be had: dial it anew without. False if its cluster is strict, or it is there.

        `connected` or `connect_failed` follows as after `dial`. `code`: an errno, where there is no better reason.
        """
        return self.dials.in_plaintext(connection, reason, code)

    def replace(self, old: Connection, new: Connection) -> None:
        """Give the descriptor of `old` to `new`, a value of another kind, which has a serial of its own."""
        raise NotImplementedError

    def peek(self, fd: int, size: int) -> bytes:
        """Bytes that came, without taking them; empty at the end. Failures are `OSError`."""
        return self.kernel.peek(fd, size)

    def ends(self, fd: int) -> Pair | None:
        """The peer's address and its own; None if the kernel does not tell any more."""
        return self.kernel.ends(fd)

    def introduced(self, former: Downstream, remote: str, pair: Pair | None) -> None:
        """The PROXY protocol header of this connection was read: its protocol takes over."""
        self.acceptor.introduced(former, remote, pair)

    def decided(self, former: Downstream, *, tls: bool) -> None:
        """The first bytes of this connection told what it is: a handshake, or its protocol, takes over."""
        self.acceptor.decided(former, tls=tls)

    def secured(self, former: Downstream) -> None:
        """The TLS handshake of this client is done: its protocol takes over."""
        self.acceptor.secured(former)

    def changes_over(self, former: Downstream, first: bytes) -> None:
        """This client of HTTP/1.1 speaks HTTP/2, as its first bytes tell."""
        self.acceptor.changes_over(former, first)

    def host(self, connection: Connection) -> None:
        """Give something that lives on another's transport a serial, alarms, and a place in the flush."""
        self.guests.host(connection)

    def unhost(self, connection: Connection) -> None:
        """It is over."""
        self.guests.unhost(connection)

    # ---- what is done with ticks ----

    def tell(self) -> None:
        """Tell the counters what was collected for them."""
        flows, self.flows = self.flows, []
        for flow in flows:
            flow.settle()

    # ---- what a connection itself calls ----

    def read_on(self, connection: Connection) -> None:
        """The first read came full. Called by `Connection.readable`, like the next four."""
        raise NotImplementedError

    def unread(self, connection: Connection) -> None:
        """Readable, but not read to the end: have epoll say so again."""
        raise NotImplementedError

    def at_end(self, connection: Connection) -> None:
        """The peer's FIN was read."""
        raise NotImplementedError

    def io_failed(self, connection: Connection, error: OSError) -> None:
        """A read or a write failed, perhaps only for now."""
        raise NotImplementedError

    def follow(self, connection: Connection) -> None:
        """The flags or the epoll interest may have to be acted upon."""
        raise NotImplementedError

    def close(self, connection: Connection, *, reset: bool) -> None:
        """End the connection now. Layers call `Connection.close` and `Connection.reset`."""
        raise NotImplementedError

    def wake(self, connection: Connection, when: float) -> None:
        """Look at ``connection.due()`` at `when`. Layers call `Connection.wake`."""
        raise NotImplementedError


class Places(Protocol):
    """Where restored connections find what they belong to. See `Connection.load`."""

    def listener(self, name: str, address: str, protocol: str) -> Listener:
        """The listener of that address, whatever its name is now. Raises `CannotRestore` if there is none."""

    def cluster(self, name: str) -> Cluster:
        """The cluster of that name. Raises `CannotRestore` if it is gone."""

    def endpoint(self, cluster: str, address: str) -> Endpoint:
        """The endpoint of that cluster. Raises `CannotRestore` if the cluster is gone.

        An endpoint that the cluster no longer has lives on for these connections only.
        """

    def link(self, connection: Connection, serial: int) -> None:
        """Set ``connection.peer`` to the connection with that serial (0: none), now or once it is restored."""

    def hosted(self, connection: Connection) -> None:
        """One that lives on another's transport was restored with it: see `Plane.host`."""

    def unhosted(self, connection: Connection) -> None:
        """It is not there any more."""

    def expect(self, connection: Connection, serials: Collection[int]) -> dict[int, Connection]:
        """Those of these connections that are there. Each of the others is given to `Connection.met` once it is."""
