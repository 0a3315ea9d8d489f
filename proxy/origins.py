"""Where clients wanted to go before a rule of the kernel's sent them here, and whether it makes sense to go on.

    redirect    the connection was translated to the listener's address; the kernel remembers where it went
    tproxy      it was not translated at all: its near address is where it went

Three kinds of connections have no place to go, and are reset: one of which the kernel knows nothing; one to the
listener itself, which no rule sent here; and one of the proxy's own, which a rule that does not exempt the proxy sent
back, and which would be sent back for ever. The last are told by their near address: a dial knows its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from hotswap.address import Address
from hotswap.log import fields
from proxy.sides import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.connection import Connection
    from proxy.listener import Listener
    from proxy.reactor import Reactor
    from proxy.sides import Downstream

QUIET: Final = 10.0
"""Seconds between two lines about connections that a listener refuses."""
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
_SPARE: Final = 64

log = logging.getLogger("proxy")


class Origins:
    """Asks for the original destination of connections. Does nothing until some listener wants it."""

    __slots__ = ("_bound", "_dials", "_quiet", "_reactor", "wanted")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._dials: dict[str, int] = {}  # near address -> serial. Derived from the connections
        self._bound = _SPARE
        self._quiet: dict[str, float] = {}  # listener address -> until when nothing more is said
        self.wanted = False
        """Some listener has ``original_dst``."""

    def follow(self, listeners: Iterable[Listener]) -> None:
        """These are the listeners now. Dials that were made before are made up for."""
        wanted = any(one.config.original_dst is not None for one in listeners)
        if wanted and not self.wanted:
            for connection in self._reactor.connections.values():
                self.placed(connection)
        self.wanted = wanted
        self._quiet = {}
        if not wanted:
            self._dials = {}

    def placed(self, connection: Connection) -> None:
        """A connection is there, made or restored. Those that we made are remembered."""
        if not isinstance(connection, Upstream):
            return
        dials = self._dials
        if len(dials) >= self._bound:
            alive = self._reactor.connections
            dials = self._dials = {name: serial for name, serial in dials.items() if serial in alive}
            self._bound = 2 * len(dials) + _SPARE
        dials[self._reactor.kernel.local_name(connection.fd)] = connection.serial

    def find(self, connection: Downstream) -> bool:
        """Set the destination of an accepted connection. False if there is none that it could be sent to."""
        kernel, listener, fd = self._reactor.kernel, connection.listener, connection.fd
        here = kernel.local_name(fd)
        if listener.config.original_dst == "tproxy":
            destination = here
            direct = self._is_ours(listener, Address.parse(here))
        else:
            destination = kernel.redirected_from(fd)
            direct = destination == here
        if not destination:
            why = "the kernel does not know where it went; is connection tracking on?"
        elif direct:
            why = "it went to the listener itself; only connections that a rule sends here can be served"
        elif self._dials.get(kernel.peer_name(fd)) in self._reactor.connections:
            why = "it is one of this proxy's own; exempt them from the rule, for example by the cluster's mark"
        else:
            connection.destination = destination
            return True
        self._say(connection, destination, why)
        return False

    def _is_ours(self, listener: Listener, near: Address) -> bool:
        address = listener.config.address
        if near.port != address.port:
            return False
        return near.host == address.host or (address.host in _EVERYWHERE and self._reactor.kernel.is_local(near.host))

    def _say(self, connection: Downstream, destination: str, why: str) -> None:
        """Once in a while: whoever sends one of these sends many."""
        listener, now = connection.listener, self._reactor.now
        if self._quiet.get(listener.address, now) <= now:
            self._quiet[listener.address] = now + QUIET
            about = fields(listener=listener.name, client=connection.remote, destination=destination, reason=why)
            log.warning("a connection is refused", extra=about)
