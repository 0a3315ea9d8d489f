"""Accepting, and knowing when not to.

A descriptor that is missing when an accepted connection wants its upstream costs that client an error;
the same client left in the accept queue waits. So accepting stops while RESERVE descriptors are still
left. The kernel gives out the lowest free number, so the number of a new descriptor tells how many are
open; and what is freed below the ceiling is what the next accept will get. No counting needed.
"""

from __future__ import annotations

import errno
import logging
from math import inf
from typing import TYPE_CHECKING

from hotswap.log import fields
from proxy.entry import enter
from proxy.kernel import IN
from proxy.proxy_protocol.receiving import Introduction
from proxy.tls.handshaking import Handshaking
from proxy.tls.session import Session
from proxy.tls.undecided import Undecided
from proxy.workers.scales import LOOK_AWAY

if TYPE_CHECKING:
    from proxy.connection import Connection
    from proxy.listener import Listener
    from proxy.proxy_protocol.header import Pair
    from proxy.reactor import Reactor
    from proxy.sides import Downstream
    from proxy.workers.scales import Scales

log = logging.getLogger("proxy")

BATCH = 64
"""Connections taken from one listener at a time."""
PAUSE = 0.5
"""Seconds after which accepting is tried again even if nothing was closed: others free descriptors too."""
RESERVE = 64
"""Descriptors left for dials, files, the one pipe of `proxy.bulk` and the control plane when accepting stops; an eighth
of small limits."""

_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor:
    """The listeners of one reactor. Polls none before `start`."""

    __slots__ = (
        "_ceiling",
        "_leaving",
        "_listeners",
        "_reactor",
        "_spare",
        "_started",
        "accepted",
        "retry_at",
        "scales",
    )

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._listeners: dict[int, Listener] = {}
        self._leaving: list[tuple[float, Listener]] = []  # until when, in order
        self._started = False
        limit = reactor.kernel.open_files_limit()
        self._ceiling = limit - min(RESERVE, limit // 8)
        self._spare = reactor.kernel.spare()
        self.accepted = 0
        """Connections accepted in the chain of generations."""
        self.retry_at = inf
        """Monotonic seconds; inf unless accepting is stopped for want of descriptors, or leaves a client to others."""
        self.scales: Scales | None = None  # with other processes that accept from the same sockets

    @property
    def accepting(self) -> bool:
        """Started, and descriptors are left."""
        return self._started and (self.retry_at == inf or (self.scales is not None and self.scales.looked_away))

    def add(self, listener: Listener) -> None:
        """Know a listener with a descriptor."""
        self._listeners[listener.fd] = listener
        if self._started:
            self.prepare(listener)
        self.follow()

    def prepare(self, listener: Listener) -> None:
        """Have its socket be as it is configured. Who owns does so."""
        try:
            self._reactor.kernel.prepare_listener(listener.fd, transparent=listener.config.original_dst == "tproxy")
        except OSError as error:  # permitted when the configuration was read: nothing to refuse any more
            about = fields(listener=listener.name, reason=str(error))
            log.error("a listener cannot take what tproxy sends", extra=about)  # noqa: TRY400

    def remove(self, listener: Listener) -> None:
        """Poll it no more. Its descriptor stays open."""
        if self._listeners.pop(listener.fd, None) is not None and listener.polled:
            self._reactor.epoll.unregister(listener.fd)
            listener.polled = False

    def succeed(self, old: Listener, new: Listener) -> None:
        """`new` accepts from the socket of `old` from now on."""
        new.fd, new.polled = old.fd, old.polled
        self._listeners[new.fd] = new
        old.fd, old.polled = -1, False
        self.follow()

    def leave(self, listener: Listener, until: float) -> None:
        """A listener that is not wanted any more: serve out its queue, refuse from then on, let calls finish."""
        listener.draining = True
        self.shut(listener)
        self._reactor.tick()  # what those in the queue have sent already still counts
        self.part(listener, until)

    def turn_away(self, listener: Listener, how: str) -> None:
        """Refuse clients (``close``), accept and reset them (``reset``), or neither of both (``announce``)."""
        kernel = self._reactor.kernel
        if how == "close" and listener.address.startswith("unix:"):
            how = "reset"  # a unix socket that was shut down cannot listen again
        before, listener.turning_away = listener.turning_away, "" if how == "announce" else how
        if listener.fd < 0:
            return
        if how == "close":
            self.follow()
            kernel.refuse(listener.fd)
        elif before == "close":
            kernel.listen(listener.fd, listener.config.backlog)
        self.follow()

    def shut(self, listener: Listener) -> None:
        """Take what waits in the queue, and refuse clients from then on."""
        if listener.fd >= 0:
            self.accept_queued(listener)
            self.remove(listener)
            self._reactor.kernel.close(listener.fd)
            listener.fd = -1

    def part(self, listener: Listener, until: float) -> None:
        """Have the connections of a listener end: soon, or at `until`."""
        listener.draining = True
        self._leaving.append((until, listener))
        self._leaving.sort(key=lambda one: one[0])
        for connection in list(self._reactor.connections.values()):
            if getattr(connection, "listener", None) is listener and not connection.closed:
                connection.drain()
        self._reactor.settle()

    @property
    def leaving(self) -> list[Listener]:
        """Those that were left and still have connections."""
        self._leaving = [one for one in self._leaving if one[1].connections]
        return [listener for _, listener in self._leaving]

    def next_alarm(self) -> float:
        """When `alarm` is to be called, monotonic seconds."""
        return min(self.retry_at, self._leaving[0][0]) if self._leaving else self.retry_at

    def alarm(self, now: float) -> None:
        """That moment came."""
        if self.retry_at <= now:
            self.retry()
        while self._leaving and self._leaving[0][0] <= now:
            _, listener = self._leaving.pop(0)
            for connection in list(self._reactor.connections.values()):
                if getattr(connection, "listener", None) is listener:
                    self._cut(connection)

    def _cut(self, connection: Connection) -> None:
        """End a connection whose time is over, and what it had under way; unsent bytes make it a reset."""
        if not connection.flushed:
            self._reactor.kernel.send_reset(connection.fd)
        self._reactor.io_failed(connection, OSError(errno.ECANCELED, "its listener is gone"))

    def start(self) -> None:
        """Accept from now on."""
        for listener in self._listeners.values():
            self.prepare(listener)
        self._started = True
        self.weigh()
        self.follow()

    def stop(self) -> None:
        """Accept nothing more; what waits in the queues stays there."""
        self._started = False
        if self.scales is not None:
            self.scales.leave()
        self.follow()

    def close(self) -> None:
        """Give the spare descriptor back; the listeners belong to whoever bound them."""
        if self._spare >= 0:
            self._reactor.kernel.close(self._spare)
            self._spare = -1

    def follow(self) -> None:
        """Make epoll's interest in the listeners what it should be."""
        accepting = self._started and self.retry_at == inf
        for fd, listener in self._listeners.items():
            wanted = accepting and not listener.full and listener.turning_away != "close"
            if wanted != listener.polled:
                listener.polled = wanted
                if wanted:
                    self._reactor.reserve(fd)
                    self._reactor.epoll.register(fd, IN)
                else:
                    self._reactor.epoll.unregister(fd)

    def lost_epoll(self) -> None:
        """The reactor has a fresh epoll, with nothing registered."""
        for listener in self._listeners.values():
            listener.polled = False
        self.follow()

    def ready(self, fd: int) -> None:
        """An event of a descriptor that is no connection: a listener, or one closed in this batch."""
        listener = self._listeners.get(fd)
        if listener is not None and listener.polled:
            most = BATCH if self.scales is None else self.scales.most(self.clients)
            if not most:
                self.retry_at = self._reactor.now + LOOK_AWAY
                self.follow()
            else:
                self.accept(listener, most)

    def accept(self, listener: Listener, most: int = BATCH) -> int:
        """Take what waits in the queue, up to so many. Returns how many."""
        reactor, taken = self._reactor, 0
        for _ in range(most):
            if listener.full:
                self.follow()
                break
            try:
                fd, remote = reactor.kernel.accept(listener.fd)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    break
                if error.errno in _SHORTAGES:
                    self._throttle()
                    break
                continue  # gone before it was accepted: accept(2), "Error handling"
            taken += 1
            listener.meters.accepted.inc()
            if listener.turning_away:
                listener.meters.turned_away.inc()
                reactor.kernel.send_reset(fd)
                reactor.kernel.close(fd)
                continue
            self.accepted += 1
            gate = listener.gate
            if gate is None or (gate.direct and not gate.trusts(remote)):
                if listener.tls is None and not listener.looks:
                    self.admit(listener, remote, fd)
                else:
                    self._look(listener, remote, fd)
            elif gate.trusts(remote):
                self._stage(Introduction(reactor), listener, remote, fd)
            else:
                listener.meters.headers.inc()
                gate.refuse(listener.name, remote, reactor.now)
                reactor.kernel.send_reset(fd)
                reactor.kernel.close(fd)
            if fd >= self._ceiling:
                self._throttle()
                break
        return taken

    # ---- stages before the protocol: PROXY header, first bytes, TLS handshake; each is left out where it may be ----

    def introduced(self, former: Downstream, remote: str, pair: Pair | None) -> None:
        """The header came: the next stage takes over, under a serial of its own."""
        former.introduced = pair
        listener = former.listener
        if listener.tls is None and not listener.looks:
            self._hurry(self.admit(listener, remote, former.fd, former))
        else:
            self._look(listener, remote, former.fd, former)

    def _look(self, listener: Listener, remote: str, fd: int, former: Downstream | None = None) -> None:
        """Its first bytes tell what it is, or that it is TLS is known."""
        stage = Undecided(self._reactor) if listener.looks else Handshaking(self._reactor)
        self._stage(stage, listener, remote, fd, former)

    def decided(self, former: Downstream, *, tls: bool) -> None:
        """Its first bytes told what it is. A reload may have made TLS required meanwhile."""
        if tls or (former.listener.tls is not None and not former.listener.looks):
            handshaking = Handshaking(self._reactor)
            self._stage(handshaking, former.listener, former.remote, former.fd, former)
        else:
            self._hurry(self.admit(former.listener, former.remote, former.fd, former))

    def secured(self, former: Downstream) -> None:
        """Its handshake is done."""
        self._hurry(self.admit(former.listener, former.remote, former.fd, former))

    def _stage(
        self, stage: Downstream, listener: Listener, remote: str, fd: int, former: Downstream | None = None
    ) -> None:
        self._place(stage, listener, remote, fd, former)
        try:
            stage.begin()
        except Exception as bug:  # noqa: BLE001 - see `Reactor.broken`
            self._reactor.broken(stage, bug)

    def _place(
        self, connection: Downstream, listener: Listener, remote: str, fd: int, former: Downstream | None
    ) -> None:
        """Give it the descriptor, and what the `former` stage found out."""
        reactor = self._reactor
        connection.listener, connection.remote = listener, remote
        connection.introduced = None
        connection.destination = connection.server_name = ""
        if former is None:
            reactor.attach(connection, fd)
            return
        connection.introduced, connection.server_name = former.introduced, former.server_name
        reactor.replace(former, connection)
        reactor.unread(connection)  # what is there already

    def admit(self, listener: Listener, remote: str, fd: int, former: Downstream | None = None) -> Downstream:
        """Take a connection whose client is known, in the place of the `former` one, and begin, if filters let it."""
        reactor = self._reactor
        kind = listener.downstream
        if listener.http2 is not None and former is not None and isinstance(former.tls, Session):
            kind = listener.http2 if former.tls.about.alpn == "h2" else kind
        connection = kind(reactor)
        self._place(connection, listener, remote, fd, former)
        (listener.meters.begun if connection.tls is None else listener.meters.begun_tls).inc()
        try:
            if listener.config.original_dst is not None and not reactor.origins.find(connection):
                connection.reset()
            elif listener.filters is None:
                connection.begin()
            else:
                enter(connection, reactor.now)
        except Exception as bug:  # noqa: BLE001 - see `Reactor.broken`
            reactor.broken(connection, bug)
        return connection

    def changes_over(self, former: Downstream, first: bytes) -> None:
        """It begins with the preface of HTTP/2: another class takes it over, with the bytes that came."""
        reactor = self._reactor
        listener = former.listener
        connection = (listener.http2 or listener.downstream)(reactor)
        self._place(connection, listener, former.remote, former.fd, former)
        connection.begin()
        connection.received(first)

    def _hurry(self, connection: Downstream) -> None:
        """On a listener that drains, what is there still counts."""
        if not connection.listener.draining or connection.closed:
            return
        if connection.tls is not None and connection.tls.waiting and not connection.paused:
            connection.catch_up()
        if not connection.closed:
            connection.readable(self._reactor.kernel.calls, self._reactor.now)
        if not connection.closed:
            connection.drain()

    def accept_queued(self, listener: Listener) -> None:
        """Take everything that waits in the queue of a listener that will not be polled again."""
        while self.accept(listener) == BATCH:
            self._reactor.settle()
        self._reactor.settle()

    @property
    def clients(self) -> int:
        """Connections that came here; others say nothing of the work: a pool may be full and idle."""
        return sum(listener.connections for listener in self._listeners.values())

    def weigh(self) -> None:
        """Tell other workers how many clients there are."""
        if self.scales is not None and self._started:
            self.scales.weigh(self.clients)

    def freed(self, lowest: int) -> None:
        """Descriptors were closed, `lowest` the lowest of them."""
        self.weigh()
        if self.retry_at != inf and lowest < self._ceiling:
            self.retry()
        else:
            self.follow()

    def retry(self) -> None:
        """Accept again, if the spare descriptor can be had back."""
        if self._spare < 0:
            try:
                self._spare = self._reactor.kernel.spare()
            except OSError:
                self.retry_at = self._reactor.now + PAUSE
                return
        self.retry_at = inf
        self.follow()

    def _throttle(self) -> None:
        """Stop accepting, and leave one descriptor more to the control plane: it must stay reachable."""
        self.retry_at = self._reactor.now + PAUSE
        if self._spare >= 0:
            self._reactor.kernel.close(self._spare)
            self._spare = -1
        self.follow()
