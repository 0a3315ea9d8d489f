"""A connection as a value, and what it may ask of the plane it lives on.

Layers (tcp, http1, ...) subclass `Connection`. A layer never does I/O and never reads a clock: the
plane tells it what happened, and it answers by changing its own fields and by calling the verbs
of this class. Everything a layer knows lives in plain fields, so that between two ticks `save`
can write it down and `load` can rebuild it in another process.

The plane calls                                 The layer calls
  attached()         it lives (also: restored)
  begin()            accepted, start to work      send(data)    append to the outbox
  connected()        a dial succeeded             shut()        FIN once the outbox is empty
  connect_failed(e)  a dial failed                close()       end now, drop the outbox
  received(data)     bytes came, never empty      reset()       end now, by a RST
  ended()            the peer's FIN came          pause()       stop reading
  failed(e)          reset or another error       resume()      read again
  drained()          outbox fell below LOW        wake(when)    look at `due` again at `when`
  finished()         our FIN went out
  expired(now)       `due` has passed
  catch_up()         TLS: what came before it was read can be taken now
  drain()            finish soon, take no new work
  over()             it ended here, its links still hold
  detached()         it is gone (however it went)

Rules the plane keeps, and a layer may rely on:
* Callbacks come one at a time, from one thread, never from within a verb: ``close``, ``send`` and
  ``plane.dial`` return before anything is called back, even when a dial fails at once.
* After `close`, `reset`, `failed` or `connect_failed` the plane calls nothing more on it. After
  the latter two the connection is closed already (`closed` is true); do not close it again.
* Writes are coalesced: the outbox is flushed once at the end of a batch of events.
* `received` is not called while paused, before `connected`, nor after `ended`.

Rules a layer keeps:
* Whatever alters what `save` returns adds to `changes`. The plane does so for the transport part
  (bytes read and written, flags, outbox); a layer does so when it alters a field of its own
  outside a callback on itself, or one of *another* connection (a link changes on both sides).
* Links to other connections are object references at run time and serials in the state.
* Deadlines are fields in monotonic seconds, saved as remaining time. `due` tells the earliest,
  `inf` for none. After setting one, call ``wake(deadline)``; moving it later or clearing it needs
  no call: the plane looks at `due` when the earlier moment comes and sleeps on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from proxy.flow import NOWHERE
from proxy.kernel import EDGE, OUT, READING
from proxy.state import CLOGGED, CONNECTING, EOF, FIN_SENT, FLAGS, PAUSED, SHUTTING, Transport
from proxy.tls.handshake import Anew
from proxy.tls.session import Session, restored
from proxy.tls.state import HANDSHAKE

if TYPE_CHECKING:
    from hotswap.swappable import Schema
    from proxy.calls import Calls
    from proxy.flow import Flow
    from proxy.plane import Places, Plane
    from proxy.tls.guard import Guard

CHUNK = 16384
"""Bytes of a first read; one that came full is followed by a larger one."""
BULK = 49152
"""Bytes of that one, and of all that follow while much comes: with HIGH the most that an outbox may be given."""
HIGH = 65536
"""Bytes of outbox above which whoever feeds it should pause its source."""
LOW = 16384
"""Bytes of outbox below which `Connection.drained` is called."""


class Connection:
    """One transport and its value. Subclasses add slots, callbacks, `save` and `load`.

    A subclass's constructor takes only the plane: it also makes connections that are about to be restored.
    """

    __slots__ = (
        "active",
        "alarm",
        "bulk",
        "changes",
        "clogged",
        "connecting",
        "count_in",
        "count_out",
        "eof",
        "fd",
        "fin_sent",
        "interest",
        "outbox",
        "paused",
        "peer",
        "plane",
        "serial",
        "shutting",
        "stale",
        "tls",
    )

    kind: ClassVar[str] = ""
    """The state kind, unique among all connection classes: ``tcp.downstream``."""
    schema: ClassVar[Schema]
    """The versions of `kind` this build reads and writes."""

    def __init__(self, plane: Plane) -> None:
        self.fresh(plane)

    def fresh(self, plane: Plane) -> None:
        """Its fields at first. For C: constructors of eight bases, each called through Python, take 0.1 us each."""
        self.plane = plane
        self.serial = 0  # 64-bit identity, given by the plane, never reused
        self.fd = -1  # the plane's descriptor; layers only test `closed`
        self.changes = 0
        self.active = plane.now  # when bytes last came or went, monotonic seconds
        self.alarm = inf  # when the plane looks at `due` next
        self.outbox: bytes | bytearray = b""
        self.peer: Any = None
        """The other side of a relay or of the exchange under way; typed by the layers that set it."""
        self.interest = -1  # the mask registered with epoll; -1: not registered. The plane's own, never saved
        self.connecting = self.paused = self.fin_sent = False
        self.eof = False  # the peer's FIN came: nothing more will be received
        self.shutting = False  # a FIN follows the outbox
        self.clogged = False  # the outbox was above HIGH and has not fallen below LOW since
        self.bulk = False  # so much comes that it is read in portions. Derived
        self.stale = False  # A flag changed since the plane last looked at them. The plane's own, never saved
        self.count_in = self.count_out = NOWHERE  # bytes of the protocol, see `proxy.metrics.meters`
        self.tls: Guard | None = None  # between the layer and the wire; None: plaintext

    # ---- the plane's hot path, see `proxy.specialised` ----

    def readable(self, calls: Calls, now: float) -> None:
        """Epoll says so: read, and let the layer work."""
        if self.paused:  # by a connection earlier in this batch
            self.plane.unread(self)
            return
        portion = BULK if self.bulk else CHUNK
        try:
            data = calls.read(self.fd, portion)
        except OSError as error:
            self.plane.io_failed(self, error)
            return
        self.active = now
        self.changes += 1
        size = len(data)
        if size:
            tls = self.tls  # the local name keeps it alive: compiled calls do not, and it may be done with meanwhile
            if tls is None:
                self.tally(self.count_in, size)
                self.received(data)
            else:
                tls.arrived(self, data)
            if size == CHUNK and not self.bulk:
                self.plane.read_on(self)
            elif size == portion:
                self.plane.unread(self)
            elif size < CHUNK:
                self.bulk = False
        else:
            self.plane.at_end(self)

    def flush(self, calls: Calls, now: float) -> None:
        """The end of a batch: write the outbox; then whatever else is to be done (`Plane.follow`)."""
        out = self.outbox
        tls = self.tls
        if out or (tls is not None and tls.sealed):
            self.changes += 1
            if not self.connecting or tls is not None:
                try:
                    count = calls.write(self.fd, out) if tls is None else tls.write(calls, self.fd, out)
                except OSError as error:
                    self.plane.io_failed(self, error)
                else:
                    self.active = now
                    self.tally(self.count_out, count)
                    if count == len(out):
                        self.outbox = b""
                        if self.interest == READING and not self.stale and (tls is None or not tls.sealed):
                            return  # the common case: nothing but bytes
                    else:
                        self.outbox = out[count:]
        self.plane.follow(self)

    def tally(self, flow: Flow, size: int) -> None:
        """Bytes of the protocol came or went: `flow` is `count_in` or `count_out`."""
        if not flow.owed:
            self.plane.flows.append(flow)
        flow.owed += size

    def events(self) -> int:
        """The epoll mask that the value asks for."""
        tls = self.tls
        if self.connecting:
            if tls is None or tls.dialling:
                return OUT | EDGE
            return READING | OUT if tls.sealed else READING
        reading = EDGE if self.paused or self.eof else READING
        return reading | OUT if self.outbox or (tls is not None and tls.sealed) else reading

    # ---- verbs, for layers ----

    @property
    def closed(self) -> bool:
        """True before it has a transport and after the end. Verbs do nothing then."""
        return self.fd < 0 and not self.connecting

    @property
    def flushed(self) -> bool:
        """The socket took all that was sent. With TLS an empty outbox does not tell: records may wait behind it."""
        return not self.outbox and (self.tls is None or not self.tls.sealed)

    def send(self, data: bytes) -> None:
        """Append to the outbox; written at the end of the batch. The caller looks at `clogged` afterwards."""
        out = self.outbox
        if not out:
            if self.fd < 0:
                return
            self.outbox = data
            self.plane.unflushed.append(self)
        else:
            if isinstance(out, bytes):
                out = self.outbox = bytearray(out)
            out += data
            self.changes += 1
        if len(self.outbox) > HIGH and not self.clogged:
            self.clogged = self.stale = True

    def shut(self) -> None:
        """Send a FIN once the outbox is empty. Reading goes on; nothing may be sent any more."""
        if not self.shutting:
            self.shutting = True
            self.touch()

    def close(self) -> None:
        """End now by a FIN; the outbox is dropped. For a last word use `shut` first."""
        if self.fd >= 0 or self.connecting:
            self.plane.close(self, reset=False)

    def reset(self) -> None:
        """End now by a RST, so that the peer cannot take what it has for the whole."""
        if self.fd >= 0 or self.connecting:
            self.plane.close(self, reset=True)

    def pause(self) -> None:
        """Stop reading; the peer's window fills."""
        if not self.paused:
            self.paused = True
            self.touch()

    def resume(self) -> None:
        """Read again."""
        if self.paused:
            self.paused = False
            self.touch()

    def wake(self, when: float) -> None:
        """Have `due` looked at no later than `when`."""
        if when < self.alarm:
            self.plane.wake(self, when)

    def touch(self) -> None:
        """Something changed that the plane must act on, or `save` must tell."""
        self.changes += 1
        self.stale = True
        if self.fd >= 0:
            self.plane.unflushed.append(self)

    # ---- callbacks, from the plane ----

    def attached(self) -> None:
        """It is alive from here on: accepted, dialled or restored. Count it where it counts."""

    def detached(self) -> None:
        """It ended, or lives elsewhere now; the outbox is still there. Undo `attached`; leave pools. No verbs."""

    def over(self) -> None:
        """It ends in this process. No verbs; once more is no harm."""

    def begin(self) -> None:
        """It was accepted and is registered: start to work."""

    def connected(self) -> None:
        """The dial succeeded; what was sent meanwhile is flushed after this."""

    def connect_failed(self, errno: int) -> None:
        """The dial failed; the connection is closed already."""

    def received(self, data: bytes) -> None:
        """Bytes came; never empty."""

    def catch_up(self) -> None:
        """What came before this connection could take it (`Session.waiting`)."""
        tls = self.tls
        if isinstance(tls, Session):
            tls.waiting = False
            self.changes += 1
            tls.arrived(self, b"")

    def ended(self) -> None:
        """The peer's FIN came; writing is still possible."""

    def failed(self, errno: int) -> None:
        """Reset by the peer, or another error; the connection is closed already."""

    def went(self, errno: int) -> None:
        """It failed. Count it where it counts, then tell the layer."""
        self.failed(errno)

    def drained(self) -> None:
        """The outbox was `clogged` and fell below LOW: let its source flow again."""

    def finished(self) -> None:
        """The outbox is written and our FIN went out."""

    def due(self) -> float:
        """The earliest of this connection's deadlines, monotonic seconds; inf without one."""
        return inf

    def expired(self, now: float) -> None:
        """`due` has passed. It must move, or the connection end, else the plane calls again each tick."""

    def drain(self) -> None:
        """End soon: idle now, else after the work under way."""

    def broken(self) -> None:
        """A bug in this layer was met: by default it costs this connection and its other side."""
        for one in (self, *self.bonds()):
            one.over()
            one.peer = None
            one.reset()

    # ---- the value ----

    def save(self, now: float) -> bytes:
        """The whole state as bytes: a `Transport` and the layer's own fields. No side effects."""
        raise NotImplementedError

    def load(self, state: bytes, now: float, places: Places) -> None:
        """Take over what `save` wrote: into a new object, or over an earlier state of the same one.

        Nothing but fields, no verb. Raises `CannotRestore` before it altered what belongs to others.
        """
        raise NotImplementedError

    def met(self, other: Connection) -> None:
        """A connection is there that `load` asked for by `Places.expect`."""

    def dropped(self, places: Places) -> None:
        """A copy that is not wanted any more: have the copies of others forget it. No verbs."""

    @property
    def anchor(self) -> Connection:
        """The connection that this is, or is a part of (`proxy.guests`)."""
        return self

    def bonds(self) -> tuple[Connection, ...]:
        """The connections that must stay in one process with this one."""
        return () if self.peer is None else (self.peer.anchor,)

    def in_flight(self) -> int:
        """Requests under way, counted once: at the downstream."""
        return 0

    def describe(self) -> dict[str, Any]:
        """For people: what ``hotswap connections`` shows of it."""
        about = {**self.identity(), "state": self.stage(), "unsent": len(self.outbox)}
        return about if self.tls is None else {**about, "tls": self.tls.describe()}

    def identity(self) -> dict[str, Any]:
        """What tells it from all others."""
        return {"serial": self.serial, "kind": self.kind}

    def stage(self) -> str:
        """The transport's state in one word."""
        if self.connecting:
            return "connecting"
        return "half-closed" if self.eof or self.fin_sent else "paused" if self.paused else "open"

    def transport(self, now: float) -> Transport:
        """The part of the state that every connection has."""
        flags = self.connecting * CONNECTING | self.paused * PAUSED | self.eof * EOF
        flags |= self.shutting * SHUTTING | self.fin_sent * FIN_SENT | self.clogged * CLOGGED
        peer = 0 if self.peer is None else self.peer.serial
        tls = None if self.tls is None else self.tls.save(self.plane.tls.giving)
        return Transport(flags, peer, now - self.active, bytes(self.outbox), tls)

    def load_transport(self, saved: Transport, now: float, places: Places) -> None:
        """The counterpart of `transport`."""
        tls, state = self.tls, saved.tls
        if state is None:
            self.tls = None
        elif state.flags & HANDSHAKE:
            self.tls = Anew(state.preface)
        elif isinstance(tls, Session):
            tls.load(state, self.plane.tls.taking)
        else:
            self.tls = restored(state, self.plane.tls.taking, self.plane.tls.permit)
        self.connecting, self.paused, self.eof, self.shutting, self.fin_sent, self.clogged = FLAGS[saved.flags % 64]
        self.active = now - saved.silent
        self.outbox = saved.outbox
        places.link(self, saved.peer)
