"""The I/O loop of the data plane: the only caller of the kernel, and the `Plane` that layers see.

One tick: take events from epoll, read, call the layers, flush what they sent; then look at the alarms. Between two
ticks every connection is a consistent value, no callback is owed.

    epoll --events--> read --received()--> layer --send()--> outbox --flush--> write
                                             `--dial/close--> settled at the end of the batch

Decisions
* Edge-triggered, for connections only: level-triggered costs a second look at each, 1 us of 16 per relayed request.
  An edge is never lost: a read that came short has emptied the socket; what is left unread on purpose (`unread`)
  is asked for again by EPOLL_CTL_MOD, and so is everything when a value is restored or its interest changes.
* Writes are coalesced: layers append, the flush at the end of a batch writes once per connection.
* Interest follows the value (`Connection.events`) at the end of a batch: pausing and resuming within one is free.
* The reactor waits, and the control plane's event loop is one of the things it waits for (`proxy/ticker.py`).
* Resets never rely on SO_LINGER: another process may hold a copy.
"""

from __future__ import annotations

import errno
import logging
from math import inf
from typing import TYPE_CHECKING

from hotswap.log import fields
from proxy.acceptor import Acceptor
from proxy.agenda import Agenda
from proxy.connection import BULK, CHUNK, LOW, Connection
from proxy.dialling import Dials
from proxy.guests import Guests
from proxy.kernel import ERR, IN, OUT
from proxy.origins import Origins
from proxy.roster import Roster
from proxy.tls.errors import CLOSE_NOTIFY, TlsError
from proxy.tls.plane import TlsPlane

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.flow import Flow
    from proxy.kernel import Kernel

log = logging.getLogger("proxy")

SLICE = 0.002  # seconds that `tick` polls again while there is work

_UNREAD = 1 << 30  # added to a connection's known interest, so that it differs from the wanted one


class Reactor(Roster):
    """The plane that all connections live on. Inert until `tick` or `serve` is called."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.unflushed: list[Connection] = []
        self.flows: list[Flow] = []
        self.draining = False
        self.stop_at = inf  # when a drain ends whatever is left
        self.bugs = 0  # exceptions that layers raised
        self.count_bug: Callable[[], object] = object  # for metrics
        self.called = False
        self._control = -1
        self.dials, self.guests, self.acceptor = Dials(self), Guests(self), Acceptor(self)
        self.tls, self.agenda, self.origins = TlsPlane(self), Agenda(self), Origins(self)
        self.hosted = self.guests.by_serial

    # ---- ticking ----

    def watch_control(self, fd: int) -> None:
        """Have `serve` return as soon as this descriptor is readable: the control plane's epoll, epoll(7)."""
        self.reserve(fd)
        self.epoll.register(fd, IN)
        self._control = fd

    def next_alarm(self) -> float:
        """When to tick even without an event, monotonic seconds; inf: never."""
        if self.unflushed:  # a straggler was restored between two ticks
            return self.now
        return min(self._alarms.next(), self.acceptor.next_alarm(), self.agenda.next_alarm(), self.stop_at)

    def serve(self, seconds: float) -> None:
        """Tick until the control plane is called, or for that time: 0 is one batch, inf has no end.

        It is called by its descriptor, or by `called`, which whoever has work for it sets.
        """
        self.now = self.kernel.clock()
        until = self.now + seconds
        self.called = False
        alarm = self.next_alarm()
        while True:
            self._batch(min(until, alarm) - self.now)
            alarm = self.next_alarm()
            if alarm <= self.now:
                self._alarms_passed()
                self.settle()
                alarm = self.next_alarm()
            if self.called or self.now >= until:
                return

    def tick(self, timeout: float = 0.0) -> None:
        """Handle all that is ready; wait up to `timeout` seconds for the first event."""
        until = 0.0
        while self._batch(timeout) and not (until and self.now > until):
            timeout = 0.0
            until = until or self.now + SLICE
        if self.next_alarm() <= self.now:
            self._alarms_passed()
            self.settle()

    def _batch(self, timeout: float) -> int:
        """Wait for events, handle them, and settle what they brought. Returns how many there were."""
        calls, poller, by_fd, plain = self.kernel.calls, self.epoll, self._by_fd, IN
        count = poller.wait(timeout)
        self.now = now = self.kernel.clock()
        for at in range(count):
            fd, mask = poller.fds[at], poller.masks[at]
            connection = by_fd[fd]
            try:
                if connection is None:
                    self._ready_otherwise(fd)
                elif mask == plain:
                    connection.readable(calls, now)
                else:
                    self._ready(connection, mask)
            except Exception as bug:  # noqa: BLE001 - see `broken`
                self.broken(connection, bug)
        self.settle()
        return count

    def _ready_otherwise(self, fd: int) -> None:
        if fd == self._control:
            self.called = True
        else:
            self.acceptor.ready(fd)

    def broken(self, connection: Connection | None, bug: Exception) -> None:
        """A layer raised. A bug costs the connection that met it and its other side, and nobody else."""
        self.bugs += 1
        self.count_bug()
        if connection is None:
            log.error("a bug in accepting", exc_info=bug)
            return
        log.error("a bug ended a connection", exc_info=bug, extra=fields(**connection.identity()))
        connection.broken()

    def io_failed(self, connection: Connection, error: OSError) -> None:
        """Not now is no failure."""
        if error.errno != errno.EAGAIN:
            self.lose(connection, error.errno or errno.EIO)

    def lose(self, connection: Connection, code: int, reason: str = "") -> None:
        """It ended by itself, or has to end here: close it and tell its layer."""
        connecting = connection.connecting
        if connecting and self.in_plaintext(connection, reason, code):
            return
        self._detach(connection)
        if connecting:
            connection.connect_failed(code)
        else:
            connection.went(code)

    def read_on(self, connection: Connection) -> None:
        """The first read came full: take what is there in a larger portion, and the rest in another batch."""
        if connection.fd < 0:
            return
        if connection.paused:
            self.unread(connection)
            return
        try:
            data = self.kernel.calls.read(connection.fd, BULK)
        except OSError as error:
            self.io_failed(connection, error)
            return
        connection.bulk = len(data) >= CHUNK
        if len(data) == BULK:
            self.unread(connection)
        if not data:
            self.at_end(connection)
        elif connection.tls is None:
            connection.tally(connection.count_in, len(data))
            connection.received(data)
        else:
            connection.tls.arrived(connection, data)

    def unread(self, connection: Connection) -> None:
        """Have epoll report it again: at the end of this batch, or when it is resumed."""
        connection.interest |= _UNREAD
        if not connection.paused:
            self.unflushed.append(connection)

    def at_end(self, connection: Connection) -> None:
        """The peer's FIN was read, or its close_notify."""
        if connection.connecting:
            self.tls.failed(connection, TlsError(CLOSE_NOTIFY, "the peer went away in the middle"))
            return
        connection.eof = True
        connection.touch()
        connection.ended()

    def _ready(self, connection: Connection, mask: int) -> None:
        """Everything but plain readability."""
        if connection.connecting and (connection.tls is None or connection.tls.dialling):
            self.dials.ended.append((connection, self.kernel.connect_error(connection.fd)))
            return
        if mask & OUT:
            self.unflushed.append(connection)
        if not mask & ~OUT:
            return
        if mask & ERR and (connection.paused or connection.eof):
            code = self.kernel.connect_error(connection.fd)
            self.io_failed(connection, OSError(code or errno.ECONNRESET, "reset"))
        elif not connection.eof:
            before = connection.changes
            connection.readable(self.kernel.calls, self.now)
            if connection.fd >= 0 and mask & ~(IN | OUT) and connection.changes != before:
                self.unread(connection)  # a FIN, an error or urgent bytes may follow what was read

    def _alarms_passed(self) -> None:
        now = self.now
        self.acceptor.alarm(now)
        self.agenda.alarm(now)
        if self.stop_at <= now:
            self.stop_at = inf
            self.end_all(reset=False)
        self._alarms.ring(self, now)

    # ---- the end of a batch ----

    def settle(self) -> None:
        """Flush, report dials and give descriptors back, until nothing is owed to anybody."""
        calls, now = self.kernel.calls, self.now
        dials = self.dials
        while self.unflushed or dials.ended:
            if dials.ended:
                dials.report()
            if self.flows:  # before anything is written: who gets an answer shall find it counted
                self.tell()
            batch, self.unflushed = self.unflushed, []
            for connection in batch:
                try:
                    connection.flush(calls, now)
                except Exception as bug:  # noqa: BLE001
                    self.broken(connection, bug)
        if self.flows:
            self.tell()
        if self._closing:
            self._give_back()

    def follow(self, connection: Connection) -> None:
        """After a flush: FIN, watermark, interest."""
        if connection.fd < 0:
            return
        connection.stale = False
        if not connection.connecting:
            over = connection.shutting and not connection.fin_sent and not connection.outbox
            if over and self.tls.may_finish(connection):
                connection.fin_sent = True
                connection.changes += 1
                self.kernel.send_fin(connection.fd)
                connection.finished()
            if connection.clogged and len(connection.outbox) < LOW:
                connection.clogged = False
                connection.changes += 1
                connection.drained()
        if connection.fd >= 0:
            self._watch(connection)
            if connection.tls is not None and connection.tls.waiting and not connection.paused:
                connection.catch_up()

    def _give_back(self) -> None:
        closing, self._closing = self._closing, []
        for fd in closing:
            self.kernel.close(fd)
        self.acceptor.freed(min(closing))

    # ---- what layers ask for: see `Plane` ----

    def close(self, connection: Connection, *, reset: bool) -> None:
        """End the connection now. A reset first writes what the socket takes at once."""
        fd = connection.fd
        if fd >= 0 and not connection.connecting and self.tls.last_words(connection, reset=reset):
            return
        if reset and fd >= 0:
            self.kernel.send_reset(fd)
        self._detach(connection)

    def end_all(self, *, reset: bool) -> None:
        """End every connection; one with bytes still unsent by a reset, so that nobody takes them for all."""
        for connection in list(self.connections.values()):
            connection.over()
            connection.peer = None
            self.close(connection, reset=reset or not connection.flushed)
        self.settle()
