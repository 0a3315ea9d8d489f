"""A changed configuration for a proxy that serves: read, compared, and applied between two ticks.

What is under way is treated as by an upgrade with the changed file, since both are documented as one:

    a listener that stays       keeps its queue and its connections; its settings and routes hold from now on, for the
                                next request of a connection that is there already, too
    one that goes               its queue is served out; its connections finish their calls and end, within
                                ``upgrade.drain_timeout``; so do those of one that now speaks another protocol
    a cluster that stays        keeps the pools, the balance and the counts of the endpoints that stay; streams that
                                use one that went finish on it, then their connections close
    one that goes               the same for all of its endpoints
    deadlines                   those that run already stay; silence is measured by the new setting
    files of TLS                are read again; connections that are there keep what they agreed on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.errors import Refused
from hotswap.reload import Change
from hotswap.swappable import ListenerSpec
from proxy.cluster import Cluster
from proxy.config.difference import difference
from proxy.ondemand import client_contexts
from proxy.protocols import make_listener
from proxy.sides import Downstream
from proxy.tls.renewal import changed_files, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from hotswap.address import Address
    from hotswap.handover.rounds import Limits
    from proxy.config.model import Config, ListenerConfig
    from proxy.server import ProxyServer

    class Source(Protocol):
        """Where the configuration comes from, and comes from again."""

        def read(self) -> Config:
            """As it is now. Raises `HotswapError`."""

        def limits(self, config: Config) -> Limits:
            """The bounds of handover and drain that follow from it."""


_FIXED = ("name", "runtime_dir")


class ProxyReload:
    """Implements `hotswap.reload.Reload`."""

    def __init__(self, server: ProxyServer, config: Config, limits: Limits | None) -> None:
        """Raises `Refused` for what a process cannot change about itself."""
        for key in _FIXED:
            was, now = getattr(server.config, key), getattr(config, key)
            if was != now:
                raise Refused(f"{key} was {was or 'not set'} and is now {now or 'not set'}: that takes a restart")
        if server.config.upgrade.peer_uids != config.upgrade.peer_uids:
            # Modes of sockets and of shared memory follow from it, and who was let in has what there is to get.
            raise Refused(f"upgrade.peer_uids changed: that takes an upgrade; run hotswap upgrade {config.name}")
        if server.config.workers != config.workers:
            raise Refused(
                f"workers was {server.config.workers} and is now {config.workers}: that takes an upgrade; "
                f"run hotswap upgrade {config.name}"
            )
        server.sinks.open(config.listeners)
        self._server = server
        self._config = config
        # Made here, where a filter or a file may still refuse: nothing may fail in `apply`.
        self._listeners = [
            make_listener(one, server.clusters, server.sinks, server.families, config) for one in config.listeners
        ]
        self._trust = {one.name: client_contexts(one.tls) for one in config.clusters if one.tls is not None}
        self.config_id = config.id
        self.changes: Sequence[Change] = [*difference(server.config, config), *self._files()]
        self.wanted: Sequence[ListenerSpec] = [listener_spec(one) for one in config.listeners]
        self.admin: Address | None = config.admin
        self.limits = limits

    def _files(self) -> list[Change]:
        """Files of TLS that changed although their names did not. Where none did, what was read before stays."""
        listeners = {one.address: one for one in self._server.listeners.values()}
        changed: list[str] = []
        for fresh in self._listeners:
            known = listeners.get(fresh.address)
            if fresh.tls is not None and known is not None and known.tls is not None:
                changed += changed_files(known.tls, fresh.tls)
                fresh.tls = known.tls if same(known.tls, fresh.tls) else fresh.tls
        for name, contexts in self._trust.items():
            cluster = self._server.clusters.get(name)
            if cluster is not None and cluster.tls is not None:
                changed += changed_files(cluster.tls, contexts)
                self._trust[name] = cluster.tls if same(cluster.tls, contexts) else contexts
        return [Change("file", path, "changed") for path in dict.fromkeys(changed)]

    def apply(self, added: Mapping[str, int]) -> None:
        """See `hotswap.reload.Reload`."""
        server, config = self._server, self._config
        old_clusters = dict(server.clusters)
        self._change_clusters()
        server.names.follow(server.clusters.values(), config.dns)  # listeners that leave serve out their queue: a tick
        before = {listener.address: listener for listener in server.listeners.values()}
        until = server.reactor.kernel.clock() + config.upgrade.drain_timeout
        server.listeners.clear()
        for fresh in self._listeners:
            known = before.pop(fresh.address, None)
            if known is None:
                fresh.fd = added[fresh.name]
                server.reactor.acceptor.add(fresh)
            elif known.config.protocol == fresh.config.protocol:
                renamed = known.name != fresh.name
                known.follow(fresh)
                fresh = known
                for connection in server.reactor.connections.values() if renamed else ():
                    if isinstance(connection, Downstream) and connection.listener is known:
                        connection.measure()
                server.reactor.acceptor.prepare(known)
            else:
                server.reactor.acceptor.succeed(known, fresh)
                server.reactor.acceptor.prepare(fresh)
                known.clusters = old_clusters
                server.reactor.acceptor.part(known, until)
            server.listeners[fresh.name] = fresh
        for listener in before.values():
            listener.clusters = old_clusters  # its routes may name what is gone
            server.reactor.acceptor.leave(listener, until)
        server.config = config
        server.reconfigured()

    def _change_clusters(self) -> None:
        """In place: listeners and streams hold on to the clusters, and to the mapping of their names."""
        clusters = self._server.clusters
        wanted = {one.name: one for one in self._config.clusters}
        for name in [*clusters]:
            if name not in wanted:
                clusters.pop(name).close()
        for name, one in wanted.items():
            known, tls = clusters.get(name), self._trust.get(name)
            if known is None:
                clusters[name] = Cluster(one, tls=tls, families=self._server.families)
            elif known.config != one:
                known.follow(one, tls=tls)
            else:
                known.tls = tls


def listener_spec(config: ListenerConfig) -> ListenerSpec:
    """What `hotswap` has to bind for it."""
    return ListenerSpec(config.name, config.address, config.backlog)
