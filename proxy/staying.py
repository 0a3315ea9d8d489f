"""Which connections cannot move in a handover, and why: they stay with their generation, which drains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.swappable import Reason
from proxy.sides import Downstream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxy.listener import Listener
    from proxy.reactor import Reactor

TLS = "tls"
"""What a destination must know to be given encrypted connections, and the name of the key that comes with them.

Workers of the source have keys of their own: their names go on with a slash and the number of the worker.
"""
NO_TLS = Reason("the new version does not know TLS", "no_tls")
SURPLUS = Reason("too many TLS handshakes are under way for all to follow", "handshakes")


def worker_of(name: str) -> int:
    """The number of the worker that a key is of."""
    number = name.partition("/")[2]
    return int(number) if number.isdecimal() else 0


class Staying:
    """The part of `proxy.server.ProxyServer` that knows."""

    listeners: dict[str, Listener]
    reactor: Reactor

    def __init__(self) -> None:
        self.unknown_tls = False
        """The destination of the attempt under way does not know TLS."""
        self._homeless: Mapping[str, str] = {}
        self._kept: dict[int, str] = {}

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        """An attempt begins. Every kind has one version so far; a destination may not know some of them."""
        self.unknown_tls = TLS not in chosen
        self._homeless = {
            listener.address: Reason(
                f"listener {listener.name!r} ({listener.address}) is not in the new configuration", "removed_listener"
            )
            for listener in (*self.listeners.values(), *self.reactor.acceptor.leaving)
            if listener.address not in wanted
        }
        self._kept = {}
        self._foresee(handover=True)

    def _foresee(self, *, handover: bool) -> None:
        """Tell those that prepare for a handover that one is to come, or that it is over. Not while frozen."""
        if not any(listener.config.handover == "quiet" for listener in self.listeners.values()):
            return
        for connection in list(self.reactor.connections.values()):
            if isinstance(connection, Downstream):
                connection.foresee(handover=handover)
        self.reactor.settle()

    def staying(self) -> Mapping[int, str]:
        """Connections of listeners that the destination lacks, what it refused, and their other sides."""
        surplus = self.reactor.tls.surplus() if self.reactor.tls.handshaking else ()
        if not self._homeless and not self._kept and not self.unknown_tls and not surplus:
            return {}
        connections = self.reactor.connections
        reasons = {serial: reason for serial, reason in self._kept.items() if serial in connections}
        for serial, connection in connections.items():
            if isinstance(connection, Downstream) and connection.listener.address in self._homeless:
                reasons.setdefault(serial, self._homeless[connection.listener.address])
        reasons |= dict.fromkeys(surplus, SURPLUS)
        if self.unknown_tls:
            encrypted = [serial for serial, one in connections.items() if one.tls is not None]
            reasons = dict.fromkeys(encrypted, NO_TLS) | reasons
        open_ends = list(reasons)
        while open_ends:
            serial = open_ends.pop()
            for bond in connections[serial].bonds():
                if bond.serial not in reasons:
                    reasons[bond.serial] = reasons[serial]
                    open_ends.append(bond.serial)
        return reasons

    def keep(self, serials: Collection[int], reason: str) -> None:
        """These stay, for the attempt under way."""
        self._kept.update(dict.fromkeys(serials, reason))
