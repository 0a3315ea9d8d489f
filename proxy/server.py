"""The proxy as a swappable server: the one object that `hotswap.Generation` drives.

`ProxyServer` builds clusters and listeners from a configuration, owns the reactor, and translates between
connections and the values that travel. It implements `hotswap.swappable.Swappable` (the documentation
of most methods is there) and `proxy.plane.Places` for connections that are being restored.
"""

from __future__ import annotations

import os
from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from hotswap.errors import Refused
from hotswap.filewatch import FileWatch
from hotswap.swappable import ListenerSpec, Schema
from proxy.accesslog.log import Sinks
from proxy.app import App
from proxy.cluster import Cluster
from proxy.dns.names import Names
from proxy.encryption.announcements import Announcements
from proxy.heartbeat import Heartbeat
from proxy.homes import Homes
from proxy.kernel import Kernel
from proxy.later import Later
from proxy.links import Links
from proxy.listener import Listener
from proxy.metrics.beat import Beat
from proxy.metrics.gauges import Gauges
from proxy.metrics.home import SEGMENT, Home
from proxy.ondemand import network_asker
from proxy.protocols import KINDS, make_listener
from proxy.reactor import Reactor
from proxy.reload import ProxyReload, listener_spec
from proxy.shared import prepare, restore_shared, save_shared
from proxy.specialised import specialise
from proxy.staying import TLS, Staying, worker_of
from proxy.telling import Telling
from proxy.ticker import Loop, Ticker
from proxy.tls.renewal import Renewal
from proxy.tls.secrecy import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from hotswap.filewatch import Watch
    from proxy.app import Heart
    from proxy.config.model import Config
    from proxy.connection import Connection
    from proxy.dns.names import Asker
    from proxy.reload import Source

APART = 1 << 48
"""Added to the serials of a retired generation, so that it and its successor never give the same twice."""


class ProxyServer(Homes, Staying, Telling):
    """A proxy for one configuration, inert until `start`."""

    def __init__(
        self,
        config: Config,
        kernel: Kernel | None = None,
        ticker: Callable[[Reactor], Ticker] = Ticker,
        source: Source | None = None,
        heart: Callable[[], Heart] = Heartbeat,
        asker: Callable[[], Asker] = network_asker,
        watch: Callable[[Callable[[], None]], Watch] = FileWatch,
        *,
        beat: Callable[[Callable[[], None]], Beat] = Beat,
        segment: str = "",
        build: tuple[str, str] = ("", ""),
        directory: Path | None = None,
        later: Later | None = None,
        home: Home | None = None,
    ) -> None:
        """`segment`: the name under which metrics are kept in shared memory; empty: none. `build`: see `Home`.

        `directory`: the runtime directory of its name, see `Home`, too. `later`: what is imported once it serves.
        """
        super().__init__()
        specialise()
        self.config = config
        self._source = source
        self.reactor = Reactor(kernel or Kernel())
        self.ticker = ticker(self.reactor)
        peers = frozenset(config.upgrade.peer_uids)
        self.home = home or Home(config.metrics, segment, build, peers=peers, directory=directory)
        self.metrics, self.families = self.home.registry, self.home.families
        self.reactor.count_bug = self.families.bugs.inc
        self.gauges = Gauges(self)
        self._beat = beat(self._remain)
        with self.metrics.defining():
            self._define(config)
        self._by_address = {listener.address: listener for listener in self.listeners.values()}
        self.app = App(self.reactor.acceptor, heart)
        self.app.configure(config.app, self.listeners.values)
        self.names = Names(asker, self.reactor.kernel.clock, self._resolved)
        self.names.follow(self.clusters.values(), config.dns)
        self.renewal = Renewal(watch)
        self.renewal.follow(self.listeners.values(), self.clusters.values())
        self.announcements = Announcements(watch, self.changed_over)
        self.announcements.follow(self.clusters.values())
        self.reactor.agenda.follow(self.clusters.values())
        self.reactor.origins.follow(self.listeners.values())
        self.later = later or Later(())
        self._beside = (self.app, self.names, self.renewal, self.announcements, self.later)
        self._links = Links(self.reactor.connections, self.reactor.hosted)
        self._unordered = False
        self._highest = 0
        self.arrived: Counter[str] = Counter()
        self._left: dict[int, Connection] = {}
        self._removed: list[Listener] = []
        self._left_counted, self._retired = True, False

    def _define(self, config: Config) -> None:
        """Clusters and listeners, and with them what they count."""
        self.clusters = {one.name: Cluster(one, families=self.families) for one in config.clusters}
        self.sinks = Sinks(self.reactor.kernel, config.listeners)
        self.reopen = self.sinks.reopen
        self.listeners = {
            one.name: make_listener(one, self.clusters, self.sinks, self.families, config) for one in config.listeners
        }

    # ---- what it is and wants ----

    def new_loop(self) -> Loop:
        """See `Swappable`: one that lets the reactor wait."""
        return Loop()

    def schemas(self) -> Mapping[str, Schema]:
        """The kinds of all protocols, configured or not, and that of TLS, which connections of any kind may have."""
        return {name: kind.schema for name, kind in KINDS.items()} | {TLS: Schema(1, 1)}

    def wanted(self) -> Sequence[ListenerSpec]:
        """The configured listeners."""
        return [listener_spec(one) for one in self.config.listeners]

    def descriptors(self) -> Mapping[str, int]:
        """The key under which the secrets of TLS travel in this attempt, and the shared memory of the metrics."""
        own = self.home.descriptors()
        return own if self.unknown_tls else own | {TLS: self.reactor.tls.new_vault()}

    def accept_descriptors(self, descriptors: Mapping[str, int]) -> None:
        """The counterpart. What comes next may be of any kind."""
        self.later.finish()
        prepare()
        for name, fd in descriptors.items():
            if name == TLS or name.startswith(f"{TLS}/"):
                self.reactor.tls.take_vault(fd, worker_of(name))
            elif name == SEGMENT:
                self.home.accept(fd)
            os.close(fd)

    def adopt(self, listeners: Mapping[str, int]) -> None:
        """Take the sockets; polled from `start` on."""
        self.ticker.attach()
        for name, fd in listeners.items():
            listener = self.listeners[name]
            listener.fd = fd
            self.reactor.acceptor.add(listener)

    # ---- what no connection owns ----

    def save_shared(self, now: float) -> bytes:
        """See `proxy.shared`."""
        return save_shared(self, now)

    def restore_shared(self, state: bytes, now: float) -> None:
        """The counterpart; also the last moment to notice a link that leads nowhere."""
        self._links.check()
        restore_shared(self, state, now)
        self._tell_clients(self.reactor.draining)

    # ---- who owns ----

    def stragglers(self) -> Collection[int]:
        """Clients whose TLS handshake is under way."""
        tls = self.reactor.tls
        return tls.stragglers() if tls.handshaking or tls.expected else ()

    def expect_stragglers(self, serials: Collection[int]) -> None:
        """See `Swappable`."""
        self.reactor.tls.expected = frozenset(serials)

    def sharing(self, shared: bool) -> None:
        """See `Reactor.sharing`. For a retired generation its end means that the destination took over for good.

        Handshakes that did not follow by then stay: here they go on when they are done.
        """
        self.reactor.sharing = shared
        if not shared and self._retired:
            self._let_go()
            self.reactor.tls.stay()
        elif not shared:
            self._foresee(handover=False)

    def _go_beside(self) -> None:
        """What the control plane does for this server, as long as it owns and ticks."""
        for part in self._beside:
            part.start()

    def _stand_beside(self) -> None:
        for part in self._beside:
            part.stop()

    def freeze(self) -> None:
        """No tick from here on, and no check of the application."""
        self.ticker.stop()
        self.reactor.tls.permit.revoke()
        self._stand_beside()
        self.sinks.flush()

    def thaw(self) -> None:
        """Tick again, under the same keys: the byte was taken back."""
        self.reactor.tls.permit.grant()
        self.ticker.start()
        self._go_beside()

    def start(self) -> None:
        """Own: accept, tick and count."""
        self.reactor.tls.permit.grant()
        self.home.own()
        self.sinks.start()
        self.reactor.agenda.follow(self.clusters.values())  # what came may have to change over
        if not self.reactor.draining:
            self.reactor.acceptor.start()
        self.ticker.start()
        self._go_beside()

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        """Let go of what moved, finish the rest."""
        self.ticker.stop()
        reactor = self.reactor
        reactor.acceptor.stop()
        awaited = {*kept, *self.stragglers()}.difference(self.staying())  # one may have come while this one was frozen
        self._left = reactor.part(kept)
        reactor.tls.part(reactor.connections.values(), awaited)
        self.ticker.renew()
        if kept:
            self._uncount()
        self._retired = True
        reactor.next_serial += APART
        self._removed = [self.listeners[name] for name in removed]
        for listener in self._removed:
            reactor.acceptor.accept_queued(listener)
        self._finish(reactor.kernel.clock() + self.config.upgrade.drain_timeout)
        if reactor.connections:
            self._beat.start()
        self.ticker.start()

    def _remain(self) -> None:
        """Tell readers of what this retired generation still has."""
        for _ in self.gauges.refresh(owns=False):
            pass
        self.home.remain()

    def _uncount(self) -> None:
        """What is left no longer counts at listeners and endpoints, nor waits in pools."""
        if self._left_counted:
            self._left_counted = False
            left = [(connection, connection.fd) for connection in self._left.values()]
            for connection, _ in left:  # closed, as far as the others are concerned
                connection.fd, connection.connecting = -1, False
            for connection, _ in left:
                connection.detached()
            for connection, fd in left:
                connection.fd = fd

    def _let_go(self) -> None:
        """Give back the copies of what moved; on removed listeners clients are refused from here on."""
        encrypted = False
        self.reactor.end_past()
        for connection in self._left.values():
            self.reactor.kernel.close(connection.fd)
            if connection.tls is not None:
                encrypted = True
                connection.tls.end()
        self._left = {}
        if encrypted:
            scrub()
        self._close_listeners(self._removed)
        self._removed = []

    def abandon(self) -> None:
        """Reset what is lost and go on accepting. What a retired generation kept was never lost."""
        reactor = self.reactor
        if not self._retired:
            reactor.end_all(reset=True)  # not a byte is sealed for these: another process had them
            reactor.tls.permit.grant()
        self._uncount()
        reactor.end_past()
        for connection in self._left.values():
            reactor.kernel.send_reset(connection.fd)
            reactor.kernel.close(connection.fd)
            if connection.tls is not None:
                connection.tls.end()
        self._left, self._left_counted = {}, True
        self._removed = []
        self._retired = False
        reactor.tls.stay()
        self._links = Links(reactor.connections, reactor.hosted)
        reactor.draining = False
        self._tell_clients(False)
        reactor.stop_at = inf
        self._beat.stop()
        self.home.own()
        self.gauges = Gauges(self)  # the one that died may have had readers see other series
        reactor.acceptor.start()
        self.ticker.start()
        self._go_beside()

    def announce_drain(self) -> None:
        """Say ``Connection: close`` from here on; accept on."""
        self._tell_clients(True)

    def _tell_clients(self, draining: bool) -> None:
        for listener in self.listeners.values():
            listener.draining = draining

    def drain(self, deadline: float) -> None:
        """Close the listeners, finish, and end what is left at the deadline."""
        reactor = self.reactor
        self._stand_beside()
        self._tell_clients(True)
        for listener in self.listeners.values():
            reactor.acceptor.shut(listener)
        reactor.tick()  # what came by now still counts
        self._finish(deadline)

    def _finish(self, deadline: float) -> None:
        """Accept nothing more; end what is idle now, the rest when it is done, or at the deadline."""
        reactor = self.reactor
        self._tell_clients(True)
        reactor.draining = True
        reactor.stop_at = min(deadline, reactor.stop_at)
        reactor.acceptor.stop()
        if not self._retired:
            self._close_listeners(self.listeners.values())
        for connection in list(reactor.connections.values()):
            if not connection.closed:
                connection.drain()
        reactor.settle()

    def _close_listeners(self, listeners: Iterable[Listener]) -> None:
        """An open one that nobody polls would keep clients waiting; they had better go elsewhere at once."""
        for listener in listeners:
            if listener.fd >= 0:
                self.reactor.acceptor.accept_queued(listener)
                self.reactor.acceptor.remove(listener)
                self.reactor.kernel.close(listener.fd)
                listener.fd = -1

    def close(self) -> None:
        """The end. Without a successor nobody goes on counting."""
        self.sinks.close()
        if not self._retired:
            self.home.end()

    def idle(self) -> bool:
        """Draining, and nothing left."""
        return self.reactor.draining and not self.reactor.connections

    # ---- another configuration ----

    def reload(self) -> ProxyReload:
        """See `hotswap.reload.Reloadable`."""
        source, config = self.read_again()
        return ProxyReload(self, config, source.limits(config))

    def read_again(self) -> tuple[Source, Config]:
        """The configuration as it is now, and where it came from. Raises `HotswapError`."""
        if self._source is None:
            raise Refused("this proxy was not started from a file that could be read again")
        return self._source, self._source.read()

    def reconfigured(self) -> None:
        """`ProxyReload.apply` changed listeners and clusters: follow."""
        self._by_address = {listener.address: listener for listener in self.listeners.values()}
        self.app.configure(self.config.app, self.listeners.values)
        self.reactor.acceptor.follow()
        self.names.follow(self.clusters.values(), self.config.dns)
        self.renewal.follow(self.listeners.values(), self.clusters.values())
        self.announcements.follow(self.clusters.values())
        self.reactor.origins.follow(self.listeners.values())
        self.changed_over()

    def changed_over(self) -> None:
        """Clusters want something else, or may have to look whether they do."""
        self.reactor.agenda.follow(self.clusters.values())
        self._resolved()

    def _resolved(self) -> None:
        """Clusters changed their endpoints outside a tick."""
        self.reactor.settle()
