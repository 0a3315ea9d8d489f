"""The I/O loop of the data plane: the only caller of the kernel, and the `Plane` that layers see.

One tick: take events from epoll, read, call the layers, flush what they sent, until nothing is left or two milliseconds
are over; then look at the alarms. Between two ticks every connection is a consistent value, no callback is owed.

    epoll --events--> read --received()--> layer --send()--> outbox --flush--> write
                                             `--dial/close--> settled at the end of the batch

Decisions
* Edge-triggered, for connections only: level-triggered costs a second look at each, 1 us of 16 per relayed request.
  An edge is never lost: a read that came short has emptied the socket; what is left unread on purpose (`unread`)
  is asked for again by EPOLL_CTL_MOD, and so is everything when a value is restored or its interest changes.
* Writes are coalesced: layers append, the flush at the end of a batch writes once per connection.
* Interest follows the value (`Connection.events`) at the end of a batch: pausing and resuming within one is free.
* Descriptors are closed at the end of the batch, so no number is reused while events of the same batch may still name
  its former owner. EPOLL_CTL_DEL comes first: while another process holds a copy, a closed one goes on telling.
* While `sharing`, close() would send no FIN: end by shutdown. Resets never rely on SO_LINGER.
"""

from __future__ import annotations

import errno
import logging
from itertools import chain
from math import inf
from typing import TYPE_CHECKING

from hotswap.log import fields
from proxy.acceptor import Acceptor
from proxy.agenda import Agenda
from proxy.connection import LOW, Connection
from proxy.dialling import Dials
from proxy.guests import Guests
from proxy.kernel import ERR, IN, OUT
from proxy.origins import Origins
from proxy.timers import Alarms
from proxy.tls.errors import CLOSE_NOTIFY, TlsError
from proxy.tls.plane import TlsPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from proxy.kernel import Kernel

log = logging.getLogger("proxy")

BULK = 49152  # bytes of a second read, when the first came full
MAX_EVENTS = 256
SLICE = 0.002  # seconds that a tick polls again while there is work; then the control plane gets its turn

_UNREGISTERED = -1
_UNREAD = 1 << 30  # added to a connection's known interest, so that it differs from the wanted one


class Reactor:
    """Implements `proxy.plane.Plane`. Inert until `tick` is called."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.now = kernel, kernel.clock()
        self.connections: dict[int, Connection] = {}  # all live ones by serial
        self.unflushed: list[Connection] = []
        self.draining = self.sharing = False  # the latter: another process holds copies of our descriptors
        self.stop_at = inf  # when a drain ends whatever is left
        self.next_serial, self.bugs = 1, 0  # the latter: exceptions that layers raised
        self.count_bug: Callable[[], object] = object  # for metrics
        self.epoll = kernel.epoll()
        self._by_fd: list[Connection | None] = [None] * 256
        self._alarms, self._closing = Alarms(), list[int]()
        self.dials, guests = Dials(self), Guests(self)
        self.guests, self.hosted, self.host, self.unhost = guests, guests.by_serial, guests.host, guests.unhost
        self.dial, self.in_plaintext = self.dials.dial, self.dials.in_plaintext
        self.tls, self.agenda, self.origins = TlsPlane(self), Agenda(self), Origins(self)
        self.acceptor = acceptor = Acceptor(self)
        self.peek, self.ends, self.introduced = kernel.peek, kernel.ends, acceptor.introduced
        self.decided, self.secured, self.changes_over = acceptor.decided, acceptor.secured, acceptor.changes_over

    # ---- ticking ----

    def fileno(self) -> int:
        """The epoll's descriptor, to be watched by the control plane's loop."""
        return self.epoll.fileno()

    def next_alarm(self) -> float:
        """When `tick` must be called even without an event, monotonic seconds; inf: never."""
        if self.unflushed:  # a straggler was restored between two ticks
            return self.now
        return min(self._alarms.next(), self.acceptor.next_alarm(), self.agenda.next_alarm(), self.stop_at)

    def tick(self, timeout: float = 0.0) -> None:
        """Handle all that is ready; wait up to `timeout` seconds for the first event."""
        kernel = self.kernel
        clock = kernel.clock
        read = kernel.read
        poll = self.epoll.poll
        by_fd = self._by_fd
        until = 0.0
        while True:
            events = poll(timeout, MAX_EVENTS)
            timeout = 0.0
            self.now = now = clock()
            for fd, mask in events:
                connection = by_fd[fd]
                try:
                    if connection is None:
                        self.acceptor.ready(fd)
                    elif mask == IN:
                        connection.readable(read, now)
                    else:
                        self._ready(connection, mask)
                except Exception as bug:  # noqa: BLE001 - see `broken`
                    self.broken(connection, bug)
            self.settle()
            if not events or (until and now > until):
                break
            until = until or now + SLICE
        if self.next_alarm() <= self.now:
            self._alarms_passed()
            self.settle()

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
            data = self.kernel.read(connection.fd, BULK)
        except OSError as error:
            self.io_failed(connection, error)
            return
        if len(data) == BULK:
            self.unread(connection)
        if not data:
            self.at_end(connection)
        elif connection.tls is None:
            connection.count_in(len(data))
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
            connection.readable(self.kernel.read, self.now)
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
        write = self.kernel.write
        now = self.now
        while self.unflushed or self.dials.ended:
            self.dials.report()
            batch, self.unflushed = self.unflushed, []
            for connection in batch:
                try:
                    connection.flush(write, now)
                except Exception as bug:  # noqa: BLE001
                    self.broken(connection, bug)
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

    def _watch(self, connection: Connection) -> None:
        """Make epoll's interest what the value asks for."""
        wanted = connection.events()
        interest = connection.interest
        if wanted == interest:
            return
        connection.interest = wanted
        if interest < 0:
            self.epoll.register(connection.fd, wanted)
        else:
            self.epoll.modify(connection.fd, wanted)

    def _detach(self, connection: Connection) -> None:
        """Take a connection off the plane."""
        connection.over()
        if connection.fd >= 0:
            self._unseat(connection)
        self._drop(connection)

    def _unseat(self, connection: Connection) -> None:
        """Its descriptor is closed at the end of the batch."""
        fd = connection.fd
        if connection.interest >= 0:
            self.epoll.unregister(fd)
        self._by_fd[fd] = None
        if self.sharing:
            self.kernel.end_both(fd)
        self._closing.append(fd)

    def _drop(self, connection: Connection) -> None:
        del self.connections[connection.serial]
        connection.interest, connection.fd, connection.connecting = _UNREGISTERED, -1, False
        connection.detached()
        connection.outbox = b""
        if connection.tls is not None:
            connection.tls.end()
            connection.tls = None

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

    def wake(self, connection: Connection, when: float) -> None:
        """Plan the next look at ``connection.due()``."""
        connection.alarm = when
        self._alarms.plan(when, connection.serial)
        if len(self._alarms) > 4 * (len(self.connections) + len(self.hosted)) + 1024:
            self._alarms.rebuild(chain(self.connections.values(), self.hosted.values()))

    # ---- connections come and go ----

    def attach(self, connection: Connection, fd: int) -> None:
        """Take a new connection: accepted, or dialled (-1: that failed already)."""
        connection.serial = self.next_serial
        self.next_serial += 1
        connection.active = self.now
        self._place(connection, fd)
        self.unflushed.append(connection)  # registers it

    def replace(self, old: Connection, new: Connection) -> None:
        """See `Plane`. For a destination one connection ends and another comes."""
        fd, interest = old.fd, old.interest
        new.tls, old.tls = old.tls, None
        self._drop(old)
        new.interest = interest
        self.attach(new, fd)

    def _place(self, connection: Connection, fd: int) -> None:
        connection.fd = fd
        self.connections[connection.serial] = connection
        if fd >= 0:
            self._seat(connection)
        connection.attached()

    def _seat(self, connection: Connection) -> None:
        self.reserve(connection.fd)
        self._by_fd[connection.fd] = connection
        if self.origins.wanted:
            self.origins.placed(connection)

    def reseat(self, connection: Connection, fd: int) -> None:
        """Give it another descriptor (-1: there is none)."""
        self._unseat(connection)
        connection.fd, connection.interest = fd, _UNREGISTERED
        if fd >= 0:
            self._seat(connection)
            self.unflushed.append(connection)

    def reserve(self, fd: int) -> None:
        """Be ready for events of this descriptor."""
        while fd >= len(self._by_fd):
            self._by_fd.extend([None] * len(self._by_fd))

    def restore(self, connection: Connection, fd: int) -> None:
        """Take a loaded connection, inert: registered with epoll, it waits for the first tick."""
        self._place(connection, fd)
        self.restored(connection)

    def restored(self, connection: Connection) -> None:
        """The value was brought up to date: follow it with interest and alarm."""
        self._watch(connection)
        connection.wake(connection.due())
        if connection.tls is not None and connection.tls.waiting:
            self.unflushed.append(connection)  # there will be no event: the bytes are here

    def forget(self, connection: Connection) -> None:
        """Drop the value and close the copy of its descriptor; the connection lives on elsewhere."""
        fd = connection.fd
        if connection.interest >= 0:
            self.epoll.unregister(fd)
        self._by_fd[fd] = None
        self._drop(connection)
        self.kernel.close(fd)

    def end_all(self, *, reset: bool) -> None:
        """End every connection; one with bytes still unsent by a reset, so that nobody takes them for all."""
        for connection in list(self.connections.values()):
            connection.over()
            connection.peer = None
            self.close(connection, reset=reset or not connection.flushed)
        self.settle()

    def part(self, kept: Collection[int]) -> dict[int, Connection]:
        """All but `kept` belongs to another process. Returns the others as they were; no epoll of ours knows them.

        Nothing is done for each, nor for one that waits for its first tick: the other process takes its first steps.
        """
        self.epoll.close()
        self.epoll = self.kernel.epoll()
        left = self.connections
        self.connections = {serial: left.pop(serial) for serial in sorted(kept) if serial in left}
        self._by_fd = [None] * 256
        self.guests.part(self.connections)
        for connection in self.connections.values():
            self._seat(connection)
            connection.interest = _UNREGISTERED
            self._watch(connection)
        self.unflushed = [one for one in self.unflushed if one.anchor.serial in self.connections]
        self.acceptor.lost_epoll()
        return left
